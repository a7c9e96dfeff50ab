"""What else may be said of a table: other data sets (scope B), and statistics over runs, each from its minimum on."""

from __future__ import annotations

import numpy as np

from ltbench.ranking.board import Profile, ScopeB
from ltbench.ranking.ranking import Ranking
from ltbench.stats.aggregate import (
    Estimate,
    Runs,
    iqm,
    performance_profile,
    probability_of_improvement,
    profile_band,
)
from ltbench.stats.minimum import min_n
from ltbench.stats.random_datasets import (
    BayesSignedRank,
    Matrix,
    SignedRank,
    bayes_signed_rank,
    friedman,
    nemenyi,
    wilcoxon_pairs,
)
from ltbench.stats.reasons import Reason

MOST_METHODS = 50
"""Beyond this, tests of all pairs over data sets are not computed: their correction leaves nothing to find."""
THRESHOLDS = 81
DRAWS = 10_000
"""Of the posterior, per method: its probabilities are good to half a percent."""


def other_datasets(ranking: Ranking, reference: str | None, rope: float) -> ScopeB | None:
    """Scope B of a ranking: one value per data set and method. None for a single method."""
    if len(ranking.labels) < 2:
        return None
    datasets = list(ranking.quality[ranking.labels[0]])
    if any(not ranking.quality[m][t] for m in ranking.labels for t in datasets):
        return None  # some method has no seed with all imbalance factors: there is no complete block
    scores: Matrix = np.array(
        [[round(float(np.mean(list(ranking.quality[m][t].values()))), 10) for m in ranking.labels] for t in datasets]
    )
    pairs, reason, needs = _pairs(scores)
    critical, critical_reason = nemenyi(scores) if len(ranking.labels) > 2 else (None, Reason.too_few_methods)
    return ScopeB(
        blocks=len(datasets),
        friedman=friedman(scores),
        critical_difference=critical,
        critical_reason=critical_reason,
        pairs=pairs,
        reason=reason,
        needs=needs,
        bayes=_bayes(ranking, scores, reference, rope),
    )


def _pairs(scores: Matrix) -> tuple[tuple[SignedRank, ...], Reason | None, int]:
    blocks, methods = scores.shape
    needs = min_n("wilcoxon", methods * (methods - 1) // 2)
    if methods > MOST_METHODS:
        return (), Reason.too_many_methods, needs
    if blocks < needs:
        return (), Reason.too_few_datasets, needs
    return tuple(wilcoxon_pairs(scores)), None, needs


def _bayes(ranking: Ranking, scores: Matrix, reference: str | None, rope: float) -> dict[str, BayesSignedRank]:
    if reference is None or not min_n("bayes_signed_rank") <= len(scores) or len(ranking.labels) > MOST_METHODS:
        return {}
    base = scores[:, ranking.labels.index(reference)]
    return {
        m: bayes_signed_rank(scores[:, i] - base, rope, draws=DRAWS)
        for i, m in enumerate(ranking.labels)
        if m != reference
    }


def runs_of(ranking: Ranking, reference: str | None) -> Runs | None:
    """Data set -> (methods, seeds): gains over the reference, paired by seed, so that data sets of unlike difficulty
    can be pooled; the values themselves without one. For the seeds that all methods have; None where there is none."""
    runs = {}
    for t in ranking.quality[ranking.labels[0]]:
        seeds = sorted(set.intersection(*(set(ranking.quality[m][t]) for m in ranking.labels)))
        if not seeds:
            return None
        x = np.array([[ranking.quality[m][t][s] for s in seeds] for m in ranking.labels])
        base = x[ranking.labels.index(reference)] if reference is not None else 0.0
        runs[t] = np.round(x - base, 10)
    return runs


def interquartile_gains(ranking: Ranking, reference: str | None, runs: Runs | None) -> dict[str, Estimate]:
    """Method -> interquartile mean of its gain; nothing without a reference."""
    if reference is None or runs is None:
        return {}
    return {m: e for m, e in zip(ranking.labels, iqm(runs), strict=True) if m != reference}


def improvements(ranking: Ranking, reference: str | None, runs: Runs | None) -> dict[str, float]:
    """Method -> probability of improvement over the reference, paired by seed."""
    if reference is None or runs is None:
        return {}
    nothing = {t: np.zeros((1, x.shape[1])) for t, x in runs.items()}
    return {
        m: probability_of_improvement({t: x[i : i + 1] for t, x in runs.items()}, nothing)
        for i, m in enumerate(ranking.labels)
        if m != reference
    }


def profile_of(ranking: Ranking, runs: Runs | None) -> Profile | None:
    """Share of runs above each of 81 thresholds, with a band from 5 seeds on."""
    if runs is None or len(ranking.labels) > MOST_METHODS:
        return None
    low, high = min(x.min() for x in runs.values()), max(x.max() for x in runs.values())
    margin = 0.05 * (high - low) or 1.0
    thresholds = np.linspace(low - margin, high + margin, THRESHOLDS)
    share = performance_profile(runs, thresholds)
    band = profile_band(runs, thresholds)
    reason = band if isinstance(band, Reason) else None
    below, above = (None, None) if isinstance(band, Reason) else band

    def by_method(rows: Matrix | None) -> dict[str, tuple[float, ...]]:
        if rows is None:
            return {}
        return {m: tuple(np.round(row, 10).tolist()) for m, row in zip(ranking.labels, rows, strict=True)}

    return Profile(
        tuple(np.round(thresholds, 10).tolist()), by_method(share), by_method(below), by_method(above), reason
    )
