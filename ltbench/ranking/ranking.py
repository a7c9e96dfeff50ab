"""Which methods may be called better than which: rank intervals and verdicts over all data sets of a table.

Scope A of `stats`: these data sets, new seeds (and new test images, where predictions are at hand). Imbalance factors
of a data set are averaged per seed first, because they share classes and images and are no independent tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltbench.ranking.images import Images, by_dataset
from ltbench.ranking.looks import Named, OverLooks, Standing, due_seeds, over_looks, up_to
from ltbench.ranking.pairs import ALPHA, Pair, Pairs
from ltbench.spec import Column
from ltbench.stats.allpairs import AllPairs, all_pairs
from ltbench.stats.fixed_datasets import ByDataset, ByDraw, ByImage, rank_intervals, scope_a, verdict
from ltbench.stats.looks import Claims
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
    pair with the reference. due: method -> seeds it should have, if they run until comparisons are decided.
    """

    labels: tuple[str, ...]
    means: Mapping[str, float]
    halves: Mapping[str, float | None]
    quality: Mapping[str, ByDataset]
    ranks: Mapping[str, tuple[int, int]]
    pairs: Pairs
    gains: Mapping[str, Pair]
    due: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How methods are held against each other.

    Attributes:
        rope: differences below this are practically none.
        sign: 1 where a higher value is better, else -1. Differences are of quality: positive is better.
        reference: the row that gains are over.
        blocks: data set -> its block, as in `selection.blocks_of`; one that is absent is its own.
        standing: where each row stands, if the seeds run until comparisons are decided; values end there.
    """

    rope: float
    sign: float = 1.0
    reference: str | None = None
    blocks: Mapping[str, str] = field(default_factory=dict)
    standing: Standing | None = None


def rank(
    labels: Sequence[str], columns: Sequence[Column], values: Values, images: Images | None, rules: Rules
) -> Ranking:
    """Rank methods over the columns.

    Args:
        images: contributions of the test images, or None for seeds only.
    """
    sign, blocks, standing = rules.sign, rules.blocks, rules.standing
    quality = {label: quality_by_dataset(label, columns, values, sign, blocks) for label in labels}
    means = {label: _mean(label, columns, values, blocks) for label in labels}
    ordered = sorted(labels, key=lambda label: -sign * means[label])
    by_image = None if images is None else [by_dataset(m, columns, images.by_method, blocks) for m in ordered]
    images_df = {} if images is None else images.df_by_dataset(columns, blocks)
    drawn = [by_draw(label, columns, values, sign, blocks) for label in ordered]

    def tests_of(some: Sequence[str], seeds: int) -> AllPairs:
        seen = up_to(values, seeds)
        pictures = None if images is None else up_to(images.by_method, seeds)
        redrawn = [by_draw(label, columns, seen, sign, blocks) for label in some]
        return all_pairs(
            [quality_by_dataset(label, columns, seen, sign, blocks) for label in some],
            None if pictures is None else [by_dataset(label, columns, pictures, blocks) for label in some],
            redrawn if all(redrawn) else None,
            images_df,
        )

    if standing is None:
        tests = all_pairs([quality[m] for m in ordered], by_image, drawn if all(drawn) else None, images_df)
        tested = _once(ordered, tests, rules)
    else:
        tested = _over_looks(ordered, over_looks(ordered, standing, rules.rope, tests_of), standing, rules)
    levels = {m: None if standing is None else standing.level(m) for m in ordered}
    return Ranking(
        labels=tuple(ordered),
        means=means,
        halves={
            m: _half(quality[m], (by_image[i], images_df) if by_image else None, drawn[i] or None, levels[m])
            for i, m in enumerate(ordered)
        },
        quality=quality,
        ranks=rank_intervals(ordered, tested.significant),
        pairs=tested.pairs,
        gains=tested.gains,
        due=tested.due,
    )


class _Tested(NamedTuple):
    """What is said of pairs. significant: pair -> sign of the claimed difference. due: row -> seeds it should have."""

    pairs: Pairs
    significant: Mapping[tuple[str, str], int]
    gains: Mapping[str, Pair]
    due: Mapping[str, int]


def _once(labels: Sequence[str], tests: AllPairs, rules: Rules) -> _Tested:
    """All pairs on all seeds there are."""
    reference, rope = rules.reference, rules.rope
    adjusted = holm_array(tests.p)
    pairs = Pairs(labels, tests, adjusted, rope)
    found = np.flatnonzero(adjusted < ALPHA)
    signs = np.sign(tests.diff[found]).astype(int).tolist()
    sides = zip(tests.first[found].tolist(), tests.second[found].tolist(), strict=True)
    significant = {(labels[i], labels[j]): sign for (i, j), sign in zip(sides, signs, strict=True)}
    return _Tested(pairs, significant, _gains(pairs, reference, labels, rope) if reference is not None else {}, {})


def _over_looks(labels: Sequence[str], seen: OverLooks, standing: Standing, rules: Rules) -> _Tested:
    """All pairs look by look, and which rows go on."""
    reference, rope = rules.reference, rules.rope
    whole = seen.claims()
    signs = whole.sign[-1].tolist()
    sides = [(labels[i], labels[j]) for i, j in zip(seen.tests.first.tolist(), seen.tests.second.tolist(), strict=True)]
    verdicts = [seen.verdict(i, sign, rope) for i, sign in enumerate(signs)]
    pairs = Pairs(labels, seen.tests, whole.p[-1], rope, verdicts)
    named = np.arange(len(sides))
    gains: dict[str, Pair] = {}
    claims = whole
    if reference is not None:
        of_reference = np.array([i for i, pair in enumerate(sides) if reference in pair], dtype=np.int64)
        of_gains = _chosen(whole, of_reference) if len(labels) <= ALL_PAIRS else seen.claims(of_reference)
        for i, p, sign in zip(of_reference.tolist(), of_gains.p[-1], of_gains.sign[-1].tolist(), strict=True):
            found = replace(pairs[i], p_holm=None if np.isnan(p) else float(p), verdict=seen.verdict(i, sign, rope))
            gain = found.seen_from(found.b if found.a == reference else found.a)
            gains[gain.a] = gain
        if standing.named is Named.reference:
            named, claims = of_reference, of_gains
    elif standing.named is Named.reference:
        named, claims = named[:0], _chosen(whole, named[:0])
    due = due_seeds(standing, [sides[i] for i in named], seen.undecided(claims, named))
    return _Tested(pairs, {pair: sign for pair, sign in zip(sides, signs, strict=True) if sign}, gains, due)


def _chosen(claims: Claims, family: NDArray[np.int64]) -> Claims:
    """What is claimed of some pairs of a family."""
    return Claims(claims.p[:, family], claims.sign[:, family])


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


def _half(
    quality: ByDataset, images: tuple[ByImage, Mapping[str, float]] | None, drawn: ByDraw | None, level: float | None
) -> float | None:
    """Half-width of the interval of a method's own mean, its difference from nothing: at 95 %, or at another level.

    Args:
        images: contributions of the test images, and the degrees of freedom of their noise by data set.
    """
    draws = None
    if drawn is not None:
        draws = drawn, {t: {r: dict.fromkeys(x, 0.0) for r, x in some.items()} for t, some in drawn.items()}
    nothing = {dataset: dict.fromkeys(by_seed, 0.0) for dataset, by_seed in quality.items()}
    if images is None:
        alone = scope_a(quality, nothing, draws=draws)
        return alone.half if level is None else alone.interval_half(level)
    lit, images_df = images
    dark = {dataset: {s: np.zeros_like(x) for s, x in by_seed.items()} for dataset, by_seed in lit.items()}
    test = scope_a(quality, nothing, (lit, dark), draws, images_df)
    return test.half if level is None else test.interval_half(level)


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
