"""Scope A: "on these data sets, would new seeds give the same order?" Data sets fixed, seeds random.

The block is the data set: its imbalance factors share classes, test images and nested training images, so they are
averaged per seed before anything is tested. Where it is known which test images each trained model got right, test
images are random as well: all seeds share them, so seeds alone cover too little, and less the more seeds there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ltbench.stats.behrens_fisher import Floats, half_width, tail
from ltbench.stats.crossed import at_least_interaction, variances
from ltbench.stats.reasons import MIN_SEEDS, NOISE, Reason

ByDataset = Mapping[str, Mapping[int, float]]
"""Data set -> seed -> value, imbalance factors averaged."""
ByImage = Mapping[str, Mapping[int, NDArray[np.floating]]]
"""Data set -> seed -> (images,) contributions in points, imbalance factors averaged: their mean is the value."""

ByDraw = Mapping[str, Mapping[str, Mapping[int, float]]]
"""Data set -> draw of its training images -> seed -> value, imbalance factors averaged. Data sets that were drawn once
are left out."""

Components = tuple[float, float, float]
"""Variance of a mean that seeds, test images and their interaction carry."""


@dataclass(frozen=True)
class ScopeATest:
    """Mean over data sets of the mean paired difference, with its standard error.

    se: of seeds and images together. df: degrees of freedom of the seeds' part (Satterthwaite over data sets). half:
    half-width of the 95 % interval. p: two-sided, unadjusted; None with a reason. seeds: fewest pairs of any data set.
    shares: fractions of the variance that seeds, test images and their interaction carry; None for seeds only.
    images_se: standard error that the test images add, and more seeds do not lower; 0 for seeds only. images_df: its
    degrees of freedom; None where it rests on many images and is taken as known.
    """

    diff: float | None
    se: float | None
    df: float | None
    half: float | None
    p: float | None
    reason: Reason | None
    seeds: int
    shares: tuple[float, float, float] | None = None
    images_se: float = 0.0
    images_df: float | None = None

    def interval_half(self, level: float) -> float | None:
        """Half-width of the interval at another level; None where there is no spread to judge by."""
        if self.se is None or self.df is None:
            return None
        images = self.images_se**2
        return float(half_width(max(self.se**2 - images, 0.0), self.df, images, level, self.images_df or np.inf))


def scope_a(
    a: ByDataset,
    b: ByDataset,
    images: tuple[ByImage, ByImage] | None = None,
    draws: tuple[ByDraw, ByDraw] | None = None,
    images_df: Mapping[str, float] | None = None,
) -> ScopeATest:
    """a - b over the data sets and seeds that both have.

    D = mean_t d_t, with d_t the mean of the S_t paired differences of data set t. Their variance v_t gives the seeds'
    part of D's, sum_t V_t / T^2 with V_t = v_t / S_t, and its degrees of freedom (sum V_t)^2 / sum(V_t^2 / (S_t - 1))
    (Satterthwaite, Biometrics 1946). Without images p is Student's. Differences are rounded to 10 decimals, so that
    float noise does not fake a spread.

    Args:
        images: contributions of the test images to a and b; they add their own part to the variance, as
            `crossed.variances` says, and p is that of `behrens_fisher.tail`. Test sets of different data sets are taken
            as independent.
        draws: values by draw of the training images, where there are several draws: crossed with the seeds, they are
            random, too. With R draws the variance of the R mean differences, divided by R, is added to that of the
            seeds; the two share the smaller of their degrees of freedom, which errs on the safe side (Hsu, Statistical
            Research Memoirs 1938; Mickey and Brown, Annals of Mathematical Statistics 1966).
        images_df: data set -> degrees of freedom of its images' part; infinite where it is absent.
    """
    rows, crossed, redrawn, dfs = [], [], list[Floats | None](), []
    for dataset in sorted(a.keys() & b.keys()):
        seeds = sorted(a[dataset].keys() & b[dataset].keys())
        if seeds:
            rows.append(np.round([a[dataset][s] - b[dataset][s] for s in seeds], 10))
            if images is not None:
                by_image = np.array([images[0][dataset][s] - images[1][dataset][s] for s in seeds])
                crossed.append(variances(by_image)[1])
                dfs.append((images_df or {}).get(dataset, np.inf))
            redrawn.append(None if draws is None else by_draw(draws[0], draws[1], dataset, seeds))
    if not rows or len(rows) < len(a.keys() | b.keys()):
        return ScopeATest(None, None, None, None, None, Reason.incomplete, 0)
    fewest = min(len(d) for d in rows)
    diff = float(np.mean([d.mean() for d in rows]))
    if not any((np.abs(d) >= NOISE).any() for d in rows) and not np.any(crossed):
        return ScopeATest(0.0, None, None, None, None, Reason.identical, fewest)
    if fewest < 2:
        return ScopeATest(diff, None, None, None, None, Reason.too_few_seeds, fewest)
    return _tested(diff, rows, crossed, dfs, redrawn)


def by_draw(a: ByDraw, b: ByDraw, dataset: str, seeds: Sequence[int]) -> Floats | None:
    """Mean difference of every draw of a data set over the seeds, (draws,); None where it was drawn once."""
    if dataset not in a or dataset not in b:
        return None
    both = sorted(a[dataset].keys() & b[dataset].keys())
    d = np.array([[a[dataset][r][s] - b[dataset][r][s] for s in seeds] for r in both])
    return np.asarray(np.round(d.mean(axis=1), 10), dtype=np.float64)


def _tested(
    diff: float,
    rows: Sequence[Floats],
    crossed: Sequence[Components],
    images_dfs: Sequence[float],
    redrawn: Sequence[Floats | None],
) -> ScopeATest:
    """The test of at least two seeds everywhere, from the differences of each data set."""
    fewest = min(len(d) for d in rows)
    parts = np.array([0.0 if np.ptp(d) < NOISE else d.var(ddof=1) / len(d) for d in rows])
    of_images, images_df = 0.0, np.inf
    if crossed:
        _, images, both = np.array(crossed).T
        parts = at_least_interaction(parts, images, both)
        of_images = float(images.sum()) / len(rows) ** 2
        images_df = float(pooled_df(images[:, None], images_dfs)[0])
    dfs = np.array([len(d) - 1.0 for d in rows])
    for t, means in enumerate(redrawn):
        if means is not None and np.ptp(means) >= NOISE:
            parts[t] += means.var(ddof=1) / len(means)
            dfs[t] = min(dfs[t], len(means) - 1.0)
    of_seeds = float(parts.sum()) / len(rows) ** 2
    if of_seeds + of_images == 0:
        return ScopeATest(diff, None, None, None, None, Reason.zero_variance, fewest)
    df = float(parts.sum() ** 2 / np.sum(parts**2 / dfs)) if of_seeds else float(dfs.sum())
    few = fewest < MIN_SEEDS or df < 2 - NOISE
    return ScopeATest(
        diff=diff,
        se=float(np.sqrt(of_seeds + of_images)),
        df=df,
        half=float(half_width(of_seeds, df, of_images, images_df=images_df)),
        p=None if few else float(tail(abs(diff), of_seeds, df, of_images, images_df)),
        reason=Reason.too_few_seeds if few else None,
        seeds=fewest,
        shares=_shares(crossed),
        images_se=float(np.sqrt(of_images)),
        images_df=images_df if np.isfinite(images_df) else None,
    )


def pooled_df(variances: Floats, dfs: Sequence[float]) -> Floats:
    """Degrees of freedom of the sum over data sets of the images' variances, (data sets, pairs), by Satterthwaite's
    formula; infinite where nothing says otherwise."""
    total, shrunk = variances.sum(axis=0), (variances**2 / np.array(dfs)[:, None]).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(shrunk > 0, total**2 / shrunk, np.inf)


def _shares(crossed: Sequence[Components]) -> tuple[float, float, float] | None:
    """Components of the variance, added over data sets."""
    sums = np.sum(crossed, axis=0)
    if sums.sum() == 0:
        return None
    seeds, images, both = (sums / sums.sum()).tolist()
    return seeds, images, both


class Tested(Protocol):
    """A difference that was tested, or the reason why not."""

    @property
    def diff(self) -> float | None:
        """The difference."""

    @property
    def p(self) -> float | None:
        """Its p-value."""

    def interval_half(self, level: float) -> float | None:
        """Half the width of its interval at a level such as 0.95."""


class Verdict(StrEnum):
    """What may be said of one method against another."""

    better = "better"
    worse = "worse"
    slightly_better = "slightly_better"
    slightly_worse = "slightly_worse"
    equivalent = "equivalent"
    undecided = "undecided"

    @property
    def turned(self) -> Verdict:
        """The same finding seen from the other method."""
        return _TURNED.get(self, self)


_TURNED = {
    Verdict.better: Verdict.worse,
    Verdict.worse: Verdict.better,
    Verdict.slightly_better: Verdict.slightly_worse,
    Verdict.slightly_worse: Verdict.slightly_better,
}


def verdict(
    test: Tested, p_adjusted: float | None, rope: float, alpha: float = 0.05, one_sided: float | None = None
) -> Verdict:
    """better or worse: adjusted p below alpha; `slightly` when the difference is inside the region of practical
    equivalence (ROPE). equivalent: not significant, and the 90 % interval lies inside +-rope (two one-sided tests at
    5 %, Schuirmann, 1987). Otherwise undecided.

    Args:
        one_sided: level of each of these two tests, if not alpha.
    """
    if test.diff is None or test.p is None or p_adjusted is None:
        return Verdict.undecided
    if p_adjusted < alpha:
        if abs(test.diff) < rope:
            return Verdict.slightly_better if test.diff > 0 else Verdict.slightly_worse
        return Verdict.better if test.diff > 0 else Verdict.worse
    half = test.interval_half(1 - 2 * (alpha if one_sided is None else one_sided))
    if half is not None and -rope < test.diff - half and test.diff + half < rope:
        return Verdict.equivalent
    return Verdict.undecided


def rank_intervals(names: Sequence[str], significant: Mapping[tuple[str, str], int]) -> dict[str, tuple[int, int]]:
    """Simultaneous rank intervals: 1 + the number of methods significantly better, to k - the number significantly
    worse (the idea of Mogstad, Romano, Shaikh and Wilhelm, 2024).

    Args:
        significant: (a, b) -> +1 where a is significantly better than b after adjustment over all pairs, -1 where it is
            worse, 0 otherwise; each pair once, in either order.
    """
    better, worse = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for (a, b), sign in significant.items():
        if sign:
            winner, loser = (a, b) if sign > 0 else (b, a)
            worse[winner] += 1
            better[loser] += 1
    return {name: (1 + better[name], len(names) - worse[name]) for name in names}
