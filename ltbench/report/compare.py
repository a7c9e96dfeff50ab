"""Two methods in full: one planned comparison, by column, by metric, by class, and where its uncertainty comes from."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ltbench.errors import UserError, did_you_mean
from ltbench.metrics import METRICS
from ltbench.report.board import Column, Leaderboard, Pair, Table
from ltbench.report.leaderboard import build
from ltbench.spec import Record, Result
from ltbench.stats.crossed import Crossed, crossed_variance
from ltbench.stats.paired import PairTest, paired_t

Predictions = Callable[[str], bytes | None]
"""Key -> the stored npz of a trial, or None."""


@dataclass(frozen=True)
class Comparison:
    """A against B over the seeds that both have; differences are a - b, of quality in the primary metric."""

    a: str
    b: str
    board: Leaderboard
    overall: Pair
    by_column: Mapping[Column, PairTest]
    by_metric: Mapping[str, tuple[float, float, PairTest]]
    """Metric -> mean of A, mean of B, paired test over seeds of the mean over the columns that have it."""
    class_gains: Mapping[Column, tuple[tuple[str, float, float], ...]]
    """Column -> (class, training images, difference of recalls in points), from head to tail."""
    crossed: Mapping[str, Crossed]
    """Data set -> variance over seeds and test images, where predictions were kept."""

    @property
    def table(self) -> Table:
        return self.board.tables[0]


def compare(
    records: Sequence[Record],
    predictions: Predictions,
    a: str,
    b: str,
    expectation: Mapping[str, Any] | None = None,
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
    expectation = _about_two(expectation, a, b)
    board = build([Result.of(r) for r in records], expectation, methods=[a, b], datasets=datasets)
    table = next((t for t in board.tables if len(t.rows) == 2), None)
    if table is None:
        why = "; ".join(f"{label}: {reason}" for t in board.tables for label, reason in t.incomplete)
        raise UserError(f"{a!r} and {b!r} cannot be compared: {why or 'they were trained under different recipes'}")
    (pair,) = table.pairs
    used = _used(records, table, (a, b), {r.variant for r in _kept(records, expectation)})
    return Comparison(
        a=a,
        b=b,
        board=board,
        overall=pair.seen_from(a),
        by_column={c: _column_test(used, c, a, b, board.primary) for c in table.columns},
        by_metric=_by_metric(used, table, a, b),
        class_gains={c: _class_gains(used, c, a, b) for c in table.columns},
        crossed=_crossed(used, table, a, b, predictions),
    )


def _about_two(expectation: Mapping[str, Any] | None, a: str, b: str) -> dict[str, Any] | None:
    """The same plan with B as the reference, so that A's gain over B is the one planned comparison."""
    if expectation is None:
        return None
    return {**expectation, "protocol": {**expectation["protocol"], "reference": b}}


def _kept(records: Sequence[Record], expectation: Mapping[str, Any] | None) -> list[Result]:
    results = [Result.of(r) for r in records]
    if expectation is None:
        return results
    return [r for r in results if expectation["rows"].get(r.label, [None, None])[1] == r.variant]


def _used(
    records: Sequence[Record], table: Table, labels: tuple[str, str], variants: set[str]
) -> dict[tuple[str, Column, int], Record]:
    """(method, column, seed) -> record, for what the table compares."""
    used = {}
    for record in records:
        result = Result.of(record)
        column = (result.dataset, result.imbalance, result.manifest)
        if record.status == "ok" and result.label in labels and column in table.columns and result.variant in variants:
            used[result.label, column, result.seed] = record
    return used


Used = Mapping[tuple[str, Column, int], Record]


def _values(used: Used, label: str, column: Column, metric: str) -> dict[int, float]:
    found = {s: r.metrics.get(metric) for (name, c, s), r in used.items() if (name, c) == (label, column)}
    return {s: v for s, v in found.items() if v is not None}


def _column_test(used: Used, column: Column, a: str, b: str, metric: str) -> PairTest:
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    first, second = (_values(used, name, column, metric) for name in (a, b))
    return paired_t({s: sign * v for s, v in first.items()}, {s: sign * v for s, v in second.items()})


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
            found[metric] = (averages[0], averages[1], paired_t(means[0], means[1]))
    return found


def _class_gains(used: Used, column: Column, a: str, b: str) -> tuple[tuple[str, float, float], ...]:
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
    return tuple((str(names[c]), float(images[c]), float(gains[c])) for c in order)


def _crossed(used: Used, table: Table, a: str, b: str, predictions: Predictions) -> dict[str, Crossed]:
    """Per data set: right(A) - right(B) for every seed and test image, imbalance factors averaged, images weighted so
    that their mean is the difference in balanced accuracy, in points."""
    found = {}
    for dataset in dict.fromkeys(c[0] for c in table.columns):
        columns = [c for c in table.columns if c[0] == dataset]
        seeds = sorted({s for (_, c, s) in used if c in columns})
        rows = [_differences(used, columns, s, a, b, predictions) for s in seeds]
        whole = [row for row in rows if row is not None]
        if len(whole) == len(rows) > 0:
            found[dataset] = crossed_variance(np.stack(whole))
    return found


def _differences(
    used: Used, columns: Sequence[Column], seed: int, a: str, b: str, predictions: Predictions
) -> NDArray[np.float64] | None:
    rows = []
    for column in columns:
        right = []
        for label in (a, b):
            record = used.get((label, column, seed))
            stored = predictions(record.key) if record else None
            if stored is None:
                return None
            kept = np.load(io.BytesIO(stored), allow_pickle=False)
            truth = kept["truth"].astype(np.int64)
            right.append((kept["label"] == truth).astype(np.float64))
        counts = np.bincount(truth)
        weight = len(truth) / (np.count_nonzero(counts) * counts[truth])
        rows.append(100.0 * weight * (right[0] - right[1]))
    return np.asarray(np.mean(rows, axis=0))


def combined(crossed: Mapping[str, Crossed], level: float = 0.95) -> tuple[float, float] | None:
    """Mean difference over data sets and the half-width of its interval over new seeds and new test images; None where
    some data set gives no variance. Variances add over distinct test sets, degrees of freedom by Satterthwaite."""
    parts = list(crossed.values())
    if not parts or any(c.variance is None or c.df is None for c in parts):
        return None
    variances = np.array([c.variance for c in parts], dtype=float)
    df = float(variances.sum() ** 2 / np.sum(variances**2 / np.array([c.df for c in parts], dtype=float)))
    half = float(stdtrit(df, 0.5 + level / 2) * np.sqrt(variances.sum()) / len(parts))
    return float(np.mean([c.diff for c in parts])), half
