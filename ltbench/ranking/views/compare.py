"""Two methods in full: one planned comparison, by column, by metric, by class, and where its uncertainty comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from ltbench.errors import UserError, did_you_mean
from ltbench.metric_names import METRICS
from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.images import NoImages, Predictions, by_dataset, contributions, right_images
from ltbench.ranking.pairs import ALPHA, Pair
from ltbench.ranking.ranking import quality_by_dataset
from ltbench.ranking.selection import belonging
from ltbench.spec import Column, Expectation, Record, Result, Selection
from ltbench.stats.aggregate import class_level
from ltbench.stats.crossed import Crossed, McNemar, crossed_variance, mcnemar, sign_flip
from ltbench.stats.fixed_datasets import ScopeATest
from ltbench.stats.paired import PairTest, paired_t
from ltbench.stats.reasons import Reason


class ClassGain(NamedTuple):
    """A class: its training images, and how many points more of its test images A gets right than B."""

    name: str
    train_images: float
    gain: float


@dataclass(frozen=True)
class Comparison:
    """A against B over the seeds that both have; differences are a - b, of quality in the primary metric."""

    a: str
    b: str
    board: Leaderboard
    overall: Pair
    by_column: Mapping[Column, PairTest]
    by_dataset: Mapping[str, ScopeATest]
    """Imbalance factors averaged; only data sets that have several."""
    by_metric: Mapping[str, tuple[float, float, PairTest]]
    """Metric -> mean of A, mean of B, paired test over seeds of the mean over the columns that have it."""
    class_gains: Mapping[Column, tuple[ClassGain, ...]]
    """From head to tail."""
    tail: Mapping[Column, tuple[float, float, int]]
    """Column -> mean gain of its few-shot classes, half-width of the 95 % interval over classes, their number: the
    question "for tail classes in general". From 6 classes on."""
    crossed: Mapping[str, Crossed]
    """Data set -> variance over seeds and test images, where predictions were kept."""
    models: Mapping[Column, Mapping[int, McNemar]]
    """Column -> seed -> McNemar's test of the two models trained with this seed, where predictions were kept."""
    flipped: tuple[float | None, Reason | None, int]
    """p of the overall difference by flipping the signs of the seeds' differences, or why there is none; the number of
    seeds. It assumes no normal distribution, and needs 6 seeds."""
    in_family: tuple[float | None, int]
    """The pair's p after Holm's correction over all pairs of the leaderboard of the same data sets, and their number:
    what holds for whoever chose the pair after looking at that table."""

    @property
    def table(self) -> Table:
        """The table of the two."""
        return self.board.tables[0]


def compare(
    records: Sequence[Record],
    predictions: Predictions,
    a: str,
    b: str,
    expectation: Expectation | None = None,
    datasets: Sequence[str] | None = None,
) -> Comparison:
    """Compare two methods.

    Raises:
        UserError: a method without results, or two that share no column under one recipe.
    """
    labels = sorted({r.spec.label for r in records})
    for name in (a, b):
        if name not in labels:
            raise UserError(f"{name!r} has no results. {did_you_mean(name, labels)}")
    if a == b:
        raise UserError(f"{a!r} cannot be compared with itself")
    results = [Result.of(r) for r in records]
    ranked = partial(build, results, expectation, predictions=predictions)
    board = ranked(Selection([a, b], datasets), BoardOptions(reference=b))
    table = next((t for t in board.tables if len(t.rows) == 2), None)
    if table is None:
        why = "; ".join(f"{label}: {reason}" for t in board.tables for label, reason in t.incomplete)
        raise UserError(f"{a!r} and {b!r} cannot be compared: {why or 'they were trained under different recipes'}")
    (pair,) = table.pairs
    mine = next(row for row in table.rows if row.label == a)
    used = _used(records, table, (a, b), {r.key for r in belonging(results, expectation)[0]})
    return Comparison(
        a=a,
        b=b,
        board=board,
        overall=pair.seen_from(a),
        by_column={c: replace(s.gain, p=s.p_holm) for c, s in mine.scores.items() if s.gain is not None},
        by_dataset=_by_dataset(ranked, table, a, b),
        by_metric=_by_metric(used, table, a, b),
        class_gains=(classes := {c: _class_gains(used, c, a, b) for c in table.columns}),
        tail={c: level for c, gains in classes.items() if (level := _tail(gains, used))},
        crossed=_crossed(used, table, a, b, board.primary, predictions),
        models=_models(used, table, a, b, predictions),
        flipped=_flipped(used, table, a, b, board.primary),
        in_family=(table.pairs.between(a, b).p_holm, 1) if len(labels) == 2 else _in_family(ranked, datasets, a, b),
    )


Ranked = Callable[..., Leaderboard]
"""The leaderboard of the same results under a selection and options, as `build` takes them."""


def _in_family(ranked: Ranked, datasets: Sequence[str] | None, a: str, b: str) -> tuple[float | None, int]:
    """The same pair among all rows of its recipe."""
    try:
        board = ranked(Selection(datasets=datasets))
    except UserError:  # two results for one place of some other row: there is no such leaderboard
        return None, 0
    whole = next((t for t in board.tables if {a, b} <= {row.label for row in t.rows}), None)
    return (None, 0) if whole is None else (whole.pairs.between(a, b).p_holm, len(whole.pairs))


def _used(
    records: Sequence[Record], table: Table, labels: tuple[str, str], keys: set[str]
) -> dict[tuple[str, Column, int], Record]:
    """(method, column, seed) -> record, for what the table compares."""
    used = {}
    for record in records:
        spec, column = record.spec, record.spec.cell.column
        if table.standing is not None and spec.label in labels and spec.seed >= table.standing.seeds(spec.label):
            continue
        if record.status == "ok" and spec.label in labels and column in table.columns and record.key in keys:
            used[spec.label, column, spec.seed] = record
    return used


Used = Mapping[tuple[str, Column, int], Record]


def _values(used: Used, label: str, column: Column, metric: str) -> dict[int, float]:
    found = {s: r.metrics.get(metric) for (name, c, s), r in used.items() if (name, c) == (label, column)}
    return {s: v for s, v in found.items() if v is not None}


def _by_metric(used: Used, table: Table, a: str, b: str) -> dict[str, tuple[float, float, PairTest]]:
    """Every metric averaged over the columns where it is defined for both, tested over the seeds that have them all."""
    found = {}
    for metric in METRICS:
        columns = [c for c in table.columns if _values(used, a, c, metric) and _values(used, b, c, metric)]
        if not columns:
            continue
        means = []
        for name in (a, b):
            by_column = [_values(used, name, c, metric) for c in columns]
            seeds = set.intersection(*(set(v) for v in by_column))
            means.append({s: float(np.mean([v[s] for v in by_column])) for s in sorted(seeds)})
        if means[0].keys() & means[1].keys():
            averages = [float(np.mean(list(m.values()))) for m in means]
            level = 0.95 if table.standing is None else table.standing.level(a, b)
            found[metric] = (averages[0], averages[1], paired_t(means[0], means[1], level))
    return found


def _by_dataset(ranked: Ranked, table: Table, a: str, b: str) -> dict[str, ScopeATest]:
    """The overall test on one data set at a time."""
    found = {}
    for dataset in table.datasets if len(table.datasets) < len(table.columns) else ():
        board = ranked(Selection([a, b], [dataset]), BoardOptions(reference=b))
        part = next(t for t in board.tables if len(t.rows) == 2)
        found[dataset] = part.pairs.between(a, b).test
    return found


def _tail(gains: Sequence[ClassGain], used: Used) -> tuple[float, float, int] | None:
    """The few-shot classes of a column as a sample of tail classes."""
    few = next(iter(used.values())).spec.shots["few"]
    tail = np.array([c.gain for c in gains if c.train_images < few])
    if len(tail) == 0:
        return None
    mean, half, _ = class_level(tail)
    return None if half is None else (mean, half, len(tail))


def _class_gains(used: Used, column: Column, a: str, b: str) -> tuple[ClassGain, ...]:
    """Mean difference of per-class recalls over common seeds, classes from most to fewest training images."""
    pairs = [
        (r, used[b, column, s]) for (name, c, s), r in used.items() if (name, c) == (a, column) and (b, c, s) in used
    ]
    if not pairs:
        return ()
    gains = np.mean([np.subtract(x.per_class["recall"], y.per_class["recall"]) for x, y in pairs], axis=0)
    images = pairs[0][0].per_class["train_images"]
    names = pairs[0][0].environment.get("class_names") or [str(i) for i in range(len(gains))]
    order = sorted(range(len(gains)), key=lambda c: (-images[c], c))
    return tuple(ClassGain(str(names[c]), float(images[c]), float(gains[c])) for c in order)


def _models(used: Used, table: Table, a: str, b: str, predictions: Predictions) -> dict[Column, dict[int, McNemar]]:
    """McNemar's test of each pair of models on each column's test images; nothing where predictions are not at hand."""
    try:
        right, _ = right_images({where: record.key for where, record in used.items()}, predictions)
    except NoImages:
        return {}
    found: dict[Column, dict[int, McNemar]] = {}
    for column in table.columns:
        mine, theirs = right.get((a, column), {}), right.get((b, column), {})
        seeds = sorted(mine.keys() & theirs.keys())
        found[column] = {seed: mcnemar(mine[seed], theirs[seed]) for seed in seeds}
    return {column: tests for column, tests in found.items() if tests}


def _flipped(used: Used, table: Table, a: str, b: str, metric: str) -> tuple[float | None, Reason | None, int]:
    """Sign flips of the seeds' mean differences over data sets, for the seeds that all data sets have."""
    values = {(m, c): _values(used, m, c, metric) for m in (a, b) for c in table.columns}
    mine, theirs = (quality_by_dataset(m, table.columns, values, 1.0, table.blocks) for m in (a, b))
    seeds = sorted(set.intersection(*(set(x) for quality in (mine, theirs) for x in quality.values())))
    differences = [float(np.mean([mine[t][s] - theirs[t][s] for t in mine])) for s in seeds]
    p, reason = sign_flip(np.array(differences))
    if table.standing is not None and p is not None:  # adjusted for the looks, as every other p is
        p = min(1.0, p * ALPHA / (1 - table.standing.level(a, b)))
    return p, reason, len(seeds)


def _crossed(used: Used, table: Table, a: str, b: str, metric: str, predictions: Predictions) -> dict[str, Crossed]:
    """Per data set, its draws averaged: the variance of right(A) - right(B) over seeds and test images; nothing where
    the table could not look at test images."""
    if not table.with_images:
        return {}
    blocks, keys = table.blocks, {at: r.key for at, r in used.items() if r.metrics.get(metric) is not None}
    images = contributions(keys, predictions, metric, blocks)
    mine, theirs = (by_dataset(label, table.columns, images.by_method, blocks) for label in (a, b))
    found = {}
    for dataset in mine:
        seeds = sorted(mine[dataset].keys() & theirs[dataset].keys())
        if seeds:
            found[dataset] = crossed_variance(np.array([mine[dataset][s] - theirs[dataset][s] for s in seeds]))
    return found
