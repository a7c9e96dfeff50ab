"""The fewest observations from which a test can say anything at all. One function, used by every printer."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ltbench.stats.behrens_fisher import tail

Test = Literal["paired_t", "scope_a", "sign_flip", "wilcoxon", "mann_whitney", "mcnemar", "friedman", "nemenyi",
               "bayes_signed_rank", "bootstrap", "probability_of_improvement"]  # fmt: skip
_POLICY = {"paired_t": 3, "scope_a": 3, "bayes_signed_rank": 6, "bootstrap": 5, "probability_of_improvement": 29}
"""Where arithmetic would allow fewer but the answer would mislead: see the module's tests for the simulations."""


def min_n(test: Test, m: int = 1, alpha: float = 0.05) -> int:
    """Fewest seeds, blocks or discordant pairs (whatever the test counts) with which an adjusted two-sided p can fall
    below alpha.

    Args:
        m: comparisons in the Holm family (friedman, nemenyi: the number of methods).

    Raises:
        ValueError: no comparison, or fewer than two methods.
    """
    if m < (2 if test in ("friedman", "nemenyi") else 1):
        raise ValueError(f"{test} of {m}: there is nothing to compare")
    if test in _POLICY:
        return _POLICY[test]
    if test in ("sign_flip", "wilcoxon", "mcnemar"):
        return math.floor(1 + math.log2(m / alpha) + 1e-12) + 1
    if test == "mann_whitney":
        return next(n for n in range(2, 100) if 2 * m / math.comb(2 * n, n) < alpha)
    if test == "friedman":
        return max(5, next(n for n in range(2, 100) if math.factorial(m) ** (n - 1) > 1 / alpha))
    return next(n for n in range(2, 10_000) if critical_difference(m, n, alpha) <= m - 1)


def critical_difference(methods: int, blocks: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of mean ranks: q / sqrt(2) * sqrt(k (k + 1) / (6 N)) (Demsar, JMLR 2006)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, methods, math.inf))
    return q / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * blocks))


def seeds_to_resolve(
    diff: float,
    sd: float,
    m: int = 1,
    alpha: float = 0.05,
    most: int = 1000,
    floor: float = 0.0,
    floor_df: float = math.inf,
) -> int | None:
    """Seeds at which a difference of this size and spread would be significant, were they to stay: the fewest n with
    p <= alpha / m. None beyond `most`.

    Args:
        sd: of the paired differences over seeds.
        floor: standard error that more seeds do not lower (that of the test images).
        floor_df: its degrees of freedom.
    """
    if diff == 0:
        return None
    seeds = np.arange(3, most + 1)
    enough = np.flatnonzero(tail(abs(diff), sd**2 / seeds, seeds - 1.0, floor**2, floor_df) <= alpha / m)
    return int(seeds[enough[0]]) if len(enough) else None
