"""Scope B: "would it hold on other data sets?" Data sets random; one number per method and data set.

Every test states the number of data sets it needs; below it there is a reason instead of a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from ltbench.stats.minimum import critical_difference, min_n
from ltbench.stats.paired import holm
from ltbench.stats.reasons import NOISE, Reason

Matrix = NDArray[np.float64]
"""(data sets, methods), higher is better, complete."""
_EXACT_LIMIT = 1_000_000
_DRAWS = 10_000


@dataclass(frozen=True)
class Friedman:
    """Mean ranks (1 is best), the tie-corrected statistic, and its permutation p."""

    mean_ranks: tuple[float, ...]
    statistic: float | None
    p: float | None
    how: str
    reason: Reason | None


def ranks(scores: Matrix) -> Matrix:
    """Ranks within each data set, 1 is best; equal values (to 10 decimals) share their average rank."""
    found = np.empty(scores.shape)
    for row, values in zip(found, -np.round(scores, 10), strict=True):  # as scipy.stats, without its second of import
        ordered = np.sort(values)
        row[:] = (ordered.searchsorted(values) + ordered.searchsorted(values, "right") + 1) / 2
    return found


def friedman(scores: Matrix) -> Friedman:
    """Friedman's test. The chi-square approximation is far off for few data sets, so p comes from permuting ranks
    within data sets: all (k!)^(N-1) ways where these are few, else 10,000 seeded draws. Below 5 data sets there are
    mean ranks and no test: p could be small there, but so few data sets say nothing about others."""
    r = ranks(scores)
    n, k = r.shape
    mean = tuple(float(x) for x in r.mean(axis=0))
    if n < min_n("friedman", max(k, 3)):
        return Friedman(mean, None, None, "", Reason.too_few_datasets)
    if k < 3:
        return Friedman(mean, None, None, "", Reason.too_few_methods)
    observed = _spread(r.sum(axis=0))
    tie_term = (r**2).sum() - n * k * (k + 1) ** 2 / 4
    if tie_term <= 0:
        return Friedman(mean, None, None, "", Reason.all_tied)
    statistic = float((k - 1) * observed / tie_term)
    if math.factorial(k) ** (n - 1) <= _EXACT_LIMIT:
        p, how = _exact(r, observed), "exact permutation"
    else:
        p, how = _monte_carlo(r, observed), f"{_DRAWS:,} permutations"
    return Friedman(mean, statistic, p, how, None)


def _spread(sums: NDArray[np.float64]) -> float:
    return float(((sums - sums.mean()) ** 2).sum())


def _exact(r: Matrix, observed: float) -> float:
    """All arrangements with the first data set held fixed."""
    sums = r[:1].copy()
    for row in r[1:]:
        ways = np.array(list(permutations(row)))
        sums = (sums[:, None, :] + ways[None, :, :]).reshape(-1, r.shape[1])
    spread = ((sums - sums.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return float((spread >= observed - 1e-9).mean())


def _monte_carlo(r: Matrix, observed: float) -> float:
    rng = np.random.Generator(np.random.PCG64(0))
    sums = np.zeros((_DRAWS, r.shape[1]))
    for row in r:
        sums += rng.permuted(np.broadcast_to(row, (_DRAWS, len(row))), axis=1)
    spread = ((sums - sums.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return float((1 + (spread >= observed - 1e-9).sum()) / (1 + _DRAWS))


@dataclass(frozen=True)
class SignedRank:
    """One pair over data sets: Wilcoxon's p, and Holm's over the family."""

    a: int
    b: int
    p: float | None
    p_holm: float | None
    reason: Reason | None
    needs: int


def wilcoxon_pairs(scores: Matrix, pairs: Sequence[tuple[int, int]] | None = None) -> list[SignedRank]:
    """Wilcoxon signed-rank test (Pratt's treatment of zeros) of pairs of methods with Holm's correction; pairs rather
    than mean ranks, so that A against B does not depend on which others are there (Benavoli, Corani and Mangili, JMLR
    2016). Below the number of data sets at which p could pass alpha after correction, nothing is computed."""
    from scipy.stats import wilcoxon

    chosen = list(pairs) if pairs is not None else list(combinations(range(scores.shape[1]), 2))
    if not chosen:
        return []
    needs = min_n("wilcoxon", len(chosen))
    if len(scores) < needs:
        return [SignedRank(a, b, None, None, Reason.too_few_datasets, needs) for a, b in chosen]
    differences = [np.round(scores[:, a] - scores[:, b], 10) for a, b in chosen]
    p_values = [float(wilcoxon(d, zero_method="pratt", method="auto").pvalue) if d.any() else None for d in differences]
    return [
        SignedRank(a, b, p, adjusted, None if p is not None else Reason.identical, needs)
        for (a, b), p, adjusted in zip(chosen, p_values, holm(p_values), strict=True)
    ]


def nemenyi(scores: Matrix, alpha: float = 0.05) -> tuple[float | None, Reason | None]:
    """Critical difference of mean ranks for the familiar diagram; from 5 data sets and up to 10 methods on."""
    n, k = scores.shape
    if k < 2:
        return None, Reason.too_few_methods
    if n < 5:
        return None, Reason.too_few_datasets
    return (critical_difference(k, n, alpha), None) if k <= 10 else (None, Reason.too_many_methods)


@dataclass(frozen=True)
class BayesSignedRank:
    """Posterior probabilities that on a new data set A is better by more than the ROPE, within it, or worse."""

    better: float | None
    within: float | None
    worse: float | None
    reason: Reason | None


def bayes_signed_rank(d: NDArray[np.float64], rope: float, draws: int = 50_000) -> BayesSignedRank:
    """Bayesian signed-rank test (Benavoli et al., ICML 2014; JMLR 2017): Dirichlet weights over the observed
    differences and a pseudo-observation at 0 of strength 0.5; probability that the weighted pairwise means lie above,
    within or below +-rope. From 6 data sets on: with 3 that merely agree in sign it would already exceed 0.95."""
    if len(d) < min_n("bayes_signed_rank"):
        return BayesSignedRank(None, None, None, Reason.too_few_datasets)
    values = np.concatenate([[0.0], np.round(d, 10)])
    rng = np.random.Generator(np.random.PCG64(0))
    weights = rng.dirichlet(np.r_[0.5, np.ones(len(d))], size=draws)
    sums = values[:, None] + values[None, :]
    edge = 2 * rope + NOISE
    above = np.einsum("ni,ij,nj->n", weights, (sums > edge).astype(float), weights, optimize=True)
    below = np.einsum("ni,ij,nj->n", weights, (sums < -edge).astype(float), weights, optimize=True)
    inside = 1 - above - below
    winner = np.argmax(np.stack([above, inside, below]), axis=0)
    share = np.bincount(winner, minlength=3) / draws
    return BayesSignedRank(float(share[0]), float(share[1]), float(share[2]), None)
