"""Lines of text about running trials: epoch, loss, images per second, time left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

EARLY = 0.005
"""A trial that has come less far than this since its first report says nothing of its pace."""


@dataclass
class Running:
    """A trial that runs. Times are in seconds, of any clock that does not change.

    Attributes:
        name: of the trial. epochs: all of its epochs. images: training images of an epoch; None: not known yet.
        fraction: how far it is, 0 to 1. loss: the last one; None: none was told.
        first: when the first progress was told, and how far it was; None: none was.
        last: the same of the latest.
    """

    name: str
    epochs: float
    images: float | None = None
    fraction: float = 0.0
    loss: float | None = None
    first: tuple[float, float] | None = field(default=None)
    last: tuple[float, float] | None = field(default=None)

    def progressed(self, now: float, fraction: float, loss: float | None) -> None:
        """It has come so far."""
        self.fraction, self.loss = fraction, loss
        self.last = (now, fraction)
        if self.first is None and fraction > 0:
            self.first = self.last

    @property
    def pace(self) -> float | None:
        """Share of the trial in a second, since its first report: what it took to start says nothing."""
        if self.first is None or self.last is None or self.last[1] - self.first[1] < EARLY:
            return None
        return (self.last[1] - self.first[1]) / max(self.last[0] - self.first[0], 1e-6)

    def left(self, now: float) -> float | None:
        """Seconds until its end; None: too early to say."""
        if self.pace is None or self.last is None:
            return None
        return max(0.0, (1 - self.last[1]) / self.pace - (now - self.last[0]))


def trial_line(trial: Running, now: float, width: int) -> str:
    """`mixup cifar10 IF100 s0  epoch 12/200  loss 0.51  9,800 images/s  3 min left`, of at most `width` characters:
    where there is no room, speed goes first, then the loss."""
    epoch = f"epoch {min(trial.epochs, math.floor(trial.fraction * trial.epochs)):.0f}/{trial.epochs:.0f}"
    left = trial.left(now)
    ends = f"{readable_seconds(left)} left" if left is not None else "starting" if trial.last is None else ""
    loss = "" if trial.loss is None else f"loss {trial.loss:.3g}"
    rate = None if trial.pace is None or trial.images is None else trial.pace * trial.epochs * trial.images
    speed = "" if rate is None else f"{rate:,.0f} images/s"
    for parts in ((epoch, loss, speed, ends), (epoch, loss, ends), (epoch, ends), (ends or epoch,)):
        told = "  ".join(filter(None, parts))
        room = width - len(told) - 4
        if room >= min(len(trial.name), 24) or parts == (ends or epoch,):
            return f"  {shortened(trial.name, max(room, 8))}  {told}"[:width]
    return ""


def trial_lines(trials: Sequence[Running], now: float, width: int, most: int) -> list[str]:
    """A line each, those that have come farthest first; of more than `most`, the number of the others."""
    ordered = sorted(trials, key=lambda trial: -trial.fraction)
    lines = [trial_line(trial, now, width) for trial in ordered[:most]]
    return lines + ([f"  ... and {len(ordered) - most} more"] if len(ordered) > most else [])


def shortened(name: str, room: int) -> str:
    """Of a long name the middle is left out: both ends say which trial it is."""
    if len(name) <= room:
        return name
    end = (room - 1) // 2
    return f"{name[: room - 1 - end]}…{name[-end:]}" if end else name[:room]


def readable_seconds(seconds: float) -> str:
    """`40 s`, `12 min`, `5.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
