"""The distribution of seeds' and images' noise together: its limits, its order, its inverse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ltbench.stats.behrens_fisher import half_width, tail

RNG = np.random.default_rng(0)
SEEDS, IMAGES = np.exp(RNG.uniform(-8, 4, (2, 300)))
DF = RNG.choice([1.0, 2.0, 2.7, 4.0, 9.0, 33.3, 108.0], 300)
SCALE = np.sqrt(SEEDS + IMAGES)
DISTANCE = SCALE * np.exp(RNG.uniform(-3, 2.5, 300))


def test_without_images_it_is_the_t_test_to_the_bit() -> None:
    t = DISTANCE / np.sqrt(SEEDS)
    assert tail(DISTANCE, SEEDS, DF, 0.0) == pytest.approx(2 * stats.t.sf(t, DF), rel=1e-12)
    assert half_width(SEEDS, DF, 0.0) == pytest.approx(stats.t.ppf(0.975, DF) * np.sqrt(SEEDS), rel=1e-12)


def test_without_seeds_or_with_infinitely_many_it_is_the_normal_test() -> None:
    assert tail(DISTANCE, 0.0, DF, IMAGES) == pytest.approx(2 * stats.norm.sf(DISTANCE / np.sqrt(IMAGES)), rel=1e-12)
    assert tail(DISTANCE, SEEDS, np.inf, IMAGES) == pytest.approx(2 * stats.norm.sf(DISTANCE / SCALE), rel=1e-12)
    assert half_width(SEEDS, np.inf, IMAGES, 0.9) == pytest.approx(stats.norm.ppf(0.95) * SCALE, rel=1e-12)


def test_few_images_without_seeds_are_the_t_test_and_either_kind_may_be_the_uncertain_one() -> None:
    alone = tail(DISTANCE, 0.0, 1.0, IMAGES, DF)
    assert alone == pytest.approx(2 * stats.t.sf(DISTANCE / np.sqrt(IMAGES), DF), rel=1e-12)
    assert half_width(0.0, 1.0, IMAGES, 0.95, DF) == pytest.approx(half_width(IMAGES, DF, 0.0), rel=1e-12)
    turned = tail(DISTANCE, SEEDS, np.inf, IMAGES, DF)
    assert turned.tolist() == tail(DISTANCE, IMAGES, DF, SEEDS).tolist()
    both = tail(DISTANCE, SEEDS, DF, IMAGES, DF[::-1])
    assert both == pytest.approx(tail(DISTANCE, IMAGES, DF[::-1], SEEDS, DF), rel=2e-3, abs=1e-6)
    assert (both >= tail(DISTANCE, SEEDS, DF, IMAGES) * (1 - 1e-5)).all()


@pytest.mark.parametrize("little", [1e-4, 1e-8, 1e-12])
def test_little_noise_of_one_kind_comes_near_the_test_of_the_other(little: float) -> None:
    there = 5 * np.sqrt(SEEDS) > DISTANCE
    alone = tail(DISTANCE, SEEDS, DF, 0.0)[there]
    assert tail(DISTANCE, SEEDS, DF, little * SEEDS)[there] == pytest.approx(alone, rel=100 * little + 1e-6)
    many = np.full(300, 108.0)
    near = 4 * np.sqrt(IMAGES) > DISTANCE
    normal = tail(DISTANCE, 0.0, 1.0, IMAGES)[near]
    assert tail(DISTANCE, little * IMAGES, many, IMAGES)[near] == pytest.approx(normal, rel=100 * little + 1e-6)


def test_many_degrees_of_freedom_come_near_the_normal_test() -> None:
    near = DISTANCE < 4 * SCALE
    normal = tail(DISTANCE, SEEDS, np.inf, IMAGES)[near]
    assert tail(DISTANCE, SEEDS, 1e6, IMAGES)[near] == pytest.approx(normal, rel=1e-3)


def test_no_noise_at_all_leaves_only_a_difference_of_nothing() -> None:
    assert tail([0.0, 1e-9, 3.0], 0.0, 2.0, 0.0).tolist() == [1.0, 0.0, 0.0]
    assert half_width(0.0, 2.0, 0.0) == 0.0


def test_no_difference_has_p_1_and_a_huge_one_stays_above_the_seeds_own() -> None:
    assert tail(0.0, SEEDS, DF, IMAGES) == pytest.approx(1.0, abs=1e-12)
    far = 1e6 * SCALE
    assert (tail(far, SEEDS, DF, IMAGES) >= 2 * stats.t.sf(far / np.sqrt(SEEDS), DF) * (1 - 1e-12)).all()
    assert np.isfinite(tail(far, SEEDS, DF, IMAGES)).all()


@pytest.mark.parametrize("which", ["distance", "seeds", "df", "images"])
def test_p_falls_with_the_distance_and_the_degrees_of_freedom_and_rises_with_noise(which: str) -> None:
    given = {"distance": DISTANCE, "seeds": SEEDS, "df": DF, "images": IMAGES}
    before, after = tail(**given), tail(**{**given, which: 1.1 * given[which]})
    seen = before > 1e-9
    if which == "df":
        seen &= DISTANCE > 2 * SCALE  # nearer to the middle the distributions cross
    if which in ("distance", "df"):
        assert (after[seen] <= before[seen] * (1 + 1e-6)).all()
    else:
        assert (after[seen] >= before[seen] * (1 - 1e-6)).all()


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999, 1 - 1e-7])
def test_the_interval_ends_where_p_is_one_less_its_level(level: float) -> None:
    half = half_width(SEEDS, DF, IMAGES, level)
    assert tail(half, SEEDS, DF, IMAGES) == pytest.approx(1 - level, rel=1e-6)


def test_many_degrees_of_freedom_of_pairs_are_interpolated() -> None:
    """More different ones than are looked up one by one; each alone is looked up."""
    df = np.linspace(1, 110, 300)
    together = tail(DISTANCE, SEEDS, df, IMAGES)
    alone = np.array([float(tail(*x)) for x in zip(DISTANCE, SEEDS, df, IMAGES, strict=True)])
    assert together == pytest.approx(alone, rel=1e-6, abs=1e-14)
    assert half_width(SEEDS, df, IMAGES)[7] == pytest.approx(float(half_width(SEEDS[7], df[7], IMAGES[7])), rel=1e-8)


def test_shapes_are_those_of_numpy() -> None:
    assert tail(1.0, 1.0, 2.0, 1.0).shape == ()
    assert tail(np.ones((2, 3)), 1.0, 2.0, np.ones(3)).shape == (2, 3)
    assert half_width(np.ones((0,)), 2.0, 1.0).shape == (0,)
