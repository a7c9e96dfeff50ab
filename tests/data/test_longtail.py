"""Class counts and subsets: the published ones, and the rules they follow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ltbench.data.longtail import (
    class_order,
    class_shares,
    long_tail_counts,
    manifest,
    positions_digest,
    select,
    to_index,
)
from ltbench.data.sources.source import Source
from ltbench.errors import UserError

FACTS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "facts" / "cifar_lt.json").read_text())
SIZES = {"cifar10": [5000] * 10, "cifar100": [500] * 100}
careful = settings(max_examples=150, deadline=None, derandomize=True)

# published/README.md, section 5: class 0's and the last class's first kept positions, subset seed 0.
FIRST_KEPT = {
    "cifar10": ([398, 3833, 4836, 4572, 636], [2204, 3816, 2206, 2507, 1926]),
    "cifar100": ([90, 254, 283, 445, 461], [348, 153, 363, 361, 299]),
}


def setting(name: str) -> tuple[list[int], float]:
    """`cifar100_if50` -> the sizes of CIFAR-100's classes and 50."""
    dataset, factor = name.split("_if")
    return SIZES[dataset], float(factor)


def subset(name: str, seed: int = 0) -> list[NDArray[np.int64]]:
    available, imbalance = setting(name)
    return select(available, imbalance=imbalance, profile="exp", subset_seed=seed)[0]


# -- published numbers ------------------------------------------------------------------------------------------------


def test_all_ten_published_settings_are_pinned() -> None:
    assert len(FACTS) == 10
    assert sum("sha256" in fact for fact in FACTS.values()) == 8


@pytest.mark.parametrize("name", FACTS)
def test_class_counts_are_the_published_ones(name: str) -> None:
    available, imbalance = setting(name)
    assert long_tail_counts(available, imbalance, "exp") == FACTS[name]["counts"]


@pytest.mark.parametrize("name", FACTS)
def test_shot_groups_have_the_published_sizes(name: str) -> None:
    counts = np.array(long_tail_counts(*setting(name), "exp"))
    many, few = int((counts > 100).sum()), int((counts < 20).sum())
    assert {"many": many, "med": len(counts) - many - few, "few": few} == FACTS[name]["shots"]


@pytest.mark.parametrize("name", [name for name, fact in FACTS.items() if "sha256" in fact])
def test_subsets_of_seed_0_have_the_published_fingerprints(name: str) -> None:
    assert positions_digest(subset(name)) == FACTS[name]["sha256"]


@pytest.mark.parametrize("name", FACTS)
def test_subsets_of_seed_0_start_with_the_published_positions(name: str) -> None:
    first, last = FIRST_KEPT[name.split("_")[0]]
    train = subset(name)
    assert train[0][:5].tolist() == first
    assert train[-1][:5].tolist() == last[: len(train[-1])]


@pytest.mark.parametrize(("imbalance", "total"), [(10, 27_500), (100, 25_250)])
@pytest.mark.parametrize("available", SIZES.values(), ids=SIZES)
def test_the_step_profile_has_the_published_totals(available: list[int], imbalance: float, total: int) -> None:
    counts = long_tail_counts(available, imbalance, "step")
    half = len(available) // 2
    assert sum(counts) == total
    assert set(counts[:half]) == {available[0]}
    assert set(counts[half:]) == {int(available[0] / imbalance)}


# -- counts -----------------------------------------------------------------------------------------------------------


def test_an_imbalance_factor_of_1_keeps_everything() -> None:
    assert long_tail_counts([70] * 7, 1, "exp") == long_tail_counts([70] * 7, 1, "step") == [70] * 7


def test_the_middle_class_of_an_odd_number_is_rare_under_the_step_profile() -> None:
    assert class_shares(5, 10, "step") == [1.0, 1.0, 0.1, 0.1, 0.1]


@careful
@given(
    available=st.lists(st.integers(20, 800), min_size=2, max_size=12),
    imbalance=st.floats(1, 20),
    profile=st.sampled_from(["exp", "step"]),
)
def test_no_class_needs_more_images_than_it_has_and_the_counts_fall(
    available: list[int], imbalance: float, profile: str
) -> None:
    try:
        counts = long_tail_counts(available, imbalance, profile)
    except UserError:
        return
    assert all(1 <= n <= a for n, a in zip(counts, available, strict=True))
    assert counts == sorted(counts, reverse=True)


@careful
@given(available=st.lists(st.integers(20, 800), min_size=2, max_size=12), imbalance=st.floats(1, 20))
def test_the_head_is_as_large_as_the_classes_allow(available: list[int], imbalance: float) -> None:
    shares = [(1 / imbalance) ** (c / (len(available) - 1)) for c in range(len(available))]
    try:
        head = long_tail_counts(available, imbalance, "exp")[0]
    except UserError:
        return
    assert any((head + 1) * share > n - 1e-6 for share, n in zip(shares, available, strict=True))


def test_classes_of_unequal_size_still_have_the_imbalance_that_was_asked_for() -> None:
    counts = long_tail_counts([5000, 1000, 100, 400], 10, "exp")
    assert counts[0] / counts[-1] == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_an_imbalance_that_leaves_a_class_empty_is_refused_with_the_numbers(profile: str) -> None:
    with pytest.raises(UserError, match=r"imbalance factor of 800 leaves \d+ of 100 classes .* head has 500"):
        long_tail_counts([500] * 100, 800, profile)


@pytest.mark.parametrize("available", [[500] * 100, [49] * 10, [98] * 5, [1000, 5, 10], [3, 7, 900]])
@pytest.mark.parametrize("profile", ["exp", "step"])
def test_the_advice_of_the_refusal_works(available: list[int], profile: str) -> None:
    with pytest.raises(UserError) as caught:
        long_tail_counts(available, 100_000, profile)
    advised = re.search(r"at most (\d+)", str(caught.value))
    assert advised is not None
    assert min(long_tail_counts(available, float(advised[1]), profile)) >= 1


# -- subsets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", SIZES)
def test_subsets_are_nested_across_imbalance_factors(dataset: str) -> None:
    smaller = [set[int]()] * len(SIZES[dataset])
    for factor in (200, 100, 50, 20, 10, 1):
        larger = [set(p.tolist()) for p in subset(f"{dataset}_if{factor}")]
        assert all(small <= large for small, large in zip(smaller, larger, strict=True))
        smaller = larger


def test_a_subset_has_each_position_once_and_within_the_class() -> None:
    train = subset("cifar100_if10")
    assert all(len(set(p.tolist())) == len(p) for p in train)
    assert all(p.min() >= 0 and p.max() < 500 for p in train)


def test_another_subset_seed_keeps_other_images_and_as_many() -> None:
    one, other = subset("cifar10_if100", 0), subset("cifar10_if100", 1)
    assert [len(p) for p in one] == [len(p) for p in other]
    assert all(set(a.tolist()) != set(b.tolist()) for a, b in zip(one[1:], other[1:], strict=True))


def test_the_global_dice_of_numpy_are_left_alone() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[union-attr, index] # noqa: NPY002
    subset("cifar10_if100")
    assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr, index] # noqa: NPY002


def test_the_native_profile_keeps_every_image() -> None:
    train, held = select([30, 8, 120], imbalance=None, profile="native", subset_seed=0)
    assert [p.tolist() for p in train] == [list(range(n)) for n in (30, 8, 120)]
    assert [len(p) for p in held] == [0, 0, 0]


# -- hold-out ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["exp", "step", "native"])
def test_the_hold_out_has_the_asked_size_and_shares_no_image_with_training(profile: str) -> None:
    imbalance = None if profile == "native" else 10
    train, held = select([200] * 8, imbalance=imbalance, profile=profile, subset_seed=3, holdout_per_class=25)
    assert [len(h) for h in held] == [25] * 8
    assert all(len(set(h.tolist())) == 25 for h in held)
    assert not any(set(t.tolist()) & set(h.tolist()) for t, h in zip(train, held, strict=True))


def test_the_hold_out_is_taken_before_the_tail_is_cut() -> None:
    train, held = select([500] * 100, imbalance=100, profile="exp", subset_seed=0, holdout_per_class=50)
    assert [len(t) for t in train] == long_tail_counts([450] * 100, 100, "exp")
    assert len(held[99]) == 50, "though only 4 images of the class are trained on"


def test_all_imbalance_factors_share_one_hold_out() -> None:
    held = [select([300] * 5, imbalance=f, profile="exp", subset_seed=0, holdout_per_class=20)[1] for f in (1, 10, 50)]
    assert positions_digest(held[0]) == positions_digest(held[1]) == positions_digest(held[2])


def test_subsets_are_nested_beside_a_hold_out_too() -> None:
    small, large = (
        select([300] * 5, imbalance=f, profile="exp", subset_seed=0, holdout_per_class=20)[0] for f in (50, 10)
    )
    assert all(set(s.tolist()) <= set(b.tolist()) for s, b in zip(small, large, strict=True))


def test_another_subset_seed_holds_out_other_images() -> None:
    one, other = (select([300] * 5, imbalance=9, profile="exp", subset_seed=s, holdout_per_class=20)[1] for s in (0, 1))
    assert positions_digest(one) != positions_digest(other)


def test_a_hold_out_that_takes_a_whole_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"hold-out of 12 images .* smallest class has 12"):
        select([300, 12], imbalance=None, profile="native", subset_seed=0, holdout_per_class=12)


def test_a_hold_out_of_all_but_one_image_is_allowed() -> None:
    train, _ = select([300, 12], imbalance=None, profile="native", subset_seed=0, holdout_per_class=11)
    assert [len(t) for t in train] == [289, 1]


# -- class order ------------------------------------------------------------------------------------------------------


def test_the_order_by_label_is_the_numbering() -> None:
    assert class_order([5, 9, 7], "label") == [0, 1, 2]


def test_the_order_by_frequency_has_the_largest_class_first_and_ties_by_label() -> None:
    assert class_order([5, 9, 7, 9], "frequency") == [1, 3, 2, 0]


@pytest.mark.parametrize("seed", ["0", "1", "4294967295"])
def test_a_seeded_order_is_a_permutation_and_always_the_same(seed: str) -> None:
    order = class_order([10] * 20, seed)
    assert sorted(order) == list(range(20))
    assert order == class_order([10] * 20, seed)
    assert order != list(range(20))


def test_seeds_give_different_orders() -> None:
    assert len({tuple(class_order([10] * 20, str(seed))) for seed in range(20)}) == 20


@pytest.mark.parametrize("order", ["label", "7"])
def test_the_head_is_the_class_that_the_order_names_first(order: str) -> None:
    train, _ = select([300] * 6, imbalance=30, profile="exp", subset_seed=0, order=order)
    sizes = [len(train[c]) for c in class_order([300] * 6, order)]
    assert sizes == long_tail_counts([300] * 6, 30, "exp")


def test_by_frequency_a_natural_head_stays_the_head() -> None:
    train, _ = select([40, 400, 90, 250], imbalance=10, profile="exp", subset_seed=0, order="frequency")
    sizes = [len(t) for t in train]
    assert sorted(range(4), key=lambda c: -sizes[c]) == [1, 3, 2, 0]
    assert sizes[1] == 400


# -- manifest and index -----------------------------------------------------------------------------------------------

PARTS: dict[str, Any] = {
    "fingerprint": "digits",
    "options": {"size": 32},
    "train": [np.array([0, 2, 1]), np.array([4])],
    "holdout": [np.array([5]), np.array([7])],
}


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "other"},
        {"options": {"size": 64}},
        {"options": {}},
        {"train": [np.array([0, 2, 3]), np.array([4])]},
        {"train": [np.array([0, 2]), np.array([1, 4])]},
        {"train": [np.array([0, 1, 2]), np.array([4])]},
        {"holdout": [np.array([5]), np.array([8])]},
        {"holdout": [np.array([], dtype=np.int64)] * 2},
    ],
)
def test_the_manifest_changes_with_each_of_its_ingredients(change: dict[str, Any]) -> None:
    assert manifest(**{**PARTS, **change}) != manifest(**PARTS)


def test_the_manifest_depends_on_contents_and_not_on_types() -> None:
    again = {**PARTS, "options": dict(PARTS["options"]), "train": [p.astype(np.int32) for p in PARTS["train"]]}
    assert manifest(**again) == manifest(**PARTS)


@pytest.mark.parametrize(
    "change",
    [{"imbalance": 11.0}, {"profile": "step"}, {"subset_seed": 1}, {"order": "1"}, {"holdout_per_class": 1}],
)
def test_the_manifest_changes_with_every_choice_of_the_subset(change: dict[str, Any]) -> None:
    chosen: dict[str, Any] = {"imbalance": 10.0, "profile": "exp", "subset_seed": 0}
    one, other = (select([100] * 5, **{**chosen, **c}) for c in ({}, change))
    assert manifest("x", {}, *one) != manifest("x", {}, *other)


def test_positions_within_classes_become_positions_in_the_data_set() -> None:
    labels = np.array([1, 0, 1, 2, 0, 1])
    index = to_index(labels, [np.array([1]), np.array([2, 0]), np.array([0])])
    assert index.tolist() == [4, 5, 0, 3]
    assert index.dtype == np.int64


def test_a_real_sources_subset_has_the_asked_counts(digits: Source) -> None:
    counts = digits.facts().train_counts
    train, _ = select(counts, imbalance=20, profile="exp", subset_seed=0)
    labels = np.asarray(digits.arrays().train_y)
    found = np.bincount(labels[to_index(labels, train)], minlength=10).tolist()
    assert found == long_tail_counts(counts, 20, "exp")


@pytest.mark.parametrize(
    ("profile", "classes", "heads"),
    [("step:0.2", 10, 2), ("step:0.8", 10, 8), ("step:0.5", 9, 4), ("step:0.05", 10, 1), ("step:0.999", 10, 9)],
)
def test_a_step_may_come_behind_any_share_of_the_classes(profile: str, classes: int, heads: int) -> None:
    counts = long_tail_counts([500] * classes, 100, profile)
    assert counts == [500] * heads + [5] * (classes - heads)


def test_a_step_in_the_middle_is_the_classic_one() -> None:
    for classes in (2, 5, 9, 10, 100):
        assert long_tail_counts([500] * classes, 50, "step:0.5") == long_tail_counts([500] * classes, 50, "step")


def test_a_head_of_so_many_images_gives_a_part_of_the_subset_of_the_whole() -> None:
    counts = long_tail_counts([500] * 10, 100, "exp:200")
    assert counts[0] == 200
    assert counts[-1] == 2
    whole, part = (select([500] * 10, imbalance=100, profile=p, subset_seed=0)[0] for p in ("exp", "exp:200"))
    assert all(np.array_equal(a[: len(b)], b) for a, b in zip(whole, part, strict=True))
    assert long_tail_counts([500] * 10, 100, "exp:500") == long_tail_counts([500] * 10, 100, "exp")


def test_a_head_that_the_data_have_not_is_refused_with_what_they_have() -> None:
    with pytest.raises(UserError, match=r"`profile: exp:501` wants 501 .* enough images for 500 at most"):
        long_tail_counts([500] * 10, 100, "exp:501")
