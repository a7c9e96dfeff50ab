"""How long a run will take yet, from the pace it had so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from ltbench.execution.display.lines import readable_seconds
from ltbench.spec import TrialSpec


class TimeLeft:
    """Counts what is done, the running trials' share with it, and takes the pace of the last half of the time since the
    first progress. What the workers need to start says nothing of the trials, and neither does what a trial that goes
    on from a checkpoint had done before.

    A trial's work is its epochs times the images of one. Until the images of every cell are known it is its epochs.

    Args:
        trials: all of the run. now: seconds, of a clock that only goes forward; so are all times below.
    """

    def __init__(self, trials: Sequence[TrialSpec], now: float) -> None:
        self._trials = {spec.key: spec for spec in trials}
        self._work = {spec.key: float(spec.recipe["epochs"]) for spec in trials}
        self._fraction: dict[str, float] = {}
        """Of the trials that have begun, those that ended among them."""
        self._began, self._first, self._last = now, now, now
        """Times of the start, of the first progress and of the latest."""
        self._done = 0.0
        self._before: deque[tuple[float, float]] = deque()
        """Times of progress, and how much was done by then: from half of the time ago on."""

    def images(self, of_an_epoch: Mapping[str, float]) -> None:
        """Manifest of a cell -> training images of an epoch. Once a trial has begun, it changes nothing."""
        if not self._fraction and all(spec.cell.manifest in of_an_epoch for spec in self._trials.values()):
            for key, spec in self._trials.items():
                self._work[key] = float(spec.recipe["epochs"]) * of_an_epoch[spec.cell.manifest]

    def progressed(self, key: str, fraction: float, now: float) -> None:
        """A trial has come so far, from 0 to 1; 0 again where it is to be run anew."""
        more = self._work.get(key, 0.0) * (fraction - self._fraction.get(key, 0.0))
        if more < 0:  # what is lost says nothing of the pace
            self._before = deque((then, done + more) for then, done in self._before)
        self._done += more
        self._fraction[key], self._last = fraction, now
        if not self._before and self._done > 0:
            self._first = now
        if self._done > 0 and (not self._before or now - self._before[-1][0] > (now - self._first) / 50):
            self._before.append((now, self._done))
        while len(self._before) > 1 and self._before[1][0] <= (self._first + now) / 2:
            self._before.popleft()

    def seconds(self, now: float) -> float | None:
        """Until all trials have ended; None: too early to say."""
        if not self._before or now - self._first < (self._first - self._began) / 2:
            return None  # trials side by side end together: too soon to see a pace
        since, done = self._before[0]
        if self._done <= done or self._last <= since:
            return None
        left = (self._last - since) * (sum(self._work.values()) - self._done) / (self._done - done)
        return later(left, now - self._last)


def later(left: float, passed: float) -> float:
    """What is left of an estimate when so many seconds have passed without news: less, but no less than half, or a run
    that is late would seem to end at once."""
    return max(left - passed, left / 2)


def left_text(seconds: float | None) -> str:
    """`about 12 min left`, or that it is too early to say."""
    return "time left: too early to say" if seconds is None else f"about {readable_seconds(seconds)} left"
