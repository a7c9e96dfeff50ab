"""The published floors of each test, and what it takes to resolve a difference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ltbench.stats.minimum import critical_difference, min_n, seeds_to_resolve


@pytest.mark.parametrize(
    ("m", "n"), [(1, 6), (3, 7), (6, 8), (10, 9), (24, 10), (45, 11), (190, 13), (300, 14), (999, 16)]
)
def test_a_signed_rank_test_needs_as_many_blocks_as_its_floor_says(m: int, n: int) -> None:
    assert min_n("wilcoxon", m) == min_n("sign_flip", m) == n
    assert m * 2.0 ** (1 - n) < 0.05 <= m * 2.0 ** (2 - n)


def test_the_floor_of_wilcoxon_is_what_scipy_gives_for_a_clean_sweep() -> None:
    for n in (5, 6):
        p = stats.wilcoxon(np.arange(1.0, n + 1)).pvalue
        assert (p < 0.05) == (n >= min_n("wilcoxon"))


def test_mcnemar_needs_six_discordant_images() -> None:
    assert min_n("mcnemar") == 6
    assert stats.binomtest(0, 6).pvalue < 0.05 < stats.binomtest(0, 5).pvalue


def test_mann_whitney_needs_four_on_each_side() -> None:
    assert min_n("mann_whitney") == 4


@pytest.mark.parametrize(("k", "n"), [(2, 6), (3, 5), (4, 5), (10, 5), (1000, 5)])
def test_friedman_is_shown_from_five_blocks(k: int, n: int) -> None:
    assert min_n("friedman", k) == n


def test_nemenyi_can_tell_best_from_worst_from_three_blocks_on() -> None:
    assert [min_n("nemenyi", k) for k in (3, 10, 50)] == [3, 3, 3]


def test_the_critical_difference_is_that_of_the_tables() -> None:
    """Demsar (2006), table 5: q(0.05) is 2.343 for 3 and 2.728 for 5 classifiers, already divided by sqrt 2."""
    assert critical_difference(3, 10) == pytest.approx(2.343 * math.sqrt(3 * 4 / 60), abs=2e-3)
    assert critical_difference(5, 30) == pytest.approx(2.728 * math.sqrt(5 * 6 / 180), abs=2e-3)
    assert critical_difference(25, 12) == pytest.approx(10.99, abs=0.02)


def test_seeds_to_resolve_is_the_first_n_at_which_the_test_would_pass() -> None:
    n = seeds_to_resolve(1.0, 1.0, m=10)
    assert n is not None
    for seeds, passes in ((n, True), (n - 1, False)):
        p = 2 * stats.t.sf(1.0 / (1.0 / math.sqrt(seeds)), seeds - 1)
        assert (10 * p <= 0.05) == passes
    assert seeds_to_resolve(0.0, 1.0) is None
    assert seeds_to_resolve(0.001, 1.0) is None


def test_it_takes_more_seeds_where_few_images_make_the_floor() -> None:
    known, few = (seeds_to_resolve(4.0, 3.0, 3, floor=1.0, floor_df=df) for df in (math.inf, 8.0))
    assert known is not None
    assert few is not None
    assert few > known
    assert seeds_to_resolve(4.0, 3.0, 3, floor=1.0, floor_df=2.0) is None, "the images alone leave it undecided"
