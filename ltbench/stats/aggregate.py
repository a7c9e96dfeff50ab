"""Statistics over runs and data sets that have no formula for their spread: bootstrapped, approximate, from 5 seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ltbench.stats.minimum import min_n
from ltbench.stats.reasons import NOISE, Reason

Floats = NDArray[np.float64]
Runs = Mapping[str, Floats]
"""Data set -> (methods, seeds), the same seeds for all methods of a data set."""
DRAWS = 2000
MOST_METHODS = 100
"""Intervals are bootstrapped for this many methods at most: the first, which a leaderboard's best are."""


@dataclass(frozen=True)
class Estimate:
    """A value with a percentile interval, which under-covers below 10 seeds (80 to 91 % for 95 %)."""

    value: float
    low: float | None
    high: float | None
    reason: Reason | None


def interquartile_mean(values: Floats, weights: Floats) -> Floats:
    """Weighted mean of the middle half along the last axis: exactly 25 % of the mass is cut on each side (Agarwal et
    al., NeurIPS 2021). weights: one per place along that axis."""
    order = np.argsort(values, axis=-1, kind="stable")
    mass = weights[order] / weights.sum()
    upper = np.cumsum(mass, axis=-1)
    kept = np.clip(np.minimum(upper, 0.75) - np.maximum(upper - mass, 0.25), 0, None)
    ordered = np.take_along_axis(values, order, axis=-1)
    return np.asarray((kept * ordered).sum(axis=-1) / kept.sum(axis=-1))


def iqm(runs: Runs, level: float = 0.95) -> list[Estimate]:
    """Interquartile mean over runs and data sets per method; every data set weighs the same."""
    weights = np.concatenate([np.full(x.shape[1], 1 / x.shape[1]) for x in runs.values()])
    values = interquartile_mean(np.concatenate(list(runs.values()), axis=1), weights)
    if reason := _too_few(runs):
        return [Estimate(float(v), None, None, reason) for v in values]
    seeds = _redrawn_seeds(runs)
    found = []
    for method, value in enumerate(values):
        if method >= MOST_METHODS:
            found.append(Estimate(float(value), None, None, Reason.too_many_methods))
            continue
        drawn = np.concatenate([x[method][seeds[t]] for t, x in runs.items()], axis=1)
        low, high = np.percentile(interquartile_mean(drawn, weights), _ends(level))
        found.append(Estimate(float(value), float(low), float(high), None))
    return found


def probability_of_improvement(a: Runs, b: Runs) -> float:
    """Mean over data sets of the share of paired seeds on which A is above B, ties counting half; one row each."""
    shares = []
    for dataset in a:
        d = np.round(a[dataset][0] - b[dataset][0], 10)
        shares.append(((d > 0).sum() + 0.5 * (d == 0).sum()) / len(d))
    return float(np.mean(shares))


def performance_profile(runs: Runs, thresholds: Floats) -> Floats:
    """(methods, thresholds): share of runs above each threshold, every data set weighing the same."""
    profiles = [(x[:, :, None] > thresholds).mean(axis=1) for x in runs.values()]
    return np.asarray(np.mean(profiles, axis=0))


def profile_band(runs: Runs, thresholds: Floats, level: float = 0.95) -> tuple[Floats, Floats] | Reason:
    """Pointwise band of the profile, (methods, thresholds) each, from the same paired bootstrap; or why not."""
    if reason := _too_few(runs):
        return reason
    low, high = [], []
    counts = {t: _counts(drawn, runs[t].shape[1]) for t, drawn in _redrawn_seeds(runs).items()}
    for method in range(next(iter(runs.values())).shape[0]):
        above = [counts[t] @ (x[method][:, None] > thresholds) for t, x in runs.items()]
        band = np.percentile(np.mean(above, axis=0), _ends(level), axis=0)
        low.append(band[0])
        high.append(band[1])
    return np.stack(low), np.stack(high)


def _ends(level: float) -> list[float]:
    """The percentiles at the ends of an interval."""
    return [2.5, 97.5] if level == 0.95 else [50 * (1 - level), 50 * (1 + level)]


def _too_few(runs: Runs) -> Reason | None:
    return Reason.too_few_seeds if min(x.shape[1] for x in runs.values()) < min_n("bootstrap") else None


def _redrawn_seeds(runs: Runs) -> dict[str, NDArray[np.int64]]:
    """(draws, seeds) per data set: seeds are redrawn within each data set, the same draw for all methods."""
    rng = np.random.Generator(np.random.PCG64(0))
    return {t: rng.integers(0, x.shape[1], (DRAWS, x.shape[1])) for t, x in runs.items()}


def _counts(drawn: NDArray[np.int64], seeds: int) -> Floats:
    """(draws, seeds): how often each seed was drawn, as a share."""
    draws = len(drawn)
    places = drawn + seeds * np.arange(draws)[:, None]  # a thousand seeds compared with each other would take gigabytes
    counted = np.bincount(places.ravel(), minlength=draws * seeds).reshape(draws, seeds)
    return np.asarray(counted / drawn.shape[1], dtype=np.float64)


def class_level(gains: Floats, level: float = 0.95) -> tuple[float, float | None, Reason | None]:
    """Mean of per-class gains (seed-averaged) and the half-width of its t interval over classes: the question "for tail
    classes in general", wider than over images. From 6 classes on."""
    from scipy.special import stdtrit

    c = len(gains)
    if c == 0:
        raise ValueError("no classes")
    mean = float(gains.mean())
    if c < 6:
        return mean, None, Reason.too_few_classes
    if np.ptp(gains) < NOISE:
        return mean, None, Reason.zero_variance
    return mean, float(stdtrit(c - 1, 0.5 + level / 2) * gains.std(ddof=1) / np.sqrt(c)), None
