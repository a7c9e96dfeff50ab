"""Scope B against scipy and against brute force; silence below the number of data sets that could speak."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from ltbench.stats.random_datasets import bayes_signed_rank, friedman, nemenyi, ranks, wilcoxon_pairs
from ltbench.stats.reasons import Reason


def test_ranks_share_ties_that_differ_by_float_noise_only() -> None:
    assert ranks(np.array([[0.1 + 0.2, 0.3, 0.5]])).tolist() == [[2.5, 2.5, 1.0]]


@pytest.mark.parametrize("ties", [False, True])
def test_friedmans_statistic_is_scipys(ties: bool) -> None:
    x = np.random.default_rng(0).normal(size=(8, 4))
    x = np.round(x) if ties else x
    assert friedman(x).statistic == pytest.approx(stats.friedmanchisquare(*x.T).statistic)


def test_friedmans_exact_p_is_that_of_trying_every_arrangement() -> None:
    x = np.random.default_rng(1).normal(size=(5, 3))
    found = friedman(x)
    every = []
    for arrangement in product(*(permutations(row) for row in ranks(x))):
        sums = np.array(arrangement).sum(axis=0)
        every.append(((sums - sums.mean()) ** 2).sum())
    sums = ranks(x).sum(axis=0)
    observed = ((sums - sums.mean()) ** 2).sum()
    assert found.p == pytest.approx(np.mean(np.array(every) >= observed - 1e-9))
    assert found.how == "exact permutation"


def test_friedmans_monte_carlo_p_is_near_chi_square_for_many_data_sets() -> None:
    x = np.random.default_rng(2).normal(size=(40, 5)) + np.linspace(0, 0.6, 5)
    found = friedman(x)
    assert found.p == pytest.approx(stats.friedmanchisquare(*x.T).pvalue, abs=0.01)


@pytest.mark.parametrize("datasets", [1, 2, 3, 4])
def test_friedman_is_silent_below_five_data_sets_however_much_they_agree(datasets: int) -> None:
    found = friedman(np.arange(4.0) + np.zeros((datasets, 1)))
    assert (found.statistic, found.p, found.reason) == (None, None, Reason.too_few_datasets)
    assert found.mean_ranks == (4, 3, 2, 1)


def test_friedman_of_a_thousand_methods_has_a_number() -> None:
    assert friedman(np.random.default_rng(0).normal(size=(6, 1000))).p is not None


def test_friedman_of_equal_methods_says_tied() -> None:
    assert friedman(np.ones((5, 3))).reason is Reason.all_tied


def test_wilcoxon_is_scipys_once_there_are_enough_data_sets() -> None:
    x = np.random.default_rng(3).normal(size=(12, 3)) + np.array([0, 0.5, 2])
    for pair in wilcoxon_pairs(x):
        assert pair.p == pytest.approx(stats.wilcoxon(x[:, pair.a] - x[:, pair.b], zero_method="pratt").pvalue)
        assert pair.p_holm is not None
        assert pair.p_holm >= pair.p


def test_wilcoxon_over_four_data_sets_says_how_many_it_needs() -> None:
    x = np.random.default_rng(4).normal(size=(4, 5))
    found = wilcoxon_pairs(x)
    assert len(found) == 10
    assert {(f.p, f.reason, f.needs) for f in found} == {(None, Reason.too_few_datasets, 9)}


def test_nemenyi_is_silent_below_five_data_sets_and_above_ten_methods() -> None:
    assert nemenyi(np.zeros((4, 3)))[1] is Reason.too_few_datasets
    assert nemenyi(np.zeros((6, 11)))[1] is Reason.too_many_methods
    assert nemenyi(np.zeros((6, 5)))[0] is not None


def test_the_bayesian_signed_rank_test_adds_up_and_points_the_right_way() -> None:
    found = bayes_signed_rank(np.array([2.0, 3.0, 1.5, 2.5, 4.0, 2.2, 3.1, 1.9]), rope=0.5)
    assert found.better is not None
    assert found.better > 0.95
    assert found.better + (found.within or 0) + (found.worse or 0) == pytest.approx(1)
    small = bayes_signed_rank(np.array([0.1, -0.1, 0.05, 0.0, -0.05, 0.1, 0.02]), rope=0.5)
    assert small.within is not None
    assert small.within > 0.95


def test_the_bayesian_signed_rank_test_is_silent_below_six_data_sets() -> None:
    assert bayes_signed_rank(np.array([1.0, 1.0, 1.0]), rope=0.1).reason is Reason.too_few_datasets


def test_ranks_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 5), (6, 40)):
        scores = rng.integers(0, 6, shape) / 7
        assert (ranks(scores) == stats.rankdata(-np.round(scores, 10), axis=1)).all()
