"""Facts about the code a run was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path


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
