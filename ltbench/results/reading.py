"""What a leaderboard reads of very many records, by several processes at a time."""

from __future__ import annotations

import json
import marshal
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ltbench.results.journal import Unreadable, read_record, without_collecting
from ltbench.spec import Record, Result

MANY = 10_000
"""Records from which on other processes help. One takes half a second to start, which is 5,000 records."""
MOST_PROCESSES = 8
_BEGIN = b"ltbench results\n"
"""What a process says first: anything else is somebody's print."""
_START = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from ltbench.results.reading import serve
serve(sys.argv[2])"""


def read_results(folder: Path, names: Iterable[str], *, many: int = MANY) -> list[Result | Unreadable]:
    """The results in files of a folder, in the order of the names; of a file that is no record, why.

    Args:
        folder: a folder of records.
        names: of the files in it.
        many: the number of files from which on several processes read them.
    """
    names = list(names)
    processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES) if len(names) >= many else 1
    parts = [names[i * len(names) // processes : (i + 1) * len(names) // processes] for i in range(processes)]
    helpers = [_Helper(folder, part) for part in parts[1:]]
    try:
        found = _read(folder, parts[0])
        for helper in helpers:
            found += helper.results()
    finally:
        for helper in helpers:
            helper.close()
    return found


def _read(folder: Path, names: Sequence[str]) -> list[Result | Unreadable]:
    with without_collecting():
        records = (read_record(folder / name) for name in names)
        return [Result.of(r) if isinstance(r, Record) else r for r in records]


class _Helper:
    """A process that reads a part of the files. Not `multiprocessing`, which would run a user's own script again."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, names
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps(sys.path), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        try:
            with self._process.stdin as pipe:
                pipe.write(b"\0".join(map(os.fsencode, names)))
        except BrokenPipeError:  # it has ended; `results` sees to it
            pass

    def results(self) -> list[Result | Unreadable]:
        """What it read. Where it came to nothing (no memory for one more process), this process reads the part."""
        assert self._process.stdout is not None
        with without_collecting():
            try:
                said = self._process.stdout.read()
                if not said.startswith(_BEGIN):
                    return _read(self._folder, self._names)
                return list(map(_received, marshal.loads(memoryview(said)[len(_BEGIN) :])))
            except (EOFError, ValueError, TypeError):
                return _read(self._folder, self._names)

    def close(self) -> None:
        """End it where it still reads."""
        self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()


def serve(folder: str) -> None:
    """The other process: names of files come in, results go out."""
    names = [os.fsdecode(name) for name in sys.stdin.buffer.read().split(b"\0")]
    sys.stdout.buffer.write(_BEGIN + marshal.dumps([_sent(found) for found in _read(Path(folder), names)]))


def _sent(found: Result | Unreadable) -> dict[str, Any]:
    return found._asdict() | {"file": str(found.file)} if isinstance(found, Unreadable) else vars(found)


def _received(sent: dict[str, Any]) -> Result | Unreadable:
    return Unreadable(**{**sent, "file": Path(sent["file"])}) if "file" in sent else Result(**sent)
