"""Which methods may be called better than which: rank intervals and verdicts over all data sets of a table.

Scope A of `stats`: these data sets, new seeds (and new test images, where predictions are at hand). Imbalance factors
of a data set are averaged per seed first, because they share classes and images and are no independent tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ltbench.ranking.images import ByColumn, by_dataset
from ltbench.ranking.pairs import ALPHA, Pair, Pairs
from ltbench.spec import Column
from ltbench.stats.allpairs import all_pairs
from ltbench.stats.fixed_datasets import ByDataset, ByDraw, ByImage, rank_intervals, scope_a, verdict
from ltbench.stats.paired import holm, holm_array

ALL_PAIRS = 10
"""Up to this many methods every verdict is of the family of all pairs; above it, gains are a family of their own."""
MIN_DRAWS = 3
"""Fewest draws of the training images that are taken as a sample of draws."""
Values = Mapping[tuple[str, Column], Mapping[int, float]]
"""(method, column) -> seed -> value."""


@dataclass(frozen=True)
class Ranking:
    """Methods, best mean first, over some columns.

    quality: method -> data set -> seed -> value, higher is better. ranks: simultaneous intervals. gains: method -> its
    pair with the reference.
    """

    labels: tuple[str, ...]
    means: Mapping[str, float]
    halves: Mapping[str, float | None]
    quality: Mapping[str, ByDataset]
    ranks: Mapping[str, tuple[int, int]]
    pairs: Pairs
    gains: Mapping[str, Pair]


def rank(
    labels: Sequence[str],
    columns: Sequence[Column],
    values: Values,
    images: ByColumn | None,
    sign: float,
    reference: str | None,
    rope: float,
    blocks: Mapping[str, str] | None = None,
) -> Ranking:
    """Rank methods over the columns.

    Args:
        images: contributions of the test images, or None for seeds only.
        sign: 1 where a higher value is better, else -1. Differences are of quality: positive is better.
        rope: differences below this are practically none.
        blocks: data set -> its block, as in `selection.blocks_of`; each its own if None.
    """
    quality = {label: quality_by_dataset(label, columns, values, sign, blocks) for label in labels}
    means = {label: _mean(label, columns, values, blocks) for label in labels}
    ordered = sorted(labels, key=lambda label: -sign * means[label])
    by_image = None if images is None else [by_dataset(label, columns, images, blocks) for label in ordered]
    drawn = [by_draw(label, columns, values, sign, blocks) for label in ordered]
    draws = drawn if all(drawn) else None
    tests = all_pairs([quality[label] for label in ordered], by_image, draws)
    adjusted = holm_array(tests.p)
    pairs = Pairs(ordered, tests, adjusted, rope)
    found = np.flatnonzero(adjusted < ALPHA)
    signs = np.sign(tests.diff[found]).astype(int).tolist()
    sides = zip(tests.first[found].tolist(), tests.second[found].tolist(), strict=True)
    significant = {(ordered[i], ordered[j]): sign for (i, j), sign in zip(sides, signs, strict=True)}
    return Ranking(
        labels=tuple(ordered),
        means=means,
        halves={
            m: _half(quality[m], by_image[i] if by_image else None, drawn[i] or None) for i, m in enumerate(ordered)
        },
        quality=quality,
        ranks=rank_intervals(ordered, significant),
        pairs=pairs,
        gains=_gains(pairs, reference, ordered, rope) if reference is not None else {},
    )


def quality_by_dataset(
    label: str, columns: Sequence[Column], values: Values, sign: float, blocks: Mapping[str, str] | None = None
) -> ByDataset:
    """Quality by data set (block) and seed: the mean over its columns, for the seeds that have all of them."""
    factors: dict[str, list[Mapping[int, float]]] = {}
    for column in columns:
        factors.setdefault((blocks or {}).get(column.dataset, column.dataset), []).append(values[label, column])
    whole = {}
    for dataset, rows in factors.items():
        seeds = set.intersection(*(set(f) for f in rows))
        whole[dataset] = {s: sign * sum(f[s] for f in rows) / len(rows) for s in sorted(seeds)}
    return whole


def by_draw(
    label: str, columns: Sequence[Column], values: Values, sign: float, blocks: Mapping[str, str] | None = None
) -> dict[str, dict[str, dict[int, float]]]:
    """Quality by data set (block), draw of its training images and seed. Only of blocks that were drawn at least 3
    times, each draw with the same imbalance factors: with fewer, a draw is what it is and not a sample."""
    names: dict[str, dict[str, list[Column]]] = {}
    for column in columns:
        block = (blocks or {}).get(column.dataset, column.dataset)
        names.setdefault(block, {}).setdefault(column.dataset, []).append(column)
    found: dict[str, dict[str, dict[int, float]]] = {}
    for block, draws in names.items():
        if len(draws) < MIN_DRAWS or len({tuple(c.imbalance for c in some) for some in draws.values()}) > 1:
            continue
        whole = set.intersection(*(set(values[label, c]) for some in draws.values() for c in some))
        if not whole:
            continue
        found[block] = {
            name: {s: sign * sum(values[label, c][s] for c in some) / len(some) for s in sorted(whole)}
            for name, some in draws.items()
        }
    return found


def _mean(label: str, columns: Sequence[Column], values: Values, blocks: Mapping[str, str] | None) -> float:
    """Mean over data sets of the mean over imbalance factors, to 10 decimals."""
    factors: dict[str, list[float]] = {}
    for column in columns:
        found, block = values[label, column], (blocks or {}).get(column.dataset, column.dataset)
        factors.setdefault(block, []).append(sum(found.values()) / len(found))
    return round(float(np.mean([np.mean(v) for v in factors.values()])), 10)


def _half(quality: ByDataset, images: ByImage | None, drawn: ByDraw | None) -> float | None:
    """Half-width of the 95 % interval of a method's own mean: its difference from nothing."""
    draws = None
    if drawn is not None:
        draws = drawn, {t: {r: dict.fromkeys(x, 0.0) for r, x in some.items()} for t, some in drawn.items()}
    nothing = {dataset: dict.fromkeys(by_seed, 0.0) for dataset, by_seed in quality.items()}
    if images is None:
        return scope_a(quality, nothing, draws=draws).half
    dark = {dataset: {s: np.zeros_like(x) for s, x in by_seed.items()} for dataset, by_seed in images.items()}
    return scope_a(quality, nothing, (images, dark), draws).half


def _gains(pairs: Pairs, reference: str, labels: Sequence[str], rope: float) -> dict[str, Pair]:
    """Method -> its pair with the reference, seen from the method. With many methods the gains are a family of their
    own: all pairs would drown them; rank intervals keep the family of all pairs, or they would not hold at once."""
    chosen = [p.seen_from(p.b) for p in pairs.of(reference)]
    if len(labels) > ALL_PAIRS:
        adjusted = holm([p.test.p for p in chosen])
        chosen = [
            replace(pair, p_holm=p, verdict=verdict(pair.test, p, rope, ALPHA))
            for pair, p in zip(chosen, adjusted, strict=True)
        ]
    return {pair.a: pair for pair in chosen}
