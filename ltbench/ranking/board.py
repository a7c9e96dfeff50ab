"""The leaderboard as data: everything a printer needs, so that all formats carry the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ltbench.metric_names import Directions, Metric, metric_of
from ltbench.ranking.looks import Standing
from ltbench.ranking.pairs import ALPHA, Pair, Pairs
from ltbench.ranking.published import Judgement, Published
from ltbench.spec import Column, Result
from ltbench.spec.budget import factors_of
from ltbench.spec.cell import HELD_OUT, TESTED_ON_VAL
from ltbench.spec.expectation import ExpectedSkip
from ltbench.stats.aggregate import Estimate
from ltbench.stats.intervals import Interval
from ltbench.stats.paired import PairTest
from ltbench.stats.random_datasets import BayesSignedRank, Friedman, SignedRank
from ltbench.stats.reasons import Reason


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
    rank: tuple[int, int] | None = None
    """Simultaneous rank interval on this column alone; None where there are too many methods to say."""

    @property
    def verdict(self) -> str:
        """better, worse, undecided, or reference. In terms of quality: a lower ECE is better."""
        if self.gain is None:
            return "reference"
        if self.p_holm is None or self.p_holm >= ALPHA or self.gain.diff is None:
            return "undecided"
        return "better" if self.gain.diff > 0 else "worse"


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
    others: Mapping[str, Pair] = field(default_factory=dict)
    """Gains in the other reported metrics, over the columns where these are defined for every method. Descriptive:
    over seeds only, Holm within the metric."""
    iqm: Estimate | None = None
    """Interquartile mean of the gain over the reference; None for the reference itself."""
    stale: bool = False
    """Its results are not what today's code of the method would give."""
    elsewhere: bool = False
    """Its predictions were taken over: ltbench did not train the models."""
    test_prior: str = ""
    """The test distribution that its method was told of, as no other row was."""
    improvement: float | None = None
    """Probability of improvement over the reference: the share of paired seeds, ties counting half."""
    budget: Mapping[str, float] = field(default_factory=dict)
    """What a trial cost, as the mean over the row's trials; of `metrics.COSTS`, those that are known of all of them."""

    @property
    def name(self) -> str:
        """The label, marked where the row is stale or from elsewhere, was told the test distribution, or reads or
        passes more than plain training."""
        marks = ["stale"] * self.stale + ["elsewhere"] * self.elsewhere
        marks += [f"told {self.test_prior}"] * bool(self.test_prior)
        marks += [", ".join(factors)] if (factors := factors_of(self.budget)) else []
        return self.label + "".join(f" ({mark})" for mark in marks)

    @property
    def rank_label(self) -> str:
        """`1`, or `2-3`."""
        return span_label(self.rank)


def span_label(rank: tuple[int, int]) -> str:
    """A rank interval in words: `1`, or `2-3`."""
    low, high = rank
    return str(low) if low == high else f"{low}-{high}"


@dataclass(frozen=True)
class ScopeB:
    """Would it hold on other data sets? Data sets are the blocks; each number only from its minimum of them on."""

    blocks: int
    friedman: Friedman
    critical_difference: float | None
    """Nemenyi's, for the familiar diagram only."""
    critical_reason: Reason | None
    pairs: tuple[SignedRank, ...]
    """Wilcoxon signed-rank tests, positions in the order of rows; Holm over all of them."""
    reason: Reason | None
    """Why there are no pairs."""
    needs: int
    """Data sets from which a pair could be significant after correction."""
    bayes: Mapping[str, BayesSignedRank]
    """Method -> posterior against the reference."""


@dataclass(frozen=True)
class Profile:
    """Share of runs whose gain over the reference (or value, without one) exceeds a threshold, by method."""

    thresholds: tuple[float, ...]
    share: Mapping[str, tuple[float, ...]]
    low: Mapping[str, tuple[float, ...]]
    high: Mapping[str, tuple[float, ...]]
    reason: Reason | None
    """Why there is no band."""


@dataclass(frozen=True)
class Redrawn:
    """What drawing the training images of a data set again moves.

    Attributes:
        block: the data set. draws: how many there are.
        mean_sd: standard deviation over draws of a method's mean, the seeds' noise taken out; median over methods.
        gain_sd: the same of a gain over the reference; None without one.
        share: part of a gain's variance that the draws carry, beside seeds and the two together; median over gains.
    """

    block: str
    draws: int
    mean_sd: float
    gain_sd: float | None
    share: float | None


@dataclass(frozen=True)
class Table:
    """Rows that may be compared: one recipe, the same columns."""

    recipe_name: str
    recipe_id: str
    pretraining: str
    """What all its models started from; empty: random weights."""
    reference: str | None
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    pairs: Pairs
    incomplete: tuple[tuple[str, str], ...]
    """Methods that are not ranked, and why."""
    comparisons: int
    """Size of the Holm family of a column."""
    rope: float
    """Differences below this are practically none, in the primary metric's unit."""
    missing: int
    """Trials of this table without a result, apart from skipped ones."""
    blocks: Mapping[str, str] = field(default_factory=dict)
    """Data set -> its block: two draws of the training images of one data set are one block."""
    redrawn: tuple[Redrawn, ...] = ()
    """Data sets whose draw of the training images is random in every interval of this table."""
    elsewhere: bool = False
    """Its models were trained by something else than ltbench: how, is not known."""
    with_images: bool = False
    """The noise of the test images is in the intervals of the primary metric."""
    without_images: str = ""
    """Why it is not."""
    alone: Mapping[Column, float] = field(default_factory=dict)
    """Weight in percent of the only test image of a class, where nothing says how noisy it is."""
    scope_b: ScopeB | None = None
    profile: Profile | None = None
    standing: Standing | None = None
    """Where each row stands, if the seeds run until comparisons are decided."""

    @property
    def start(self) -> str:
        """What its models started from, in words; empty where that is not known."""
        if self.pretraining:
            return f"pre-trained: {self.pretraining}"
        return "" if self.elsewhere else "trained from scratch"

    @property
    def heading_of_recipe(self) -> str:
        """What stands above a table where there are several."""
        return ", ".join(filter(None, (f"recipe {self.recipe_name} ({self.recipe_id})", self.start)))

    @property
    def datasets(self) -> tuple[str, ...]:
        """In the order of their columns."""
        return tuple(dict.fromkeys(column.dataset for column in self.columns))

    def columns_of(self, dataset: str) -> list[Column]:
        """A data set's columns."""
        return [column for column in self.columns if column.dataset == dataset]

    @property
    def drawn_again(self) -> dict[str, str]:
        """Data set -> the one that it is another draw of."""
        return {name: block for name, block in self.blocks.items() if name != block}

    def title(self, column: Column) -> str:
        """Data set and imbalance, which a file of scores need not tell; with the manifest where two columns would
        otherwise look alike."""
        alike = [c.manifest for c in self.columns if c.label == column.label]
        told = next((n for n in range(6, len(max(alike, key=len))) if len({m[:n] for m in alike}) == len(alike)), None)
        label = column.dataset if self.elsewhere and column.imbalance == "native" else column.label
        return label + (f" #{column.manifest[:told]}" if len(alike) > 1 else "")

    def heading(self, dataset: str) -> str:
        """A data set without its imbalance, where columns stand together."""
        marks = (TESTED_ON_VAL, self.tested_on_val), (HELD_OUT, self.held_out)
        return dataset + "".join(mark for mark, marked in marks if dataset in marked)

    @property
    def tested_on_val(self) -> tuple[str, ...]:
        """The data sets whose numbers are not of their test sets."""
        return tuple(dict.fromkeys(c.dataset for c in self.columns if TESTED_ON_VAL in c.imbalance))

    @property
    def held_out(self) -> tuple[str, ...]:
        """The data sets whose numbers are of training images that were held out for a search."""
        return tuple(dict.fromkeys(c.dataset for c in self.columns if c.imbalance.endswith(HELD_OUT)))


@dataclass(frozen=True)
class Beside:
    """A published number and ours."""

    recipe_name: str
    label: str
    column: Column
    published: Published
    ours: Interval
    judgement: Judgement


@dataclass(frozen=True)
class Verified:
    """What `ltbench verify` found of the trials of a board.

    Attributes:
        held: how many ran again and hold. denied: keys of those that do not. machines: where they ran again, with the
            last day: `cpu, torch 2.13.0 (2026-01-31)`.
    """

    held: int
    denied: tuple[str, ...]
    machines: tuple[str, ...]


@dataclass(frozen=True)
class Leaderboard:
    """Everything a printer needs; all formats carry these numbers."""

    suite: str
    question: str
    primary: str
    report: tuple[str, ...]
    tables: tuple[Table, ...]
    """Those from scratch first, those from elsewhere last."""
    trials: int
    finished: int
    failed: int
    missing: int
    balanced_tests: bool
    """Every test set is balanced, so accuracy and balanced accuracy are the same number."""
    failures: tuple[Result, ...] = ()
    skips: tuple[ExpectedSkip, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why results were not used -> how many."""
    file: str = ""
    """The file of scores that the numbers are from, if they were made elsewhere: how they were trained is not known."""
    places: Mapping[str, int] = field(default_factory=dict)
    """Where trials were found -> how many; empty where all came from one place."""
    stale: Mapping[str, str] = field(default_factory=dict)
    """Row -> why its results are not what today's code would give."""
    verified: Verified | None = None
    """What became of those that ran again; None: none did."""
    chosen_afterwards: bool = False
    """The primary metric was asked for, and no plan declares one."""
    declared: str | None = None
    """The suite's primary metric, where another was asked for afterwards."""
    declared_reference: str | None = None
    """The same of its reference."""
    untested: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Data set -> its classes without a test image, and all of its classes; where there are some."""
    data: str = ""
    """Digest of the results that went in."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen: seeds, reference, ROPE, level, corrections."""
    published: tuple[Beside, ...] = ()
    """Published numbers of the same methods on the same data."""
    directions: Directions = field(default_factory=dict)
    """Which way is better, of metrics of the user's own."""

    def about(self, metric: str) -> Metric:
        """How a metric is read on this board."""
        return metric_of(metric, self.directions)

    @property
    def starts_differ(self) -> bool:
        """Some tables are of other pre-training than others."""
        return len({t.pretraining for t in self.tables}) > 1

    @property
    def titled(self) -> bool:
        """Tables need a heading: there are several, or what the one started from must be said."""
        return len(self.tables) > 1 or any(t.pretraining for t in self.tables)
