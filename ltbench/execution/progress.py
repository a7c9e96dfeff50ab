"""What a run shows while it runs: nothing, a call of the user's, or a live display on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from ltbench.errors import harmless, reason_of
from ltbench.execution.display.lines import Running, trial_lines
from ltbench.execution.display.time_left import TimeLeft, left_text
from ltbench.metric_names import METRICS
from ltbench.spec import Record, TrialSpec


class Display:
    """What is told of a run while it goes on. This one shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """The run is over."""

    def started(self, spec: TrialSpec) -> None:
        """A trial began."""

    def phase(self, message: str) -> None:
        """What is made ready before the first trial begins."""

    def images(self, of_an_epoch: Mapping[str, int]) -> None:
        """Manifest of a cell -> how many training images an epoch has, so that a speed can be told."""

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None:
        """A trial has come so far, from 0 to 1, and its training loss, if it was told."""

    def note(self, message: str) -> None:
        """Something to know about the whole run."""

    def waits(self, record: Record, reason: str) -> None:
        """A trial is to run again later."""

    def restore(self) -> None:
        """Give the terminal back as it was, from wherever the process is."""

    def finished(self, record: Record) -> None:
        """A trial ended, one way or the other."""


Show = Callable[[Sequence[TrialSpec], str], Display]
"""Makes the display of a run from its trials and the metric they are compared by."""


def show_nothing(trials: Sequence[TrialSpec], metric: str) -> Display:
    """For runs that nobody watches."""
    return Display()


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        done: trials that ended; failed: those among them that failed; running: trials that have begun; total: all.
        fraction: of all epochs, 0 to 1. seconds: since the run began.
        last: the trial that ended last, None before the first. message: a note on the whole run, mostly empty.
    """

    done: int
    failed: int
    running: int
    total: int
    fraction: float
    seconds: float
    last: Record | None = None
    message: str = ""


class CallbackDisplay(Display):
    """Calls a function of the user's whenever something happens.

    Args:
        callback: given a `Progress`.
    """

    def __init__(self, trials: Sequence[TrialSpec], callback: Callable[[Progress], object]) -> None:
        self._epochs = {spec.key: float(spec.recipe["epochs"]) for spec in trials}
        self._callback, self._began = callback, time.monotonic()
        self._fraction: dict[str, float] = {}
        self._done: dict[str, Record] = {}

    def started(self, spec: TrialSpec) -> None:
        self.progressed(spec, 0.0)

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None:
        self._fraction[spec.key] = fraction
        self._call()

    def note(self, message: str) -> None:
        self._call(message)

    def waits(self, record: Record, reason: str) -> None:
        self._fraction.pop(record.key, None)
        self._call(f"{record.spec.name}: {reason}")

    def finished(self, record: Record) -> None:
        self._fraction.pop(record.key, None)
        self._done[record.key] = record
        self._call()

    def _call(self, message: str = "") -> None:
        done = sum(self._epochs.get(key, 0.0) for key in self._done)
        done += sum(self._epochs.get(key, 0.0) * fraction for key, fraction in self._fraction.items())
        progress = Progress(
            done=len(self._done),
            failed=sum(record.status == "failed" for record in self._done.values()),
            running=len(self._fraction),
            total=len(self._epochs),
            fraction=done / (sum(self._epochs.values()) or 1.0),
            seconds=time.monotonic() - self._began,
            last=next(reversed(self._done.values()), None),
            message=message,
        )
        self._callback(progress)


class RunDisplay(Display):
    """One live display on a terminal, plain lines elsewhere.

    Counts trials done, running and failed, estimates the time left, and remembers the best so far.
    """

    def __init__(self, trials: Sequence[TrialSpec], metric: str, console: Console | None = None) -> None:
        self._console = console or Console()
        self._metric = metric
        self._total = len(trials)
        self._time = TimeLeft(trials, time.monotonic())
        self._running: dict[str, Running] = {}
        self._images: dict[str, float] = {}
        """Manifest -> training images of an epoch."""
        self._phase = "starting"
        self._done: set[str] = set()
        self._failed = 0
        self._told: set[str] = set()
        self._best: tuple[float, str] | None = None
        self._live: Live | None = None
        room = max(5, min(30, self._console.width - 60))
        self._bar = Bar(
            SpinnerColumn(), BarColumn(bar_width=room), MofNCompleteColumn(), TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(), TextColumn("{task.fields[eta]}"), console=self._console,
        )  # fmt: skip
        self._task: TaskID = self._bar.add_task("", total=len(trials), state="starting", eta="")

    def __enter__(self) -> Self:
        if self._console.is_terminal or self._console.is_jupyter:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.__exit__(kind, value, tb)

    def started(self, spec: TrialSpec) -> None:
        self._phase = ""
        self._running[spec.key] = self._new(spec)
        self._refresh()

    def _new(self, spec: TrialSpec) -> Running:
        return Running(spec.name, float(spec.recipe["epochs"]), self._images.get(spec.cell.manifest))

    def phase(self, message: str) -> None:
        self._phase = message
        if self._live is None and message:
            self._print(message)
        self._refresh()

    def images(self, of_an_epoch: Mapping[str, int]) -> None:
        self._images.update(of_an_epoch)
        self._time.images(self._images)

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None:
        now = time.monotonic()
        self._time.progressed(spec.key, fraction, now)
        self._running.setdefault(spec.key, self._new(spec)).progressed(now, fraction, loss)
        self._refresh()

    def note(self, message: str) -> None:
        """Something to know about the whole run."""
        self._print(f"note    {message}", "yellow")

    def waits(self, record: Record, reason: str) -> None:
        """A trial that is to run again later."""
        self._time.progressed(record.key, 0.0, time.monotonic())
        self._running.pop(record.key, None)
        self._print(f"again   {record.spec.name}: {reason}", "yellow")
        self._refresh()

    def restore(self) -> None:
        """Give the terminal its cursor back, from wherever the process is."""
        if self._live is not None:
            self._console.show_cursor(True)

    def finished(self, record: Record) -> None:
        key = record.key
        if key in self._done:
            return
        self._done.add(key)
        self._time.progressed(key, 1.0, time.monotonic())
        self._running.pop(key, None)
        score = record.metrics.get(self._metric)
        for message in record.environment.get("checkpoint_messages", []) + record.environment.get("data_messages", []):
            if message not in self._told:  # that a disk is full is true of every trial
                self._told.add(message)
                self._print(f"note    {record.spec.name}: {message}", "yellow")
        if record.status == "failed":
            self._failed += 1
            reason = reason_of(record.error, record.spec.method)
            self._print(f"failed  {record.spec.name}: {reason}", "red")
        elif self._live is None:
            self._print(f"{len(self._done):>4}/{self._total}  {record.spec.name:<44} {score:6.2f}  {self._left()}")
        if record.status == "ok" and score is not None:
            better = METRICS[self._metric].higher_is_better
            if self._best is None or (score > self._best[0]) == better:
                self._best = (score, record.spec.name)
        self._refresh()

    def _print(self, line: str, style: str = "") -> None:
        with suppress(OSError):  # a terminal that was closed, a log on a full disk: the trials go on
            self._console.print(Text(harmless(line), style=style), soft_wrap=True, highlight=False)

    def _left(self, unknown: str = "") -> str:
        """Nothing where no trial is left, or none has begun; `unknown` where it is too early to say."""
        seconds = self._time.seconds(time.monotonic())
        if len(self._done) == self._total or not (self._running or self._done):
            return ""
        return unknown if seconds is None else left_text(seconds)

    def _refresh(self) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.refresh()

    def _render(self) -> Group:
        state = f"{len(self._running)} running" + (f", {self._failed} failed" if self._failed else "")
        self._bar.update(
            self._task, completed=len(self._done), state=self._phase or state, eta=self._left(left_text(None))
        )
        now, width = time.monotonic(), self._console.width
        running = trial_lines(list(self._running.values()), now, width, max(3, self._console.height - 6))
        lines: list[Bar | Text] = [Text(harmless(line), no_wrap=True, overflow="ellipsis") for line in running]
        lines.append(self._bar)
        if self._best is not None:
            best = f"  best {METRICS[self._metric].title} so far {self._best[0]:.2f} ({self._best[1]})"
            lines.append(Text(harmless(best), "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)
