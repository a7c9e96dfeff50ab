"""Two methods on one task, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ltbench.stats.reasons import MIN_SEEDS, NOISE, Reason


@dataclass(frozen=True)
class PairTest:
    """Difference a - b over the seeds that both have.

    half: half-width of the 95 % t interval. p: two-sided, unadjusted; None with a reason. wins, ties, losses: seeds on
    which a is above, equal to or below b.
    """

    diff: float | None
    half: float | None
    n: int
    p: float | None
    reason: Reason | None
    wins: int = 0
    ties: int = 0
    losses: int = 0


def paired_t(a: Mapping[int, float], b: Mapping[int, float], level: float = 0.95) -> PairTest:
    """Student's paired t test of two methods' values by seed (the same seed is the same subset, start and order).

    Differences are rounded to 10 decimals first, so that float noise neither breaks a tie nor fakes a spread.
    """
    seeds = sorted(a.keys() & b.keys())
    n = len(seeds)
    if n == 0:
        return PairTest(None, None, 0, None, Reason.too_few_seeds)
    d = np.round([a[s] - b[s] for s in seeds], 10)
    diff = float(d.mean())
    counts = {
        "wins": int((d >= NOISE).sum()),
        "ties": int((np.abs(d) < NOISE).sum()),
        "losses": int((d <= -NOISE).sum()),
    }
    if not (np.abs(d) >= NOISE).any():
        return PairTest(0.0, 0.0 if n > 1 else None, n, None, Reason.identical, **counts)
    if n == 1:
        return PairTest(diff, None, 1, None, Reason.too_few_seeds, **counts)
    if np.ptp(d) < NOISE:
        return PairTest(diff, None, n, None, Reason.zero_variance, **counts)
    se = float(d.std(ddof=1)) / math.sqrt(n)
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * se
    if n < MIN_SEEDS:
        return PairTest(diff, half, n, None, Reason.too_few_seeds, **counts)
    p = float(2 * stdtr(n - 1, -abs(diff) / se))
    return PairTest(diff, half, n, p, None, **counts)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics, 1979) over the p-values that are there."""
    given = np.array([np.nan if p is None else p for p in p_values], dtype=np.float64)
    return [None if np.isnan(p) else float(p) for p in holm_array(given)]


def holm_array(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same over an array in which NaN stands for a p-value that is not there."""
    there = np.flatnonzero(~np.isnan(p))
    order = there[np.argsort(p[there], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    steps = np.minimum(1.0, (len(order) - np.arange(len(order))) * p[order])
    adjusted[order] = np.maximum.accumulate(steps) if len(steps) else steps
    return adjusted
