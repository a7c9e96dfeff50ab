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
from scipy.special import stdtr, stdtrit

from ltbench.stats.crossed import Crossed, crossed_variance
from ltbench.stats.reasons import MIN_SEEDS, NOISE, Reason

ByDataset = Mapping[str, Mapping[int, float]]
"""Data set -> seed -> value, imbalance factors averaged."""
ByImage = Mapping[str, Mapping[int, NDArray[np.floating]]]
"""Data set -> seed -> (images,) contributions in points, imbalance factors averaged: their mean is the value."""


@dataclass(frozen=True)
class ScopeATest:
    """Mean over data sets of the mean paired difference, with its standard error and Satterthwaite degrees of freedom.

    half: half-width of the 95 % interval. p: two-sided, unadjusted; None with a reason. seeds: fewest pairs of any data
    set. shares: fractions of the variance that seeds, test images and their interaction carry; None for seeds only.
    """

    diff: float | None
    se: float | None
    df: float | None
    half: float | None
    p: float | None
    reason: Reason | None
    seeds: int
    shares: tuple[float, float, float] | None = None

    def interval_half(self, level: float) -> float | None:
        """Half-width of the t interval at another level; None where there is no spread to judge by."""
        if self.se is None or self.df is None:
            return None
        return float(stdtrit(self.df, 0.5 + level / 2)) * self.se


def scope_a(a: ByDataset, b: ByDataset, images: tuple[ByImage, ByImage] | None = None) -> ScopeATest:
    """a - b over the data sets and seeds that both have.

    D = mean_t d_t, SE^2 = sum_t V_t / T^2, with d_t the mean of the S_t paired differences of data set t and
    V_t = v_t / S_t from their variance v_t, and df = (sum V_t)^2 / sum(V_t^2 / (S_t - 1)) (Satterthwaite, Biometrics
    1946). Differences are rounded to 10 decimals, so that float noise does not fake a spread.

    Args:
        images: contributions of the test images to a and b; V_t and its degrees of freedom are then those of
            `crossed_variance`. Test sets of different data sets are taken as independent.
    """
    rows, crossed = [], []
    for dataset in sorted(a.keys() & b.keys()):
        seeds = sorted(a[dataset].keys() & b[dataset].keys())
        if seeds:
            rows.append(np.round([a[dataset][s] - b[dataset][s] for s in seeds], 10))
            if images is not None:
                by_image = np.array([images[0][dataset][s] - images[1][dataset][s] for s in seeds])
                crossed.append(crossed_variance(by_image))
    if not rows or len(rows) < len(a.keys() | b.keys()):
        return ScopeATest(None, None, None, None, None, Reason.incomplete, 0)
    fewest = min(len(d) for d in rows)
    diff = float(np.mean([d.mean() for d in rows]))
    if not any((np.abs(d) >= NOISE).any() for d in rows) and not any(c.variance for c in crossed):
        return ScopeATest(0.0, None, None, None, None, Reason.identical, fewest)
    if fewest < 2:
        return ScopeATest(diff, None, None, None, None, Reason.too_few_seeds, fewest)
    if images is None:
        parts = np.array([0.0 if np.ptp(d) < NOISE else d.var(ddof=1) / len(d) for d in rows])
        dfs = np.array([len(d) - 1.0 for d in rows])
    else:
        parts = np.array([c.variance or 0.0 for c in crossed])
        dfs = np.array([c.df or 1.0 for c in crossed])
    if parts.sum() == 0:
        return ScopeATest(diff, None, None, None, None, Reason.zero_variance, fewest)
    se = float(np.sqrt(parts.sum())) / len(rows)
    df = float(parts.sum() ** 2 / np.sum(parts**2 / dfs))
    half = float(stdtrit(df, 0.975)) * se
    shares = _shares(crossed)
    if fewest < MIN_SEEDS or df < 2 - NOISE:
        return ScopeATest(diff, se, df, half, None, Reason.too_few_seeds, fewest, shares)
    return ScopeATest(diff, se, df, half, float(2 * stdtr(df, -abs(diff) / se)), None, fewest, shares)


def _shares(crossed: Sequence[Crossed]) -> tuple[float, float, float] | None:
    """Components of the variance, added over data sets."""
    sums = np.sum([c.components for c in crossed if c.components is not None], axis=0)
    if np.ndim(sums) == 0 or sums.sum() == 0:
        return None
    seeds, images, both = (sums / sums.sum()).tolist()
    return seeds, images, both


class Tested(Protocol):
    """A difference that was tested, or the reason why not."""

    @property
    def diff(self) -> float | None: ...
    @property
    def p(self) -> float | None: ...
    def interval_half(self, level: float) -> float | None: ...


class Verdict(StrEnum):
    """What may be said of one method against another."""

    better = "better"
    worse = "worse"
    slightly_better = "slightly_better"
    slightly_worse = "slightly_worse"
    equivalent = "equivalent"
    unresolved = "unresolved"

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


def verdict(test: Tested, p_adjusted: float | None, rope: float, alpha: float = 0.05) -> Verdict:
    """better or worse: adjusted p below alpha; `slightly` when the difference is inside the region of practical
    equivalence (ROPE). equivalent: not significant, and the 90 % interval lies inside +-rope (two one-sided tests at
    5 %, Schuirmann, 1987). Otherwise unresolved."""
    if test.diff is None or test.p is None or p_adjusted is None:
        return Verdict.unresolved
    if p_adjusted < alpha:
        if abs(test.diff) < rope:
            return Verdict.slightly_better if test.diff > 0 else Verdict.slightly_worse
        return Verdict.better if test.diff > 0 else Verdict.worse
    half = test.interval_half(1 - 2 * alpha)
    if half is not None and -rope < test.diff - half and test.diff + half < rope:
        return Verdict.equivalent
    return Verdict.unresolved


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
