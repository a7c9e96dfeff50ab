"""Interquartile means, probability of improvement, profiles, class-level intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ltbench.stats.aggregate import (
    class_level,
    interquartile_mean,
    iqm,
    performance_profile,
    probability_of_improvement,
)
from ltbench.stats.reasons import Reason


def test_with_equal_weights_the_interquartile_mean_is_the_trimmed_mean() -> None:
    x = np.random.default_rng(0).normal(size=40)
    assert interquartile_mean(x, np.ones(40)) == pytest.approx(stats.trim_mean(x, 0.25))


def test_weights_cut_exactly_a_quarter_of_the_mass() -> None:
    """Doubling a weight is the same as listing the value twice."""
    x = np.array([1.0, 5.0, 2.0, 9.0])
    listed = np.repeat(x, [2, 1, 3, 2])
    assert interquartile_mean(x, np.array([2.0, 1, 3, 2])) == pytest.approx(interquartile_mean(listed, np.ones(8)))


def test_the_bootstrap_is_reproducible_and_brackets_the_value() -> None:
    runs = {t: np.random.default_rng(i).normal(size=(2, 6)) + np.array([[0], [2]]) for i, t in enumerate("abc")}
    first, second = iqm(runs), iqm(runs)
    assert first == second
    for estimate in first:
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.value < estimate.high


def test_the_bootstrap_is_silent_below_five_seeds() -> None:
    (found,) = iqm({"a": np.random.default_rng(0).normal(size=(1, 4))})
    assert (found.low, found.reason) == (None, Reason.too_few_seeds)


def test_probability_of_improvement_counts_wins_and_half_of_ties() -> None:
    a, b = {"d": np.array([[1.0, 2.0, 3.0, 0.3]])}, {"d": np.array([[0.0, 2.0, 5.0, 0.1 + 0.2]])}
    assert probability_of_improvement(a, b) == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)


def test_a_profile_falls_from_one_to_nought_and_weighs_data_sets_alike() -> None:
    runs = {"few": np.array([[1.0]]), "many": np.zeros((1, 99))}
    profile = performance_profile(runs, np.array([-1.0, 0.5, 2.0]))
    assert profile.tolist() == [[1.0, 0.5, 0.0]]


def test_class_level_is_a_t_interval_over_classes_from_six_on() -> None:
    gains = np.random.default_rng(1).normal(size=12)
    mean, half, reason = class_level(gains)
    low, high = stats.t.interval(0.95, 11, loc=gains.mean(), scale=stats.sem(gains))
    assert (mean - (half or 0), mean + (half or 0)) == (pytest.approx(low), pytest.approx(high))
    assert reason is None
    assert class_level(gains[:5])[2] is Reason.too_few_classes


def test_shares_of_redrawn_seeds_are_those_of_counting_one_by_one() -> None:
    from ltbench.stats.aggregate import _counts

    drawn = np.random.default_rng(3).integers(0, 7, (50, 7))
    one_by_one = [[sum(seed == s for seed in row) / 7 for s in range(7)] for row in drawn.tolist()]
    assert (_counts(drawn, 7) == np.array(one_by_one)).all()
