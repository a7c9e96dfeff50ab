"""Facts about the code and the machine a run was made with."""

from __future__ import annotations

import platform
import resource
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ltbench


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


def environment_of(device: torch.device, seconds: float) -> dict[str, Any]:
    """What a record says about the machine and the versions; memory in bytes."""
    on_gpu = device.type == "cuda"
    # ru_maxrss is in KiB on Linux; it is the process's peak so far, which a reused worker carries over.
    memory = (
        torch.cuda.max_memory_allocated(device) if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "seconds": seconds,
        "device": _name_of_gpu(device) if on_gpu else (platform.processor() or platform.machine()),
        "threads": torch.get_num_threads(),
        "peak_memory_bytes": int(memory),
        "host": socket.gethostname(),
        "ltbench": ltbench.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _name_of_gpu(device: torch.device) -> str:
    """A GPU that fails, or is not there, has a record all the same."""
    try:
        return torch.cuda.get_device_name(device)
    except (RuntimeError, AssertionError):
        return "a GPU that does not answer"
