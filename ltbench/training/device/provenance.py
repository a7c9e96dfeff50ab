"""Facts about the code and the machine a run was made with."""

from __future__ import annotations

import platform
import resource
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ltbench
from ltbench.training.device.allocator import give_back


def git_commit(folder: Path) -> dict[str, str]:
    """`git_commit` of the repository around `folder`, with `+` when files were changed since; empty without one."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git_commit": commit + ("+" if changed else "")}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def forget_peak_memory(device: torch.device) -> None:
    """Count peak memory from here: a process that is used again carries over the peak of the trials before."""
    if device.type == "cuda" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats(device)  # before, it would be an error, and there is nothing to forget
        return
    give_back()  # what earlier trials used and the process has kept is not this one's
    with suppress(OSError):  # only Linux has it
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes since `forget_peak_memory`: what torch allocated on a GPU, else what the process had in memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError, ValueError, IndexError):
        found = [line.split() for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
        return int(found[0][1]) * 1024
    # In KiB on Linux and in bytes on macOS; the process's peak, which a worker that is used again carries over.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's model where the system tells it."""
    if device.type == "cuda":
        return _name_of_gpu(device)
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _name_of_gpu(device: torch.device) -> str:
    """A GPU that fails, or is not there, has a record all the same."""
    try:
        return torch.cuda.get_device_name(device)
    except (RuntimeError, AssertionError):
        return "a GPU that does not answer"


def environment_of(device: torch.device, seconds: float) -> dict[str, Any]:
    """What a record says about the machine and the versions; memory in bytes."""
    return {
        "seconds": seconds,
        "device": device_name(device),
        "device_kind": device.type,
        "threads": torch.get_num_threads(),
        "peak_memory_bytes": peak_memory(device),
        "host": socket.gethostname(),
        "ltbench": ltbench.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
