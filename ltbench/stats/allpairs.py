"""Scope A for every pair of methods at once: the numbers of `scope_a`, fast enough for a thousand methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ltbench.stats.behrens_fisher import half_width, tail
from ltbench.stats.crossed import at_least_interaction
from ltbench.stats.fixed_datasets import ByDataset, ByDraw, ByImage, ScopeATest, pooled_df, scope_a
from ltbench.stats.reasons import MIN_SEEDS, NOISE, Reason

Floats = NDArray[np.float64]
_NOTHING = 1e-6
"""Sums of squares below this are float noise: a single image that differs contributes more than 1."""


@dataclass(frozen=True)
class AllPairs:
    """Arrays with one entry per pair (first < second, in the order of `itertools.combinations`); NaN where there is no
    number. diff, se, df, half, p, seeds, reasons, images_se, images_df (infinite where known) and shares
    (pairs, 3) as in `ScopeATest`."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    diff: Floats
    se: Floats
    df: Floats
    half: Floats
    p: Floats
    seeds: NDArray[np.int64]
    reasons: NDArray[np.object_]
    images_se: Floats
    images_df: Floats
    shares: Floats | None

    def __len__(self) -> int:
        return len(self.diff)

    def test(self, i: int) -> ScopeATest:
        """Pair i on its own."""
        diff, se, df, half, p = (_number(x[i]) for x in (self.diff, self.se, self.df, self.half, self.p))
        parts = None if self.shares is None or np.isnan(self.shares[i, 0]) else self.shares[i].tolist()
        shares = None if parts is None else (parts[0], parts[1], parts[2])
        images_df = float(self.images_df[i]) if np.isfinite(self.images_df[i]) else None
        return ScopeATest(
            diff, se, df, half, p, self.reasons[i], int(self.seeds[i]), shares, float(self.images_se[i]), images_df
        )


def _number(x: float) -> float | None:
    return None if np.isnan(x) else float(x)


def all_pairs(
    values: Sequence[ByDataset],
    images: Sequence[ByImage] | None = None,
    draws: Sequence[ByDraw] | None = None,
    images_df: Mapping[str, float] | None = None,
) -> AllPairs:
    """`scope_a` of every pair of methods: values one by one, images the same methods' contributions by test image,
    draws the same methods' values by draw of the training images, images_df as there."""
    first, second = (side.astype(np.int64) for side in np.triu_indices(len(values), 1))
    if len(first) == 0 or not _dense(values):
        return _one_by_one(values, images, first, second, draws, images_df)
    parts = []
    for dataset in sorted(values[0]):
        seeds = sorted(values[0][dataset])
        part = _seeds_only(np.array([[v[dataset][s] for s in seeds] for v in values]), first)
        if images is not None:
            stacked = np.array([[m[dataset][s] for s in seeds] for m in images], dtype=np.float64)
            part = _crossed(stacked, part, first, second)
        if draws is not None and dataset in draws[0]:
            part = _redrawn([m[dataset] for m in draws], seeds, part, first)
        parts.append(part)
    fewest = min(len(seeds) for seeds in values[0].values())
    dfs = None if images is None else [(images_df or {}).get(dataset, np.inf) for dataset in sorted(values[0])]
    return _combined(parts, fewest, first, second, dfs)


def _dense(values: Sequence[ByDataset]) -> bool:
    """Every method has the same data sets and, on each, the same seeds; there is something at all."""
    one = values[0]
    whole = all(v.keys() == one.keys() and all(v[t].keys() == one[t].keys() for t in one) for v in values)
    return whole and bool(one) and all(one.values())


@dataclass(frozen=True)
class _Part:
    """One data set's share: mean difference, variance of that mean by seeds and its df, whether the two differ at all,
    and the variance's components (pairs, 3)."""

    diff: Floats
    variance: Floats
    df: float | Floats
    differ: NDArray[np.bool_]
    components: Floats | None = None


def _seeds_only(x: Floats, first: NDArray[np.int64]) -> _Part:
    """x: (methods, seeds). One method against all later ones at a time, which keeps memory small."""
    seeds = x.shape[1]
    diff, variance = np.empty(len(first)), np.zeros(len(first))
    differ = np.empty(len(first), dtype=bool)
    at = 0
    for a in range(len(x) - 1):
        d = np.round(x[a] - x[a + 1 :], 10)
        rows = slice(at, at + len(d))
        diff[rows], differ[rows] = d.mean(axis=1), (np.abs(d) >= NOISE).any(axis=1)
        if seeds > 1:
            constant = np.ptp(d, axis=1) < NOISE
            variance[rows] = np.where(constant, 0.0, d.var(axis=1, ddof=1) / seeds)
        at += len(d)
    return _Part(diff, variance, max(seeds - 1.0, 1.0), differ)


def _crossed(x: Floats, part: _Part, first: NDArray[np.int64], second: NDArray[np.int64]) -> _Part:
    """x: (methods, seeds, images). `crossed.variances` of every pair: sums of squares of differences follow from inner
    products, so that pairs cost nothing beyond one matrix product."""
    methods, seeds, images = x.shape
    if seeds == 1 or images < 2:
        differ = _distances(x[:, 0], first, second) >= _NOTHING
        return replace(part, differ=part.differ | differ, components=np.zeros((len(first), 3)))
    x = x - x.mean(axis=(1, 2), keepdims=True)
    by_seed = _distances(x.mean(axis=2), first, second) * images
    by_image = _distances(x.mean(axis=1), first, second) * seeds
    total = _distances(x.reshape(methods, -1), first, second)
    ms_s, ms_i = by_seed / (seeds - 1), by_image / (images - 1)
    ms_e = np.maximum(total - by_seed - by_image, 0) / ((seeds - 1) * (images - 1))
    something = total >= _NOTHING
    components = np.maximum(np.stack([ms_s - ms_e, ms_i - ms_e, ms_e], axis=1), 0) / (seeds * images)
    components[~something] = 0
    variance = at_least_interaction(part.variance, components[:, 1], components[:, 2])
    return replace(part, variance=variance, differ=part.differ | something, components=components)


def _redrawn(
    draws: Sequence[Mapping[str, Mapping[int, float]]], seeds: Sequence[int], part: _Part, first: NDArray[np.int64]
) -> _Part:
    """The same with the draw of the training images as a second random factor."""
    names = sorted(draws[0])
    means = np.array([[np.mean([m[r][s] for s in seeds]) for r in names] for m in draws])
    found = _seeds_only(means, first)
    df = np.where(found.variance > 0, np.minimum(part.df, found.df), part.df)
    return replace(part, variance=part.variance + found.variance, df=df)


def _distances(x: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """Squared distances between rows, for the pairs."""
    products = x @ x.T
    norms = np.diag(products)
    return np.asarray(np.maximum(norms[first] + norms[second] - 2 * products[first, second], 0.0))


def _combined(
    parts: Sequence[_Part],
    fewest: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    images_dfs: Sequence[float] | None,
) -> AllPairs:
    """Mean over data sets, tested as in `scope_a`, with the same refusals.

    Args:
        images_dfs: degrees of freedom of the images' part by data set; None: seeds only.
    """
    sets = len(parts)
    diff = np.mean([p.diff for p in parts], axis=0)
    total, df = _pooled([(p.variance, p.df) for p in parts])
    of_seeds, of_images, images_df = total / sets**2, np.zeros_like(diff), np.full_like(diff, np.inf)
    components = None
    if images_dfs is not None:
        by_dataset = np.array([p.components for p in parts])
        components = by_dataset.sum(axis=0)
        of_images, images_df = components[:, 1] / sets**2, pooled_df(by_dataset[:, :, 1], images_dfs)
    identical = ~np.any([p.differ for p in parts], axis=0)
    flat = of_seeds + of_images == 0
    few = np.full(len(diff), fewest < MIN_SEEDS) | (df < 2 - NOISE)
    reasons = np.full(len(diff), None, dtype=object)
    for reason, where in (
        (Reason.too_few_seeds, few), (Reason.zero_variance, flat),
        (Reason.too_few_seeds, np.full(len(diff), fewest < 2)), (Reason.identical, identical),
    ):  # fmt: skip
        reasons[where] = reason
    no_spread = flat | identical | (fewest < 2)
    nan = np.nan
    shares = None
    if components is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(no_spread[:, None], nan, components / components.sum(axis=1, keepdims=True))
    return AllPairs(
        first=first,
        second=second,
        diff=np.where(identical, 0.0, diff),
        se=np.where(no_spread, nan, np.sqrt(of_seeds + of_images)),
        df=np.where(no_spread, nan, df),
        half=np.where(no_spread, nan, half_width(of_seeds, df, of_images, images_df=images_df)),
        p=np.where(no_spread | few, nan, tail(np.abs(diff), of_seeds, df, of_images, images_df)),
        seeds=np.full(len(diff), fewest),
        reasons=reasons,
        images_se=np.where(no_spread, 0.0, np.sqrt(of_images)),
        images_df=images_df,
        shares=shares,
    )


def _pooled(parts: Sequence[tuple[Floats, float | Floats]]) -> tuple[Floats, Floats]:
    """Sum of the data sets' variances and its degrees of freedom (Satterthwaite)."""
    total = np.sum([variance for variance, _ in parts], axis=0)
    square = np.sum([variance**2 / df for variance, df in parts], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return total, np.where(
            total > 0, total**2 / square, np.sum([np.broadcast_to(df, total.shape) for _, df in parts], axis=0)
        )


def _one_by_one(
    values: Sequence[ByDataset],
    images: Sequence[ByImage] | None,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    draws: Sequence[ByDraw] | None,
    images_df: Mapping[str, float] | None,
) -> AllPairs:
    """Methods with different seeds: each pair on the seeds both have."""
    tests = []
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        by_image = None if images is None else (images[a], images[b])
        redrawn = None if draws is None else (draws[a], draws[b])
        tests.append(scope_a(values[a], values[b], by_image, redrawn, images_df))

    def numbers(get: str, absent: float = np.nan) -> Floats:
        found = [getattr(t, get) for t in tests]
        return np.array([absent if x is None else x for x in found], dtype=np.float64)

    reasons = np.full(len(tests), None, dtype=object)
    reasons[:] = [t.reason for t in tests]
    shares = None
    if images is not None:
        shares = np.array([t.shares or (np.nan,) * 3 for t in tests], dtype=np.float64).reshape(len(tests), 3)
    return AllPairs(first, second, numbers("diff"), numbers("se"), numbers("df"), numbers("half"),
                    numbers("p"), np.array([t.seeds for t in tests], dtype=np.int64), reasons, numbers("images_se"),
                    numbers("images_df", np.inf), shares)  # fmt: skip
