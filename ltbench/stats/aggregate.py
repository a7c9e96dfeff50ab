"""Statistics over runs and data sets that have no formula for their spread: bootstrapped, approximate, from 5 seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ltbench.stats.minimum import min_n
from ltbench.stats.reasons import Reason

Runs = Mapping[str, NDArray[np.float64]]
"""Data set -> (methods, seeds), the same seeds for all methods of a data set."""
DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A value with a percentile interval, which under-covers below 10 seeds (80 to 91 % for 95 %)."""

    value: float
    low: float | None
    high: float | None
    reason: Reason | None


def interquartile_mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Weighted mean of the middle half: exactly 25 % of the mass is cut on each side (Agarwal et al., NeurIPS 2021)."""
    order = np.argsort(values, kind="stable")
    mass = weights[order] / weights.sum()
    upper = np.cumsum(mass)
    kept = np.clip(np.minimum(upper, 0.75) - np.maximum(upper - mass, 0.25), 0, None)
    return float((kept * values[order]).sum() / kept.sum())


def iqm(runs: Runs) -> list[Estimate]:
    """Interquartile mean over runs and data sets per method; every data set weighs the same."""

    def statistic(drawn: Runs, method: int) -> float:
        values = np.concatenate([x[method] for x in drawn.values()])
        weights = np.concatenate([np.full(x.shape[1], 1 / x.shape[1]) for x in drawn.values()])
        return interquartile_mean(values, weights)

    return _bootstrapped(runs, statistic)


def probability_of_improvement(a: Runs, b: Runs) -> float:
    """Mean over data sets of the share of paired seeds on which A is above B, ties counting half; one row each."""
    shares = []
    for dataset in a:
        d = np.round(a[dataset][0] - b[dataset][0], 10)
        shares.append(((d > 0).sum() + 0.5 * (d == 0).sum()) / len(d))
    return float(np.mean(shares))


def performance_profile(runs: Runs, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """(methods, thresholds): share of runs above each threshold, every data set weighing the same."""
    profiles = [(x[:, :, None] > thresholds).mean(axis=1) for x in runs.values()]
    return np.asarray(np.mean(profiles, axis=0))


def _bootstrapped(runs: Runs, statistic: Callable[[Runs, int], float]) -> list[Estimate]:
    """Stratified, paired: seeds are redrawn within each data set, the same draw for all methods."""
    methods = next(iter(runs.values())).shape[0]
    values = [statistic(runs, m) for m in range(methods)]
    if min(x.shape[1] for x in runs.values()) < min_n("bootstrap"):
        return [Estimate(v, None, None, Reason.too_few_seeds) for v in values]
    rng = np.random.Generator(np.random.PCG64(0))
    drawn = np.empty((DRAWS, methods))
    for i in range(DRAWS):
        sample = {t: x[:, rng.integers(0, x.shape[1], x.shape[1])] for t, x in runs.items()}
        drawn[i] = [statistic(sample, m) for m in range(methods)]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [Estimate(v, float(lo), float(hi), None) for v, lo, hi in zip(values, low, high, strict=True)]


def class_level(gains: NDArray[np.float64], level: float = 0.95) -> tuple[float, float | None, Reason | None]:
    """Mean of per-class gains (seed-averaged) and the half-width of its t interval over classes: the question "for tail
    classes in general", wider than over images. From 6 classes on."""
    from scipy.special import stdtrit

    c = len(gains)
    mean = float(gains.mean())
    if c < 6:
        return mean, None, Reason.too_few_classes
    return mean, float(stdtrit(c - 1, 0.5 + level / 2) * gains.std(ddof=1) / np.sqrt(c)), None
