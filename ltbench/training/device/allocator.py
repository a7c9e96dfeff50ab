"""Memory that the C library would give back to the system after every layer, and ask for again in the next step."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""
_LARGEST_MMAP_THRESHOLD = 32 << 20
"""Bytes; glibc takes no larger one."""
_NEVER = (1 << 31) - 1


@cache
def keep_memory() -> bool:
    """Let this process keep the memory that tensors have used for those that follow; whether that could be set.

    By default glibc maps activations of some megabytes anew in every step, and the system clears each page again: 4 to
    6 % of a ResNet-32's step on a CPU, more beside other programs (benchmarks/README.md). The peak is no higher, and no
    number depends on it. Other C libraries (musl, macOS, Windows) are left alone, and so is a process whose
    `MALLOC_*` or `GLIBC_TUNABLES` variables say how it is to be done.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    libc = _glibc()
    return (
        libc is not None
        and bool(libc.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD))
        and bool(libc.mallopt(_TRIM_THRESHOLD, _NEVER))
    )


def give_back() -> None:
    """Between two trials: what the last one used and `keep_memory` kept is the system's again."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library of this process where it has glibc's calls, else None."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
