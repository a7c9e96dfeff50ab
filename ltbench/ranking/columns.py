"""One column of a table at a time, and one metric at a time: means, gains over the reference, ranks on the column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ltbench.metric_names import Directions, metric_of
from ltbench.ranking.board import Score
from ltbench.ranking.images import Images, Predictions
from ltbench.ranking.looks import Named, Standing, up_to
from ltbench.ranking.pairs import ALPHA, Pair
from ltbench.ranking.ranking import Rules, Values, by_draw, quality_by_dataset, rank
from ltbench.ranking.selection import Origin
from ltbench.spec import Column, Expectation, Result, Selection
from ltbench.spec.expectation import ExpectedSkip
from ltbench.stats.crossed import crossed_variance
from ltbench.stats.fixed_datasets import ScopeATest, scope_a, verdict
from ltbench.stats.intervals import Interval, mean_interval
from ltbench.stats.looks import Looks, holm_over_looks
from ltbench.stats.paired import PairTest, holm, paired_t
from ltbench.stats.reasons import Reason

TRADE_OFF = ("many", "medium", "few", "ece")
"""Metrics whose gains are always computed where they exist: what the tail gains and what the head pays."""
COLUMN_RANKS = 100
"""With more methods than this, columns are not ranked one by one."""
Test = TypeVar("Test", PairTest, ScopeATest)
Trials = Mapping[tuple[str, Column, int], Result]
"""(method, column, seed) -> its result, finished or failed."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all tables of a leaderboard share.

    metrics: all that some result has. report: those that tables show. rope: in the primary metric's unit. protocol: the
    plan's, or what stands in for it. skips: those of the selected methods.
    """

    primary: str
    metrics: tuple[str, ...]
    report: tuple[str, ...]
    reference: str | None
    seeds: tuple[int, ...]
    rope: float
    protocol: Mapping[str, Any]
    expectation: Expectation | None
    skips: tuple[ExpectedSkip, ...]
    selection: Selection
    predictions: Predictions | None
    blocks: Mapping[str, str]
    """Data set -> its block."""
    origin: Origin
    class_weights: Mapping[Column, NDArray[np.float64]]
    """Where the primary metric is the accuracy under a test prior."""
    directions: Directions
    """Of metrics of the user's own, as declared."""
    looks: Looks | None = None
    """When is looked, where the seeds run until comparisons are decided."""
    named: Named = Named.reference
    """The comparisons that are to be decided."""

    @property
    def sign(self) -> float:
        """1 where a higher value of the primary metric is better, else -1."""
        return 1.0 if metric_of(self.primary, self.directions).higher_is_better else -1.0

    def seeds_of(self, label: str, standing: Standing | None) -> tuple[int, ...]:
        """The seeds of a row that count: all, or those of the look it has reached."""
        return self.seeds if standing is None else tuple(s for s in self.seeds if s < standing.seeds(label))


class Rows(NamedTuple):
    """Rows that are compared: their trials, and where each stands if their seeds run until comparisons are decided."""

    labels: Sequence[str]
    trials: Trials
    standing: Standing | None

    def values(self, columns: Iterable[Column], metric: str, context: Context) -> Values:
        """Finished values of a metric by (method, column) and seed."""
        return {
            (m, c): values_of(self.trials, m, c, context.seeds_of(m, self.standing), metric)
            for m in self.labels
            for c in columns
        }

    def gains(
        self, reference: str | None, test: Callable[[str, int | None, float], Test]
    ) -> dict[str, tuple[Test, float | None]]:
        """Every row's gain over the reference, tested as one family: the test, and p after Holm's correction.

        Args:
            test: of a row, on its first seeds (None: on all), with an interval at a level.
        """
        others = [m for m in self.labels if m != reference]
        standing = self.standing
        if standing is None or reference is None:
            once = {m: test(m, None, 0.95) for m in others}
            return {m: (once[m], p) for m, p in zip(once, holm([t.p for t in once.values()]), strict=True)}
        p, diff = (np.full((len(standing.looks), len(others)), np.nan) for _ in range(2))
        last: dict[str, Test] = {}
        for i, m in enumerate(others):
            there, level = standing.together(m, reference), standing.level(m, reference)
            for k, seeds in enumerate(standing.looks.seeds[:there]):
                last[m] = test(m, seeds, level)
                p[k, i], diff[k, i] = (np.nan if x is None else x for x in (last[m].p, last[m].diff))
            if not there:
                last[m] = replace(test(m, None, level), p=None, reason=Reason.before_first_look)
        adjusted = holm_over_looks(p, diff, standing.looks).p[-1]
        return {m: (last[m], None if np.isnan(q) else float(q)) for m, q in zip(others, adjusted, strict=True)}


@dataclass(frozen=True)
class Compared:
    """The rows of a table, and what they are compared by.

    values: of the primary metric. images: what test images contribute to them; None: seeds alone count. reference: the
    row that gains are over, if it is there.
    """

    rows: Rows
    columns: Sequence[Column]
    values: Values
    images: Images | None
    reference: str | None
    context: Context


def values_of(trials: Trials, label: str, column: Column, seeds: Sequence[int], metric: str) -> dict[int, float]:
    """Finished values of a metric by seed."""
    values = {}
    for seed in seeds:
        result = trials.get((label, column, seed))
        value = result.metrics.get(metric) if result and result.status == "ok" else None
        if value is not None:
            values[seed] = value
    return values


def score_of(rows: Rows, label: str, column: Column, context: Context) -> Score:
    """A method on a column, before it is compared."""
    seeds = context.seeds_of(label, rows.standing)
    level = 0.95 if rows.standing is None else rows.standing.level(label)
    there = [rows.trials.get((label, column, seed)) for seed in seeds]
    finished = [r.metrics for r in there if r is not None and r.status == "ok"]
    intervals: dict[str, Interval | None] = {}
    for metric in context.metrics:
        values = [value for metrics in finished if (value := metrics.get(metric)) is not None]
        intervals[metric] = mean_interval(values, level) if values else None
    return Score(
        metrics=intervals,
        gain=None,
        p_holm=None,
        finished=len(finished),
        failed=sum(r is not None and r.status == "failed" for r in there),
        missing=sum(r is None for r in there),
    )


def compare_on(column: Column, scores: dict[str, dict[Column, Score]], compared: Compared) -> None:
    """Fill in a column's tests: gains over the reference, Holm over them; rank intervals of the column alone; and the
    primary metric's interval with the noise of the test images."""
    labels, context, rows, values = list(scores), compared.context, compared.rows, compared.values

    def gain(m: str, seeds: int | None, level: float) -> PairTest:
        seen = up_to({(x, column): values[x, column] for x in (m, compared.reference) if x is not None}, seeds)
        return _gain(m, column, seen, compared, level)

    gains = rows.gains(compared.reference, gain)
    alone = None
    if len(labels) <= COLUMN_RANKS:
        rules = Rules(rope=context.rope, sign=context.sign, standing=rows.standing)
        alone = rank(labels, [column], values, compared.images, rules)
    for m in labels:
        score = scores[m][column]
        intervals = dict(score.metrics)
        own = intervals[context.primary]
        if alone is not None and own is not None and compared.images is not None:
            intervals[context.primary] = replace(own, half=alone.halves[m])
        test, p_holm = gains.get(m, (None, None))
        scores[m][column] = replace(
            score, metrics=intervals, gain=test, p_holm=p_holm, rank=alone.ranks[m] if alone else None
        )


def _gain(label: str, column: Column, values: Values, compared: Compared, level: float) -> PairTest:
    """A method against the reference on one column, paired by seed.

    Args:
        values: of the seeds that are looked at.
    """
    images, reference, sign = compared.images, compared.reference, compared.context.sign
    if reference is None:
        return PairTest(None, None, 0, None, Reason.no_reference)
    mine, theirs = values[label, column], values[reference, column]
    test = paired_t({s: sign * v for s, v in mine.items()}, {s: sign * v for s, v in theirs.items()}, level)
    if images is None or test.n < 2:
        return test
    seeds, shown = sorted(mine.keys() & theirs.keys()), images.by_method
    crossed = crossed_variance(
        np.array([shown[label, column][s] - shown[reference, column][s] for s in seeds], dtype=np.float64),
        level,
        images.df.get(column, np.inf),
    )
    if not crossed.variance:
        return test
    return replace(test, half=crossed.half, p=crossed.p, reason=crossed.reason)


def other_gains(
    rows: Rows, columns: Sequence[Column], reference: str | None, context: Context
) -> dict[str, dict[str, Pair]]:
    """Method -> metric -> gain over the reference, over the columns where the metric exists for every method."""
    gains: dict[str, dict[str, Pair]] = {m: {} for m in rows.labels}
    chosen = [m for m in context.metrics if m != context.primary and m in (*context.report, *TRADE_OFF)]
    if reference is None:
        return gains
    for metric in chosen:
        values = rows.values(columns, metric, context)
        shared = [c for c in columns if all(values[m, c] for m in rows.labels)]
        if not shared:
            continue
        about = metric_of(metric, context.directions)
        for m, (test, p) in rows.gains(reference, _tests_of(values, shared, reference, context, metric)).items():
            one_sided = None if rows.standing is None else 1 - rows.standing.level(m, reference)
            gains[m][metric] = Pair(m, reference, test, p, verdict(test, p, about.rope, ALPHA, one_sided))
    return gains


def _tests_of(
    values: Values, columns: Sequence[Column], reference: str, context: Context, metric: str
) -> Callable[[str, int | None, float], ScopeATest]:
    """The test of a row's gain in a metric."""
    sign = 1.0 if metric_of(metric, context.directions).higher_is_better else -1.0

    def test(label: str, seeds: int | None, level: float) -> ScopeATest:
        seen = up_to({(m, c): values[m, c] for m in (label, reference) for c in columns}, seeds)
        mine, base = (quality_by_dataset(m, columns, seen, sign, context.blocks) for m in (label, reference))
        drawn, redrawn = (by_draw(m, columns, seen, sign, context.blocks) for m in (label, reference))
        found = scope_a(mine, base, draws=(drawn, redrawn) if drawn else None)
        return found if level == 0.95 else replace(found, half=found.interval_half(level))

    return test
