"""What else may be said of a table: other data sets (scope B), and statistics over runs, each from its minimum on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ltbench.ranking.board import Profile, Redrawn, ScopeB
from ltbench.ranking.ranking import Ranking
from ltbench.stats.aggregate import (
    Estimate,
    Runs,
    iqm,
    performance_profile,
    probability_of_improvement,
    profile_band,
)
from ltbench.stats.fixed_datasets import ByDraw
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


def redrawn(drawn: Mapping[str, ByDraw], reference: str | None) -> tuple[Redrawn, ...]:
    """What drawing the training images again moves, for the data sets that were drawn several times.

    Args:
        drawn: method -> its values by draw and seed.
    """
    found = []
    for block in next(iter(drawn.values()), {}):
        tables = {m: _by_draw_and_seed(of[block]) for m, of in drawn.items() if block in of}
        parts = [_components(x) for x in tables.values()]
        base = tables.get(reference) if reference is not None else None
        gains = [] if base is None else [
            _components(x - base) for m, x in tables.items() if m != reference and x.shape == base.shape
        ]  # fmt: skip
        moved = [] if base is None else [_sd(of, len(base)) for of, _ in gains]
        shares = [of / total for of, total in gains if total > 0]
        found.append(
            Redrawn(
                block=block,
                draws=len(next(iter(tables.values()))),
                mean_sd=float(np.median([_sd(of, len(x)) for (of, _), x in zip(parts, tables.values(), strict=True)])),
                gain_sd=float(np.median(moved)) if moved else None,
                share=float(np.median(shares)) if shares else None,
            )
        )
    return tuple(found)


def _by_draw_and_seed(values: Mapping[str, Mapping[int, float]]) -> Matrix:
    """(draws, seeds), for the seeds that all draws have."""
    seeds = sorted(set.intersection(*(set(x) for x in values.values())))
    return np.array([[values[r][s] for s in seeds] for r in sorted(values)], dtype=np.float64)


def _components(x: Matrix) -> tuple[float, float]:
    """Of the variance of the mean of x, (draws, seeds): the draws' own part, and all of it; a negative part is 0."""
    draws, seeds = x.shape
    if seeds < 2:
        return float(x.mean(axis=1).var(ddof=1)) / draws, 0.0
    mean, by_draw, by_seed = x.mean(), x.mean(axis=1, keepdims=True), x.mean(axis=0, keepdims=True)
    ms_r = seeds * float(((by_draw - mean) ** 2).sum()) / (draws - 1)
    ms_s = draws * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
    ms_e = float(((x - by_draw - by_seed + mean) ** 2).sum()) / ((draws - 1) * (seeds - 1))
    of_draws, of_seeds, both = (max(part, 0.0) / x.size for part in (ms_r - ms_e, ms_s - ms_e, ms_e))
    return of_draws, of_draws + of_seeds + both


def _sd(of_draws: float, draws: int) -> float:
    """Of a single draw, from the part of the mean's variance."""
    return float(np.sqrt(of_draws * draws))


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


def interquartile_gains(
    ranking: Ranking, reference: str | None, runs: Runs | None, level: float = 0.95
) -> dict[str, Estimate]:
    """Method -> interquartile mean of its gain; nothing without a reference."""
    if reference is None or runs is None:
        return {}
    return {m: e for m, e in zip(ranking.labels, iqm(runs, level), strict=True) if m != reference}


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


def profile_of(ranking: Ranking, runs: Runs | None, level: float = 0.95) -> Profile | None:
    """Share of runs above each of 81 thresholds, with a band from 5 seeds on."""
    if runs is None or len(ranking.labels) > MOST_METHODS:
        return None
    low, high = min(x.min() for x in runs.values()), max(x.max() for x in runs.values())
    margin = 0.05 * (high - low) or 1.0
    thresholds = np.linspace(low - margin, high + margin, THRESHOLDS)
    share = performance_profile(runs, thresholds)
    band = profile_band(runs, thresholds, level)
    reason = band if isinstance(band, Reason) else None
    below, above = (None, None) if isinstance(band, Reason) else band

    def by_method(rows: Matrix | None) -> dict[str, tuple[float, ...]]:
        if rows is None:
            return {}
        return {m: tuple(np.round(row, 10).tolist()) for m, row in zip(ranking.labels, rows, strict=True)}

    return Profile(
        tuple(np.round(thresholds, 10).tolist()), by_method(share), by_method(below), by_method(above), reason
    )
