"""Gains as spans, and the colours of their verdicts."""

from __future__ import annotations

from typing import NamedTuple

from ltbench.page.drawing import FAINT
from ltbench.ranking.formats.text_tables import signed
from ltbench.stats.fixed_datasets import ScopeATest, Verdict

TONES = {
    Verdict.better: "#009E73",
    Verdict.slightly_better: "#56B4E9",
    Verdict.equivalent: "#56B4E9",
    Verdict.slightly_worse: "#E69F00",
    Verdict.worse: "#D55E00",
    Verdict.undecided: FAINT,
}


class Span(NamedTuple):
    """A mean with the ends of its interval, in points; both ends are the mean where there is no interval."""

    mean: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """`+2.6 [+2.3, +2.9]`."""
        return f"{signed(self.mean)} [{signed(self.low)}, {signed(self.high)}]"


def span_of(test: ScopeATest) -> Span | None:
    """Of a gain; None where there is no difference."""
    if test.diff is None:
        return None
    half = test.half or 0.0
    return Span(test.diff, test.diff - half, test.diff + half)
