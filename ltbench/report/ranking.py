"""Which methods may be called better than which: rank intervals and verdicts over all data sets of a table.

Scope A of `stats`: these data sets, new seeds. Imbalance factors of a data set are averaged per seed first, because
they share classes and images and are no independent tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from ltbench.report.board import ALPHA, Column, Pair, Row, Score
from ltbench.stats.paired import holm
from ltbench.stats.scope_a import ByDataset, rank_intervals, scope_a, verdict

ALL_PAIRS = 10
"""Up to this many methods every verdict is of the family of all pairs; above it, gains are a family of their own."""
Values = Mapping[tuple[str, Column], Mapping[int, float]]
"""(method, column) -> seed -> value."""


def rank_rows(
    scores: Mapping[str, Mapping[Column, Score]],
    values: Values,
    primary: str,
    sign: float,
    reference: str | None,
    rope: float,
) -> tuple[tuple[Row, ...], tuple[Pair, ...]]:
    """Rows, best mean first, and all pairs.

    Args:
        sign: 1 where a higher value is better, else -1. Differences are of quality: positive is better.
        rope: differences below this are practically none.
    """
    labels = list(scores)
    quality = {label: _by_dataset(label, scores[label], values, sign) for label in labels}
    means = {label: _mean(scores[label], primary) for label in labels}
    ordered = sorted(labels, key=lambda label: -sign * means[label])
    pairs = _pairs(ordered, quality, rope)
    signs = {(p.a, p.b): _sign(p) for p in pairs}
    intervals = rank_intervals(ordered, signs)
    gains = _gains(pairs, reference, len(ordered), rope)
    rows = []
    for label in ordered:
        nothing = {dataset: dict.fromkeys(by_seed, 0.0) for dataset, by_seed in quality[label].items()}
        rows.append(
            Row(
                rank=intervals[label],
                label=label,
                mean=means[label],
                half=scope_a(quality[label], nothing).half,
                gain=gains.get(label),
                scores=scores[label],
            )
        )
    return tuple(rows), pairs


def _by_dataset(label: str, columns: Mapping[Column, Score], values: Values, sign: float) -> ByDataset:
    """Quality by data set and seed: the mean over the imbalance factors, for the seeds that have all of them."""
    by_dataset: dict[str, list[Mapping[int, float]]] = {}
    for column in columns:
        by_dataset.setdefault(column[0], []).append(values[label, column])
    whole = {}
    for dataset, factors in by_dataset.items():
        seeds = set.intersection(*(set(f) for f in factors))
        whole[dataset] = {s: sign * float(np.mean([f[s] for f in factors])) for s in sorted(seeds)}
    return whole


def _mean(columns: Mapping[Column, Score], primary: str) -> float:
    """Mean over data sets of the mean over imbalance factors, to 10 decimals."""
    by_dataset: dict[str, list[float]] = {}
    for column, score in columns.items():
        interval = score.metrics[primary]
        assert interval is not None, "a ranked row has a result on every column"
        by_dataset.setdefault(column[0], []).append(interval.mean)
    return round(float(np.mean([np.mean(v) for v in by_dataset.values()])), 10)


def _pairs(ordered: Sequence[str], quality: Mapping[str, ByDataset], rope: float) -> tuple[Pair, ...]:
    """Every pair, adjusted over all of them."""
    names = list(combinations(ordered, 2))
    tests = [scope_a(quality[a], quality[b]) for a, b in names]
    return tuple(
        Pair(a=a, b=b, test=test, p_holm=p, verdict=verdict(test, p, rope, ALPHA))
        for (a, b), test, p in zip(names, tests, holm([t.p for t in tests]), strict=True)
    )


def _gains(pairs: Sequence[Pair], reference: str | None, methods: int, rope: float) -> dict[str, Pair]:
    """Method -> its pair with the reference, seen from the method. With many methods the gains are a family of their
    own: all pairs would drown them; rank intervals keep the family of all pairs, or they would not hold at once."""
    chosen = [p.seen_from(p.a if p.b == reference else p.b) for p in pairs if reference in (p.a, p.b)]
    if methods > ALL_PAIRS:
        adjusted = holm([p.test.p for p in chosen])
        chosen = [
            replace(pair, p_holm=p, verdict=verdict(pair.test, p, rope, ALPHA))
            for pair, p in zip(chosen, adjusted, strict=True)
        ]
    return {pair.a: pair for pair in chosen}


def _sign(pair: Pair) -> int:
    """+1, -1 or 0: which of the two is significantly better."""
    if pair.p_holm is None or pair.p_holm >= ALPHA or pair.test.diff is None:
        return 0
    return 1 if pair.test.diff > 0 else -1
