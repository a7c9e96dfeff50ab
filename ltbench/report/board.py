"""The leaderboard as data: everything a printer needs, so that all formats carry the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ltbench.spec import Result
from ltbench.stats.intervals import Interval
from ltbench.stats.paired import PairTest
from ltbench.stats.scope_a import ScopeATest, Verdict

ALPHA = 0.05
Column = tuple[str, str, str]
"""Data set, imbalance label, manifest."""


@dataclass(frozen=True)
class Score:
    """One method on one column."""

    metrics: Mapping[str, Interval | None]
    """Every metric over the finished seeds; None where undefined for this column (no few-shot class)."""
    gain: PairTest | None
    """Against the reference, in the primary metric; None for the reference itself."""
    p_holm: float | None
    finished: int
    failed: int
    missing: int

    @property
    def verdict(self) -> str:
        """better, worse, undecided, or reference. In terms of quality: a lower ECE is better."""
        if self.gain is None:
            return "reference"
        if self.p_holm is None or self.p_holm >= ALPHA or self.gain.diff is None:
            return "undecided"
        return "better" if self.gain.diff > 0 else "worse"


@dataclass(frozen=True)
class Pair:
    """Two methods over all data sets of a table; the difference is of quality, a - b."""

    a: str
    b: str
    test: ScopeATest
    p_holm: float | None
    verdict: Verdict

    def seen_from(self, label: str) -> Pair:
        """The same pair with `label` first."""
        if label == self.a:
            return self
        test = self.test
        turned = replace(test, diff=-test.diff if test.diff is not None else None)
        return Pair(a=self.b, b=self.a, test=turned, p_holm=self.p_holm, verdict=self.verdict.turned)


@dataclass(frozen=True)
class Row:
    """One method: its mean over data sets (imbalance factors of a data set averaged first), and its columns."""

    rank: tuple[int, int]
    """Simultaneous interval: no better than the first, no worse than the second."""
    label: str
    mean: float
    half: float | None
    """Half-width of the mean's 95 % interval; None with fewer than 2 seeds."""
    gain: Pair | None
    """Against the reference, over all data sets; None for the reference itself."""
    scores: Mapping[Column, Score]

    @property
    def rank_label(self) -> str:
        """`1`, or `2-3`."""
        low, high = self.rank
        return str(low) if low == high else f"{low}-{high}"


@dataclass(frozen=True)
class Table:
    """Rows that may be compared: one recipe, the same columns."""

    recipe_name: str
    recipe_id: str
    reference: str | None
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    incomplete: tuple[tuple[str, str], ...]
    """Methods that are not ranked, and why."""
    comparisons: int
    """Size of the Holm family of a column."""
    rope: float
    """Differences below this are practically none, in the primary metric's unit."""
    missing: int
    """Trials of this table without a result, apart from skipped ones."""

    def title(self, column: Column) -> str:
        """Data set and imbalance; with the manifest where two columns would otherwise look alike."""
        dataset, imbalance, manifest = column
        alike = sum(c[:2] == column[:2] for c in self.columns) > 1
        return f"{dataset} {imbalance}" + (f" #{manifest[:6]}" if alike else "")


@dataclass(frozen=True)
class Leaderboard:
    """Everything a printer needs; all formats carry these numbers."""

    suite: str
    question: str
    primary: str
    report: tuple[str, ...]
    tables: tuple[Table, ...]
    trials: int
    finished: int
    failed: int
    missing: int
    balanced_tests: bool
    """Every test set is balanced, so accuracy and balanced accuracy are the same number."""
    failures: tuple[Result, ...] = ()
    skips: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Row, reason, columns."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why results were not used -> how many."""
