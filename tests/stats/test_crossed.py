"""Seeds and test images together: coverage by simulation; single pairs of models; exact sign flips."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ltbench.stats.crossed import crossed_variance, mcnemar, sign_flip
from ltbench.stats.reasons import Reason


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_crossed_interval_covers_when_both_seeds_and_images_vary(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    runs, images, covered, by_seeds_only = 600, 200, 0, 0
    for _ in range(runs):
        d = 0.3 * rng.normal(size=(seeds, 1)) / 5 + rng.normal(size=(1, images)) + rng.normal(size=(seeds, images))
        found = crossed_variance(d)
        assert found.half is not None
        covered += abs(found.diff) <= found.half
        means = d.mean(axis=1)
        by_seeds_only += abs(means.mean()) <= stats.t.ppf(0.975, seeds - 1) * means.std(ddof=1) / np.sqrt(seeds)
    assert 0.92 <= covered / runs <= 0.98
    assert by_seeds_only < covered, "leaving the images out must be seen to under-cover"


def test_the_shares_name_the_source_of_the_spread() -> None:
    rng = np.random.default_rng(0)
    seeds_only = crossed_variance(np.repeat(rng.normal(size=(5, 1)), 50, axis=1) + 1e-3 * rng.normal(size=(5, 50)))
    images_only = crossed_variance(np.repeat(rng.normal(size=(1, 50)), 5, axis=0) + 1e-3 * rng.normal(size=(5, 50)))
    assert seeds_only.shares is not None
    assert seeds_only.shares[0] > 0.99
    assert images_only.shares is not None
    assert images_only.shares[1] > 0.99


def test_one_seed_speaks_of_one_trained_pair() -> None:
    found = crossed_variance(np.random.default_rng(1).normal(size=(1, 30)))
    assert found.reason is Reason.too_few_seeds
    assert found.half is not None


def test_mcnemar_is_the_exact_test_with_half_its_own_probability_off() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(400) < 0.8, rng.random(400) < 0.7
    found = mcnemar(a, b)
    exact = stats.binomtest(min(found.b, found.c), found.b + found.c).pvalue
    assert found.p == pytest.approx(exact - stats.binom.pmf(min(found.b, found.c), found.b + found.c, 0.5))


def test_mcnemar_with_five_discordant_images_gives_no_p() -> None:
    a, b = np.array([True] * 5 + [True] * 20), np.array([False] * 5 + [True] * 20)
    assert mcnemar(a, b).reason is Reason.too_few_discordant


def test_the_sign_flip_p_is_scipys_permutation_test() -> None:
    d = np.random.default_rng(3).normal(size=9) + 0.8
    reference = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(d)[0] == pytest.approx(reference.pvalue)


def test_sign_flips_of_many_seeds_are_drawn_and_agree_with_t() -> None:
    d = np.random.default_rng(4).normal(size=40) + 0.3
    p, _ = sign_flip(d)
    assert p == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.01)


def test_five_seeds_are_too_few_to_flip() -> None:
    assert sign_flip(np.ones(5)) == (None, Reason.too_few_seeds)
