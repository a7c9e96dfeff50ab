"""One table of a leaderboard: the rows of one recipe, on the same columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.metrics import Directions, metric_of
from ltbench.ranking.board import Row, Score, Table
from ltbench.ranking.claims import improvements, interquartile_gains, other_datasets, profile_of, redrawn, runs_of
from ltbench.ranking.images import ByColumn, NoImages, Predictions, contributions
from ltbench.ranking.pairs import ALPHA, NO_PAIRS, Pair
from ltbench.ranking.ranking import Ranking, Values, by_draw, quality_by_dataset, rank
from ltbench.ranking.selection import Origin, RecipeKey, columns_of, labels_of, skip_reason
from ltbench.spec import Column, Expectation, Result, Selection
from ltbench.spec.expectation import ExpectedSkip
from ltbench.stats.crossed import crossed_variance
from ltbench.stats.fixed_datasets import scope_a, verdict
from ltbench.stats.intervals import Interval, mean_interval
from ltbench.stats.paired import PairTest, holm, paired_t
from ltbench.stats.reasons import Reason

TRADE_OFF = ("many", "medium", "few", "ece")
"""Metrics whose gains are always computed where they exist: what the tail gains and what the head pays."""
COLUMN_RANKS = 100
"""With more methods than this, columns are not ranked one by one."""
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

    @property
    def sign(self) -> float:
        """1 where a higher value of the primary metric is better, else -1."""
        return 1.0 if metric_of(self.primary, self.directions).higher_is_better else -1.0


def make_table(recipe: RecipeKey, results: Sequence[Result], context: Context) -> Table:
    """Rank the results of one recipe; what cannot be ranked is listed with its reason."""
    columns = columns_of(results, context.expectation, context.selection)
    labels = labels_of(recipe.name, results, context.expectation, context.selection)
    trials = {(r.label, r.column, r.seed): r for r in results}
    values = _all_values(trials, labels, columns, context.seeds, context.primary)
    incomplete = {m: why for m in labels if (why := _why_incomplete(m, columns, values, context.skips))}
    ranked = [m for m in labels if m not in incomplete]
    reference = context.reference if context.reference in ranked else None
    images, without = _images(trials, ranked, columns, values, context)
    if not ranked:
        ranking = None
        rows: tuple[Row, ...] = ()
    else:
        ranking = rank(ranked, columns, values, images, context.sign, reference, context.rope, context.blocks)
        scores = {m: {c: _score(trials, m, c, context) for c in columns} for m in ranked}
        for column in columns:
            _compare_on(column, scores, values, images, reference, context)
        rows = _rows(ranking, scores, trials, columns, reference, context)
    return Table(
        recipe_name=recipe.name,
        recipe_id=recipe.digest,
        pretraining=_pretraining(recipe.name, results, context),
        elsewhere=context.origin.elsewhere or (bool(results) and all(r.elsewhere for r in results)),
        reference=reference,
        columns=tuple(columns),
        rows=rows,
        pairs=ranking.pairs if ranking else NO_PAIRS,
        incomplete=tuple(incomplete.items()),
        comparisons=sum(m != reference for m in ranked) if reference else 0,
        rope=context.rope,
        redrawn=redrawn({m: by_draw(m, columns, values, context.sign, context.blocks) for m in ranked}, reference),
        blocks={c.dataset: context.blocks.get(c.dataset, c.dataset) for c in columns},
        missing=_missing(trials, labels, columns, context),
        with_images=images is not None,
        without_images=without,
        scope_b=other_datasets(ranking, reference, context.rope) if ranking else None,
        profile=profile_of(ranking, runs_of(ranking, reference)) if ranking else None,
    )


def _pretraining(recipe: str, results: Sequence[Result], context: Context) -> str:
    if results:
        return results[0].pretraining
    planned = (context.expectation and context.expectation.recipes) or {}
    return str(planned.get(recipe, {}).get("pretraining", ""))


def _rows(
    ranking: Ranking,
    scores: Mapping[str, Mapping[Column, Score]],
    trials: Trials,
    columns: Sequence[Column],
    reference: str | None,
    context: Context,
) -> tuple[Row, ...]:
    runs = runs_of(ranking, reference)
    iqm, improvement = interquartile_gains(ranking, reference, runs), improvements(ranking, reference, runs)
    of_others = {r.label for r in trials.values() if r.elsewhere}
    budgets = _budgets(ranking.labels, trials)
    others = _other_gains(ranking.labels, trials, columns, reference, context)
    return tuple(
        Row(
            rank=ranking.ranks[m],
            label=m,
            mean=ranking.means[m],
            half=ranking.halves[m],
            gain=ranking.gains.get(m),
            scores=scores[m],
            others=others.get(m, {}),
            iqm=iqm.get(m),
            stale=m in context.origin.stale,
            elsewhere=m in of_others,
            improvement=improvement.get(m),
            budget=budgets[m],
        )
        for m in ranking.labels
    )


def _budgets(labels: Sequence[str], trials: Trials) -> dict[str, dict[str, float]]:
    """What a trial of each method cost, on average; what is not known of all is left out."""
    known: dict[str, list[Mapping[str, float]]] = {m: [] for m in labels}
    for (label, _, _), result in trials.items():
        if label in known and result.status == "ok":
            known[label].append(result.budget)
    return {
        m: {name: float(np.mean([b[name] for b in all_])) for name in all_[0] if all(name in b for b in all_)}
        for m, all_ in known.items()
    }


def _all_values(
    trials: Trials, labels: Sequence[str], columns: Sequence[Column], seeds: Sequence[int], metric: str
) -> dict[tuple[str, Column], dict[int, float]]:
    return {(m, c): _values(trials, m, c, seeds, metric) for m in labels for c in columns}


def _values(trials: Trials, label: str, column: Column, seeds: Sequence[int], metric: str) -> dict[int, float]:
    """Finished values of a metric by seed."""
    values = {}
    for seed in seeds:
        result = trials.get((label, column, seed))
        value = result.metrics.get(metric) if result and result.status == "ok" else None
        if value is not None:
            values[seed] = value
    return values


def _why_incomplete(label: str, columns: Sequence[Column], values: Values, skips: Sequence[ExpectedSkip]) -> str | None:
    empty = [c for c in columns if not values[label, c]]
    if not empty:
        return None
    reasons = [reason for c in empty if (reason := skip_reason(skips, label, c))]
    where = "any column" if len(empty) == len(columns) else ", ".join(c.label for c in empty)
    return f"no result on {where}" + (f": {reasons[0]}" if reasons else "")


def _missing(trials: Trials, labels: Sequence[str], columns: Sequence[Column], context: Context) -> int:
    return sum(
        (label, column, seed) not in trials
        for label in labels
        for column in columns
        if skip_reason(context.skips, label, column) is None
        for seed in context.seeds
    )


def _images(
    trials: Trials, ranked: Sequence[str], columns: Sequence[Column], values: Values, context: Context
) -> tuple[ByColumn | None, str]:
    """What test images contribute, or None and why."""
    keys = {(m, c, s): trials[m, c, s].key for m in ranked for c in columns for s in values[m, c]}
    try:
        return contributions(keys, context.predictions, context.primary, context.blocks, context.class_weights), ""
    except NoImages as reason:
        return None, str(reason)


def _score(trials: Trials, label: str, column: Column, context: Context) -> Score:
    intervals: dict[str, Interval | None] = {}
    for metric in context.metrics:
        values = list(_values(trials, label, column, context.seeds, metric).values())
        intervals[metric] = mean_interval(values) if values else None
    there = [trials.get((label, column, seed)) for seed in context.seeds]
    return Score(
        metrics=intervals,
        gain=None,
        p_holm=None,
        finished=sum(r is not None and r.status == "ok" for r in there),
        failed=sum(r is not None and r.status == "failed" for r in there),
        missing=sum(r is None for r in there),
    )


def _compare_on(
    column: Column,
    scores: dict[str, dict[Column, Score]],
    values: Values,
    images: ByColumn | None,
    reference: str | None,
    context: Context,
) -> None:
    """Fill in a column's tests: gains over the reference, Holm over them; rank intervals of the column alone; and the
    primary metric's interval with the noise of the test images."""
    labels = list(scores)
    gains = {m: _gain(m, column, values, images, reference, context.sign) for m in labels if m != reference}
    adjusted = dict(zip(gains, holm([g.p for g in gains.values()]), strict=True))
    alone = None
    if len(labels) <= COLUMN_RANKS:
        alone = rank(labels, [column], values, images, context.sign, None, context.rope)
    for m in labels:
        score = scores[m][column]
        intervals = dict(score.metrics)
        own = intervals[context.primary]
        if alone is not None and own is not None and images is not None:
            intervals[context.primary] = replace(own, half=alone.halves[m])
        scores[m][column] = replace(
            score,
            metrics=intervals,
            gain=gains.get(m),
            p_holm=adjusted.get(m),
            rank=alone.ranks[m] if alone else None,
        )


def _gain(
    label: str, column: Column, values: Values, images: ByColumn | None, reference: str | None, sign: float
) -> PairTest:
    """A method against the reference on one column, paired by seed."""
    if reference is None:
        return PairTest(None, None, 0, None, Reason.no_reference)
    mine, theirs = values[label, column], values[reference, column]
    test = paired_t({s: sign * v for s, v in mine.items()}, {s: sign * v for s, v in theirs.items()})
    if images is None or test.n < 2:
        return test
    seeds = sorted(mine.keys() & theirs.keys())
    crossed = crossed_variance(
        np.array([images[label, column][s] - images[reference, column][s] for s in seeds], dtype=np.float64)
    )
    if not crossed.variance:
        return test
    return replace(test, half=crossed.half, p=crossed.p, reason=crossed.reason)


def _other_gains(
    labels: Sequence[str], trials: Trials, columns: Sequence[Column], reference: str | None, context: Context
) -> dict[str, dict[str, Pair]]:
    """Method -> metric -> gain over the reference, over the columns where the metric exists for every method."""
    gains: dict[str, dict[str, Pair]] = {m: {} for m in labels}
    chosen = [m for m in context.metrics if m != context.primary and m in (*context.report, *TRADE_OFF)]
    if reference is None:
        return gains
    for metric in chosen:
        values = _all_values(trials, labels, columns, context.seeds, metric)
        shared = [c for c in columns if all(values[m, c] for m in labels)]
        if not shared:
            continue
        about = metric_of(metric, context.directions)
        sign = 1.0 if about.higher_is_better else -1.0
        quality = {m: quality_by_dataset(m, shared, values, sign, context.blocks) for m in labels}
        drawn = {m: by_draw(m, shared, values, sign, context.blocks) for m in labels}
        tests = {
            m: scope_a(quality[m], quality[reference], draws=(drawn[m], drawn[reference]) if drawn[m] else None)
            for m in labels if m != reference
        }  # fmt: skip
        for (m, test), p in zip(tests.items(), holm([t.p for t in tests.values()]), strict=True):
            gains[m][metric] = Pair(m, reference, test, p, verdict(test, p, about.rope, ALPHA))
    return gains
