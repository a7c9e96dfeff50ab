"""How far a run has come, as a file for `ltbench watch`. No run reads it: it may be deleted at any time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from ltbench.execution.display.lines import Running
from ltbench.execution.display.time_left import TimeLeft
from ltbench.execution.progress import Display
from ltbench.spec import Record, TrialSpec
from ltbench.system.files import write_atomically

NAME = "progress.json"
EVERY = 2.0
"""Seconds between two writes."""


class ProgressFile(Display):
    """Writes what a display is told into a file, hands it on, and removes the file at the end. A file that cannot be
    written is nothing to stop for.

    Args:
        inner: the display proper. file: to write. stage: which part of a suite the trials are, in words.
    """

    def __init__(self, inner: Display, trials: Sequence[TrialSpec], file: Path, stage: str = "") -> None:
        self._inner, self._file, self._stage = inner, file, stage
        self._total, self._done, self._failed = len(trials), 0, 0
        self._time = TimeLeft(trials, time.monotonic())
        self._running: dict[str, Running] = {}
        self._images: dict[str, float] = {}
        self._phase, self._next = "", 0.0

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        with suppress(OSError):
            self._file.unlink(missing_ok=True)

    def phase(self, message: str) -> None:
        self._phase = message
        self._write(at_once=True)
        self._inner.phase(message)

    def images(self, of_an_epoch: Mapping[str, int]) -> None:
        self._images.update(of_an_epoch)
        self._time.images(self._images)
        self._inner.images(of_an_epoch)

    def started(self, spec: TrialSpec) -> None:
        self._phase = ""
        self._running[spec.key] = Running(spec.name, float(spec.recipe["epochs"]), self._images.get(spec.cell.manifest))
        self._write()
        self._inner.started(spec)

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None:
        self._time.progressed(spec.key, fraction, time.monotonic())
        if spec.key in self._running:
            self._running[spec.key].progressed(time.time(), fraction, loss)
        self._write()
        self._inner.progressed(spec, fraction, loss)

    def note(self, message: str) -> None:
        self._inner.note(message)

    def waits(self, record: Record, reason: str) -> None:
        self._time.progressed(record.key, 0.0, time.monotonic())
        self._running.pop(record.key, None)
        self._inner.waits(record, reason)

    def restore(self) -> None:
        self._inner.restore()

    def finished(self, record: Record) -> None:
        self._time.progressed(record.key, 1.0, time.monotonic())
        self._running.pop(record.key, None)
        self._done += 1
        self._failed += record.status == "failed"
        self._write()
        self._inner.finished(record)

    def _write(self, *, at_once: bool = False) -> None:
        now = time.time()
        if now < self._next and not at_once:
            return
        self._next = now + EVERY
        state = {
            "written": now,
            "total": self._total,
            "done": self._done,
            "failed": self._failed,
            "phase": self._phase,
            "stage": self._stage,
            "left": self._time.seconds(time.monotonic()),
            "running": [asdict(r) for r in self._running.values()],
        }
        with suppress(OSError):
            write_atomically(self._file, json.dumps(state).encode())


@dataclass(frozen=True)
class Seen:
    """What a progress file says.

    Attributes:
        written: when, seconds since 1970. total, done, failed: trials of this run. phase: what is made ready, if
            anything. running: the trials that run. stage: which part of the suite they are (`look 2 of 5`), or empty.
        left: seconds until all of them have ended, as it looked when this was written; None: too early to say.
    """

    written: float
    total: int
    done: int
    failed: int
    phase: str
    running: Sequence[Running]
    stage: str = ""
    left: float | None = None


def read_progress(suite_folder: Path) -> Seen | None:
    """Of a suite's folder; None where nothing runs, or the file cannot be read."""
    try:
        found = json.loads((suite_folder / NAME).read_bytes())
        running = [Running(**{**trial, "first": _pair(trial["first"]), "last": _pair(trial["last"])})
                   for trial in found.pop("running")]  # fmt: skip
        return Seen(**found, running=running)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _pair(value: Sequence[float] | None) -> tuple[float, float] | None:
    return None if value is None else (float(value[0]), float(value[1]))
