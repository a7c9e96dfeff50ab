"""The t interval over seeds: against scipy, and against what it claims to cover."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ltbench.stats.intervals import mean_interval

samples = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)


@given(samples, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_is_scipys_t_interval(values: list[float], level: float) -> None:
    found = mean_interval(values, level)
    assert found.half is not None
    sem = stats.sem(values)
    if sem > 0:
        low, high = stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=sem)
        assert found.mean - found.half == pytest.approx(low, rel=1e-9, abs=1e-6)
        assert found.mean + found.half == pytest.approx(high, rel=1e-9, abs=1e-6)
    else:
        assert found.half == 0.0


@given(samples)
def test_mean_sd_and_n_are_those_of_the_values(values: list[float]) -> None:
    found = mean_interval(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(sum(values) / len(values), rel=1e-12, abs=1e-9)
    assert found.sd == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-9)


@given(samples, st.floats(-1e3, 1e3))
def test_shifting_all_values_moves_the_mean_and_not_the_width(values: list[float], shift: float) -> None:
    here, there = mean_interval(values), mean_interval([v + shift for v in values])
    assert there.mean == pytest.approx(here.mean + shift, rel=1e-9, abs=1e-6)
    assert there.half == pytest.approx(here.half, rel=1e-6, abs=1e-6)


@given(samples)
def test_the_order_of_seeds_does_not_matter(values: list[float]) -> None:
    here, there = mean_interval(values), mean_interval(values[::-1])
    assert (there.mean, there.half) == pytest.approx((here.mean, here.half), rel=1e-9, abs=1e-9)


@given(samples)
def test_a_higher_level_is_never_narrower(values: list[float]) -> None:
    halves = [mean_interval(values, level).half or 0.0 for level in (0.5, 0.9, 0.95, 0.99)]
    assert halves == sorted(halves)


def test_one_seed_has_a_mean_and_no_spread() -> None:
    found = mean_interval([42.5])
    assert (found.mean, found.sd, found.half, found.n) == (42.5, None, None, 1)


def test_equal_values_have_no_width() -> None:
    assert mean_interval([3.0, 3.0, 3.0]).half == 0.0


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def test_numbers_are_plain_floats() -> None:
    """numpy's would print as np.float64(...) and are not JSON on every version."""
    found = mean_interval(np.array([1.0, 2.0, 4.0]).tolist())
    assert [type(v) for v in (found.mean, found.sd, found.half)] == [float] * 3


@pytest.mark.parametrize("n", [3, 5])
def test_95_percent_intervals_cover_the_truth_about_95_times_in_100(n: int) -> None:
    """A percentile bootstrap covers 75 to 84 % here (statistics.md, section 0)."""
    draws = np.random.default_rng(20_240_601 + n).normal(70.0, 1.3, (2000, n)).tolist()
    found = [mean_interval(values) for values in draws]
    covered = np.mean([abs(i.mean - 70.0) <= (i.half or 0.0) for i in found])
    assert 0.93 <= covered <= 0.97
