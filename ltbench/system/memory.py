"""The memory that a process and those that it started take, as Linux tells it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


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
