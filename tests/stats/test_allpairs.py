"""All pairs at once give the numbers of each pair alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest

from ltbench.stats.allpairs import all_pairs
from ltbench.stats.crossed import crossed_variance, variances
from ltbench.stats.fixed_datasets import ByDataset, ByImage, scope_a
from ltbench.stats.reasons import Reason

FIELDS = ("diff", "se", "df", "half", "p", "images_se", "images_df")


def made(
    rng: np.random.Generator, methods: int, sets: int, seeds: int, images: int
) -> tuple[list[ByDataset], list[ByImage]]:
    """Right or wrong per image, in points, with seeds and images that are easier than others."""
    values, contributions = [], []
    for _ in range(methods):
        by_image = {}
        for t in range(sets):
            hard = np.random.default_rng(t).normal(size=images)
            lift = rng.normal(0, 0.3, size=(seeds, 1))
            right = (hard + lift + rng.normal(0, 1, size=(seeds, images)) > 0) * 100.0
            by_image[f"d{t}"] = dict(enumerate(right))
        contributions.append(by_image)
        values.append({t: {s: float(x.mean()) for s, x in rows.items()} for t, rows in by_image.items()})
    return values, contributions


def assert_same(
    values: list[ByDataset], images: list[ByImage] | None, images_df: Mapping[str, float] | None = None
) -> None:
    found = all_pairs(values, images, images_df=images_df)
    pairs = list(combinations(range(len(values)), 2))
    assert len(found) == len(pairs)
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == pairs
    for i, (a, b) in enumerate(pairs):
        alone = scope_a(values[a], values[b], (images[a], images[b]) if images else None, images_df=images_df)
        for name in FIELDS:
            mine, theirs = getattr(found.test(i), name), getattr(alone, name)
            assert (mine is None) == (theirs is None), name
            assert mine is None or mine == pytest.approx(theirs, rel=1e-8, abs=1e-9), name
        assert found.test(i).reason == alone.reason
        assert found.test(i).seeds == alone.seeds
        assert (found.test(i).shares is None) == (alone.shares is None)
        assert alone.shares is None or found.test(i).shares == pytest.approx(alone.shares, abs=1e-8)


@pytest.mark.parametrize("seeds", [1, 2, 3, 6])
@pytest.mark.parametrize("sets", [1, 3])
@pytest.mark.parametrize("with_images", [False, True])
def test_as_each_pair_alone(seeds: int, sets: int, with_images: bool) -> None:
    values, images = made(np.random.default_rng(seeds), 5, sets, seeds, 40)
    assert_same(values, images if with_images else None)


@pytest.mark.parametrize("images_df", [{"d0": 7.5, "d1": 30.0}, {"d0": 3.0, "d1": 3.0, "d2": 3.0}])
def test_few_images_widen_every_interval(images_df: Mapping[str, float]) -> None:
    values, images = made(np.random.default_rng(3), 5, 3, 4, 40)
    assert_same(values, images, images_df)
    found, known = all_pairs(values, images, images_df=images_df), all_pairs(values, images)
    there = np.isfinite(found.images_df)
    assert there.any()
    assert (found.half[there] > known.half[there]).all()
    assert (found.p[there] > known.p[there]).all()
    parts = np.array([[variances(np.array([images[a][t][s] - images[b][t][s] for s in range(4)]))[1][1]
                       for t in ("d0", "d1", "d2")] for a, b in combinations(range(5), 2)])  # fmt: skip
    dfs = np.array([images_df.get(t, np.inf) for t in ("d0", "d1", "d2")])
    expected = parts[there].sum(axis=1) ** 2 / (parts[there] ** 2 / dfs).sum(axis=1)
    assert found.images_df[there] == pytest.approx(expected)


@pytest.mark.parametrize("with_images", [False, True])
def test_different_seeds_are_paired_on_what_both_have(with_images: bool) -> None:
    values, images = made(np.random.default_rng(1), 4, 2, 5, 30)
    del values[1]["d0"][2], values[2]["d1"][0]  # type: ignore[attr-defined]
    assert_same(values, images if with_images else None)


@pytest.mark.parametrize("with_images", [False, True])
def test_twins_and_constant_differences(with_images: bool) -> None:
    values, images = made(np.random.default_rng(2), 3, 2, 4, 30)
    values[1], images[1] = values[0], images[0]
    values[2] = {t: {s: v + 1.5 for s, v in by_seed.items()} for t, by_seed in values[0].items()}
    images[2] = {t: {s: v + 1.5 for s, v in by_seed.items()} for t, by_seed in images[0].items()}
    assert_same(values, images if with_images else None)
    found = all_pairs(values, images if with_images else None)
    assert found.reasons.tolist() == [Reason.identical, Reason.zero_variance, Reason.zero_variance]


def test_float_noise_is_no_spread() -> None:
    values: list[ByDataset] = [{"d": dict.fromkeys(range(4), 0.1 + 0.2)}, {"d": {s: 0.3 + s * 1e-16 for s in range(4)}}]
    assert all_pairs(values).reasons.tolist() == [Reason.identical]


def test_one_data_set_is_the_crossed_design() -> None:
    values, images = made(np.random.default_rng(3), 2, 1, 5, 60)
    found = all_pairs(values, images).test(0)
    crossed = crossed_variance(np.array([images[0]["d0"][s] - images[1]["d0"][s] for s in range(5)]))
    assert (found.diff, found.half, found.df) == pytest.approx((crossed.diff, crossed.half, crossed.df))
    assert found.shares == pytest.approx(crossed.shares)


def test_test_images_widen_the_interval() -> None:
    values, images = made(np.random.default_rng(4), 2, 2, 10, 50)
    seeds_only, whole = all_pairs(values).test(0), all_pairs(values, images).test(0)
    assert whole.half is not None
    assert seeds_only.half is not None
    assert whole.half > seeds_only.half


def test_fewer_than_two_methods_have_no_pair() -> None:
    assert len(all_pairs([])) == 0
    assert len(all_pairs([{"d": {0: 1.0}}])) == 0
