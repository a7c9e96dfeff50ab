"""What a run shows while it runs: one live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from ltbench.errors import reason_of
from ltbench.metrics import METRICS
from ltbench.spec import Record, TrialSpec


class RunDisplay:
    """Counts trials done, running and failed, estimates the time left, and remembers the best so far.

    Time left is estimated from epochs, counting the running trials' share, at the pace since the first progress: what
    the workers need to start says nothing of the trials.
    """

    def __init__(self, trials: Sequence[TrialSpec], metric: str, console: Console | None = None) -> None:
        self._console = console or Console()
        self._metric = metric
        self._work = {spec.key: float(spec.recipe["epochs"]) for spec in trials}
        self._fraction: dict[str, float] = {}
        self._done: set[str] = set()
        self._failed = 0
        self._told: set[str] = set()
        self._best: tuple[float, str] | None = None
        self._began = time.monotonic()
        self._first: tuple[float, float] | None = None
        """When the first progress was seen, and how many epochs were done by then."""
        self._live: Live | None = None
        self._bar = Progress(
            SpinnerColumn(), BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(), TextColumn("{task.fields[eta]}"), console=self._console,
        )  # fmt: skip
        self._task: TaskID = self._bar.add_task("", total=len(trials), state="starting", eta="")

    def __enter__(self) -> RunDisplay:
        if self._console.is_terminal:
            self._live = Live(self._render(), console=self._console, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.__exit__(kind, value, tb)

    def started(self, spec: TrialSpec) -> None:
        self._fraction[spec.key] = 0.0
        self._refresh()

    def progressed(self, spec: TrialSpec, fraction: float) -> None:
        self._fraction[spec.key] = fraction
        self._refresh()

    def note(self, message: str) -> None:
        """Something to know about the whole run."""
        self._print(f"note    {message}", "yellow")

    def waits(self, record: Record, reason: str) -> None:
        """A trial that is to run again later."""
        self._fraction.pop(record.key, None)
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
        self._fraction.pop(key, None)
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
            self._print(f"{len(self._done):>4}/{len(self._work)}  {record.spec.name:<44} {score:6.2f}  {self._eta()}")
        if record.status == "ok" and score is not None:
            better = METRICS[self._metric].higher_is_better
            if self._best is None or (score > self._best[0]) == better:
                self._best = (score, record.spec.name)
        self._refresh()

    def _print(self, line: str, style: str = "") -> None:
        with suppress(OSError):  # a terminal that was closed, a log on a full disk: the trials go on
            self._console.print(Text(line, style=style), soft_wrap=True, highlight=False)

    def _eta(self) -> str:
        total = sum(self._work.values())
        done = sum(self._work[k] for k in self._done) + sum(self._work[k] * f for k, f in self._fraction.items())
        now = time.monotonic()
        if done and self._first is None:
            self._first = (now, done)
        if self._first is None or done >= total or done <= self._first[1]:
            return ""
        since, before = self._first
        if now - since < (since - self._began) / 2:  # trials side by side end together: too soon to see a pace
            return ""
        return f"about {readable_seconds((now - since) * (total - done) / (done - before))} left"

    def _refresh(self) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.update(self._render())

    def _render(self) -> Group:
        state = f"{len(self._fraction)} running" + (f", {self._failed} failed" if self._failed else "")
        self._bar.update(self._task, completed=len(self._done), state=state, eta=self._eta())
        lines: list[Progress | Text] = [self._bar]
        if self._best is not None:
            lines.append(
                Text(f"  best {METRICS[self._metric].title} so far {self._best[0]:.2f} ({self._best[1]})", "dim")
            )
        return Group(*lines)


def readable_seconds(seconds: float) -> str:
    """`40 s`, `12 min`, `5.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
