"""What a process has once, for one thread at a time, and the memory that it takes, as Linux tells it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PROC = Path("/proc")
_in_use = threading.RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """What is done within is done by one thread of this process at a time; others wait. So a trial has its numbers also
    where a script calls `ltbench.run` in several threads: torch's random numbers and its number of threads are the
    process's, and so is the process beside it for trials with limits."""
    with _in_use:
        yield


def memory_of(pid: int) -> int:
    """Bytes that a process and all below it hold: what they allocated, and memory they share, counted once. Pages of
    files do not count: the system takes them back when it needs room."""
    whole = _field(pid, ("RssAnon:", "RssShmem:"))
    return whole + sum(_field(below, ("RssAnon:",)) for below in _below(pid))


def _field(pid: int, names: tuple[str, ...]) -> int:
    with suppress(OSError, ValueError):
        lines = (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace").splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(names))
    return 0  # it has ended


def _below(pid: int) -> Iterator[int]:
    for thread in _listed(_PROC / str(pid) / "task"):
        with suppress(OSError, ValueError):
            for child in map(int, (thread / "children").read_text(encoding="ascii").split()):
                yield child
                yield from _below(child)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
