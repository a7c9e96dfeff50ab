"""Inputs without spread, without enough of something, or with gaps: a reason, no number, no warning (pytest turns
warnings into errors here)."""

from __future__ import annotations

import dataclasses
import math
from itertools import combinations

import numpy as np
import pytest

from ltbench.stats.aggregate import class_level, iqm, performance_profile, probability_of_improvement
from ltbench.stats.crossed import crossed_variance, mcnemar, sign_flip
from ltbench.stats.fixed_datasets import ByDataset, Verdict, rank_intervals, scope_a, verdict
from ltbench.stats.intervals import mean_interval
from ltbench.stats.minimum import min_n, seeds_to_resolve
from ltbench.stats.paired import holm, paired_t
from ltbench.stats.random_datasets import bayes_signed_rank, friedman, nemenyi, ranks, wilcoxon_pairs
from ltbench.stats.reasons import Reason

DYADIC = [0.5, 2.0, -3.25]
"""Constants whose sums and means are exact."""


def by_dataset(values: np.ndarray) -> ByDataset:
    return {f"d{t}": {s: float(v) for s, v in enumerate(row)} for t, row in enumerate(values)}


def one_ulp(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Every value moved by one unit in the last place, up or down at random."""
    up = np.random.default_rng(seed).random(values.shape) < 0.5
    return np.where(up, np.nextafter(values, np.inf), np.nextafter(values, -np.inf))


def numbers(found: object) -> list[float]:
    """All floats of a result, however deep."""
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        return numbers([getattr(found, f.name) for f in dataclasses.fields(found)])
    if isinstance(found, dict):
        return numbers(list(found.values()))
    if isinstance(found, list | tuple):
        return [x for part in found for x in numbers(part)]
    return [float(found)] if isinstance(found, int | float) and not isinstance(found, bool) else []


SCORES = np.round(np.random.default_rng(0).uniform(40, 60, (4, 5)), 2)


# -- no number is ever NaN ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datasets", [1, 2, 6, 9])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("kind", ["random", "all equal", "few values", "one ulp", "constant difference"])
def test_no_function_answers_nan_or_infinity(kind: str, datasets: int, seeds: int) -> None:
    """Three methods; the numbers plain floats, so that JSON can carry them."""
    x = np.random.default_rng(datasets * 10 + seeds).uniform(40, 60, (3, datasets, seeds))
    if kind == "few values":
        x = np.round(x, -1)
    elif kind != "random":
        x = np.repeat(x[:1] if kind != "all equal" else np.full_like(x[:1], 0.7), 3, axis=0)
        x = x + np.arange(3)[:, None, None] / 2 if kind == "constant difference" else x
        x = one_ulp(x) if kind == "one ulp" else x
    means, runs = x.mean(axis=2).T, {f"d{t}": x[:, t] for t in range(datasets)}
    found: list[object] = [friedman(means), nemenyi(means), wilcoxon_pairs(means), [mean_interval(r) for r in x[0]]]
    for a, b in combinations(range(3), 2):
        whole = scope_a(by_dataset(x[a]), by_dataset(x[b]))
        one = paired_t(dict(enumerate(x[a, 0].tolist())), dict(enumerate(x[b, 0].tolist())))
        assert (whole.p is None) == (whole.reason is not None)
        assert (one.p is None) == (one.reason is not None)
        assert verdict(whole, holm([whole.p])[0], 0.5) is Verdict.undecided or whole.p is not None
        found += [whole, one, bayes_signed_rank(means[:, a] - means[:, b], 0.5), sign_flip(x[a, 0] - x[b, 0])]
        found += [
            probability_of_improvement({t: r[[a]] for t, r in runs.items()}, {t: r[[b]] for t, r in runs.items()})
        ]
    if seeds < 5 or datasets < 3:  # the bootstrap takes half a second and has tests of its own
        found += iqm(runs)
    assert performance_profile(runs, np.array([45.0])).shape == (3, 1)
    values = numbers(found)
    assert values
    assert all(math.isfinite(v) for v in values)


@pytest.mark.parametrize("seed", range(20))
def test_random_hits_give_finite_crossed_variances(seed: int) -> None:
    """Few images and few seeds: often whole rows, columns or components without spread."""
    rng = np.random.default_rng(seed)
    for _ in range(50):
        d = rng.integers(-1, 2, (int(rng.integers(1, 4)), int(rng.integers(2, 5)))).astype(float)
        found = crossed_variance(d)
        assert all(math.isfinite(v) for v in numbers(found))
        if found.variance is None:
            assert found.reason in (Reason.zero_variance, Reason.identical)
            assert (found.df, found.half, found.shares) == (None, None, None)
        elif found.shares is not None:
            assert sum(found.shares) == pytest.approx(1)


# -- all equal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [False, True])
def test_equal_methods_are_identical_also_up_to_float_noise(noise: bool) -> None:
    other = one_ulp(SCORES) if noise else SCORES
    assert noise == bool((other != SCORES).any())
    whole = scope_a(by_dataset(other), by_dataset(SCORES))
    assert (whole.diff, whole.se, whole.half, whole.p, whole.reason) == (0, None, None, None, Reason.identical)
    one = paired_t(dict(enumerate(other[0])), dict(enumerate(SCORES[0])))
    assert (one.diff, one.half, one.p, one.reason) == (0, 0, None, Reason.identical)
    assert (one.wins, one.ties, one.losses) == (0, 5, 0)
    assert sign_flip(np.resize(other - SCORES, 8)) == (None, Reason.identical)
    assert probability_of_improvement({"d": other[:1]}, {"d": SCORES[:1]}) == 0.5


@pytest.mark.parametrize("noise", [False, True])
def test_methods_tied_on_every_data_set_are_all_tied(noise: bool) -> None:
    means = np.repeat(SCORES.reshape(-1, 1)[:9], 3, axis=1)
    means = one_ulp(means) if noise else means
    assert (ranks(means) == 2).all()
    assert (friedman(means).p, friedman(means).reason) == (None, Reason.all_tied)
    assert friedman(means).mean_ranks == (2, 2, 2)
    for pair in wilcoxon_pairs(means):
        assert (pair.p, pair.p_holm, pair.reason) == (None, None, Reason.identical)
    assert bayes_signed_rank(means[:, 0] - means[:, 1], 0.5).within == 1


def test_a_pair_that_is_identical_leaves_the_family_of_the_others() -> None:
    x = np.random.default_rng(1).normal(size=(12, 3))
    x[:, 1] = x[:, 0]
    same, *others = wilcoxon_pairs(x)
    assert (same.p, same.reason) == (None, Reason.identical)
    assert [o.p_holm for o in others] == holm([o.p for o in others])
    assert others[0].p_holm == pytest.approx(min(1, 2 * (others[0].p or 0)))


def test_float_noise_changes_no_test() -> None:
    """Values on a coarse grid, so that there are real ties that noise could break."""
    rng = np.random.default_rng(2)
    a, b = np.round(rng.normal(50, 0.3, (2, 9, 6)), 1)
    noisy = one_ulp(a, 3), one_ulp(b, 4)
    clean = np.round(a - b, 10)
    whole, shaken = scope_a(by_dataset(a), by_dataset(b)), scope_a(by_dataset(noisy[0]), by_dataset(noisy[1]))
    assert shaken.p == pytest.approx(whole.p, rel=1e-9)
    for t in range(9):
        first = paired_t(dict(enumerate(a[t])), dict(enumerate(b[t])))
        second = paired_t(dict(enumerate(noisy[0][t])), dict(enumerate(noisy[1][t])))
        assert (second.p, second.wins, second.ties) == (first.p, first.wins, first.ties)
        assert sign_flip(noisy[0][t] - noisy[1][t]) == sign_flip(clean[t])
    means, shaken_means = np.stack([a[:, 0], b[:, 0]], axis=1), np.stack([noisy[0][:, 0], noisy[1][:, 0]], axis=1)
    assert wilcoxon_pairs(shaken_means) == wilcoxon_pairs(means)
    three = np.round(rng.normal(50, 0.3, (6, 3)), 1)
    assert friedman(one_ulp(three)) == friedman(three)


# -- no spread ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", DYADIC)
@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_a_constant_difference_has_no_spread_to_test_against(shift: float, seeds: int) -> None:
    b = np.round(np.random.default_rng(5).uniform(40, 60, (3, seeds)), 2)
    whole = scope_a(by_dataset(b + shift), by_dataset(b))
    assert (whole.diff, whole.se, whole.p, whole.reason) == (pytest.approx(shift), None, None, Reason.zero_variance)
    assert whole.interval_half(0.9) is None
    assert verdict(whole, whole.p, 0.5) is Verdict.undecided
    one = paired_t(dict(enumerate(b[0] + shift)), dict(enumerate(b[0])))
    assert (one.diff, one.half, one.p, one.reason) == (pytest.approx(shift), None, None, Reason.zero_variance)


@pytest.mark.parametrize("tenths", range(1, 40))
def test_paired_t_knows_a_constant_difference_whose_mean_is_inexact(tenths: int) -> None:
    """The mean of three 0.1 is not 0.1: a spread computed from it is float noise."""
    found = paired_t(dict.fromkeys(range(3), tenths / 10), dict.fromkeys(range(3), 0.0))
    assert (found.half, found.p, found.reason) == (None, None, Reason.zero_variance)


def test_one_constant_data_set_among_others_is_no_obstacle() -> None:
    d = np.array([[0.5, 0.5, 0.5], [0.2, 0.9, 0.4]])
    found = scope_a(by_dataset(d), by_dataset(np.zeros((2, 3))))
    assert found.reason is None
    assert found.df == pytest.approx(2)


def test_opposite_constant_differences_are_no_spread_and_not_identical() -> None:
    found = scope_a(by_dataset(np.array([[2.0] * 3, [-2.0] * 3])), by_dataset(np.zeros((2, 3))))
    assert (found.diff, found.p, found.reason) == (0, None, Reason.zero_variance)


def test_predictions_without_spread() -> None:
    assert crossed_variance(np.zeros((3, 8))).reason is Reason.identical
    assert crossed_variance(np.ones((3, 8))).reason is Reason.zero_variance
    every_seed_alike = crossed_variance(np.tile([1.0, 0, 0, -1, 0, 1], (4, 1)))
    assert every_seed_alike.shares == pytest.approx((0, 1, 0))
    every_image_alike = crossed_variance(np.tile([[1.0], [0], [1]], (1, 6)))
    assert every_image_alike.shares == pytest.approx((1, 0, 0))


def test_values_without_spread() -> None:
    assert mean_interval([0.5, 0.5, 0.5]).half == 0
    (found,) = iqm({"d": np.full((1, 4), 0.5)})
    assert (found.value, found.low, found.high, found.reason) == (0.5, None, None, Reason.too_few_seeds)
    assert seeds_to_resolve(0.5, 0.0) == 3
    assert seeds_to_resolve(0.0, 0.0) is None


# -- too few -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datasets", [1, 3])
def test_one_seed_has_a_difference_only(datasets: int) -> None:
    a, b = np.random.default_rng(6).normal(size=(2, datasets, 1))
    whole = scope_a(by_dataset(a), by_dataset(b))
    assert (whole.se, whole.df, whole.half, whole.p, whole.reason) == (None, None, None, None, Reason.too_few_seeds)
    assert whole.diff == pytest.approx((a - b).mean(), abs=1e-9)
    one = paired_t({0: 2.0}, {0: 1.0})
    assert (one.diff, one.half, one.p, one.reason) == (1, None, None, Reason.too_few_seeds)
    assert sign_flip(np.array([1.0])) == (None, Reason.too_few_seeds)
    interval = mean_interval([3.0])
    assert (interval.sd, interval.half) == (None, None)
    assert crossed_variance(np.array([[1.0, 0, 1]])).reason is Reason.too_few_seeds


def test_one_seed_on_one_data_set_silences_the_rest() -> None:
    a = {"many": dict.fromkeys(range(9), 1.0), "one": {0: 2.0}}
    b = {"many": {s: s / 7 for s in range(9)}, "one": {0: 1.0}}
    assert (scope_a(a, b).p, scope_a(a, b).reason, scope_a(a, b).seeds) == (None, Reason.too_few_seeds, 1)


def test_one_data_set_speaks_of_itself_only() -> None:
    x = np.random.default_rng(7).normal(size=(1, 4))
    assert friedman(x).reason is Reason.too_few_datasets
    assert nemenyi(x) == (None, Reason.too_few_datasets)
    assert {p.reason for p in wilcoxon_pairs(x)} == {Reason.too_few_datasets}
    assert bayes_signed_rank(x[:, 0] - x[:, 1], 0.5).reason is Reason.too_few_datasets
    whole = scope_a(by_dataset(np.array([[1.0, 2, 4, 4]])), by_dataset(np.zeros((1, 4))))
    assert whole.reason is None


def test_one_method() -> None:
    x = np.random.default_rng(8).normal(size=(8, 1))
    assert (friedman(x).p, friedman(x).mean_ranks, friedman(x).reason) == (None, (1.0,), Reason.too_few_methods)
    assert rank_intervals(["only"], {}) == {"only": (1, 1)}
    assert holm([]) == []


def test_two_methods() -> None:
    x = np.random.default_rng(9).normal(size=(8, 2))
    assert friedman(x).reason is Reason.too_few_methods
    (pair,) = wilcoxon_pairs(x)
    assert pair.p == pair.p_holm
    assert pair.needs == 6
    assert nemenyi(x)[0] is not None
    assert rank_intervals(["a", "b"], {("a", "b"): 0}) == {"a": (1, 2), "b": (1, 2)}
    assert rank_intervals(["a", "b"], {("a", "b"): -1}) == {"a": (2, 2), "b": (1, 1)}


def test_five_classes_or_discordant_images_are_too_few() -> None:
    assert class_level(np.arange(5.0))[1:] == (None, Reason.too_few_classes)
    same = np.array([True, False, True])
    assert (mcnemar(same, same).p, mcnemar(same, same).reason) == (None, Reason.too_few_discordant)
    assert mcnemar(same[:0], same[:0]).reason is Reason.too_few_discordant


# -- missing cells -----------------------------------------------------------------------------------------------------


def test_a_missing_data_set_is_incomplete_from_either_side() -> None:
    a = by_dataset(SCORES)
    part = {t: v for t, v in a.items() if t != "d2"}
    for found in (scope_a(a, part), scope_a(part, a), scope_a(a, {}), scope_a({}, {})):
        assert (found.diff, found.se, found.half, found.p, found.reason) == (None, None, None, None, Reason.incomplete)
        assert verdict(found, None, 0.5) is Verdict.undecided


def test_a_data_set_without_a_common_seed_is_incomplete() -> None:
    a, b = by_dataset(SCORES), by_dataset(SCORES + 1)
    b = {**b, "d1": {s + 100: v for s, v in b["d1"].items()}}
    assert scope_a(a, b).reason is Reason.incomplete
    assert scope_a(a, {**b, "d1": {}}).reason is Reason.incomplete


def test_missing_seeds_leave_the_common_ones() -> None:
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(2, 2, 6))
    ragged = {"d0": {s: float(a[0, s]) for s in (0, 2, 3, 5)}, "d1": {s: float(a[1, s]) for s in (1, 2, 4)}}
    found = scope_a(ragged, by_dataset(b))
    assert found.seeds == 3
    expected = np.mean([(a[0] - b[0])[[0, 2, 3, 5]].mean(), (a[1] - b[1])[[1, 2, 4]].mean()])
    assert found.diff == pytest.approx(expected, abs=1e-9)
    assert found.reason is None


def test_two_common_seeds_are_too_few_for_p_though_each_side_has_four() -> None:
    a, b = {0: 1.0, 1: 2.0, 2: 4.0, 3: 3.0}, {2: 1.0, 3: 2.5, 4: 0.0, 5: 0.0}
    assert (paired_t(a, b).p, paired_t(a, b).n, paired_t(a, b).reason) == (None, 2, Reason.too_few_seeds)
    assert (scope_a({"d": a}, {"d": b}).p, scope_a({"d": a}, {"d": b}).seeds) == (None, 2)


def test_untested_pairs_do_not_count_in_holms_family() -> None:
    assert holm([None, 0.01, None, 0.04]) == [None, 0.02, None, 0.04]
    assert holm([None, None]) == [None, None]


def test_every_floor_is_a_number_of_things_one_can_have() -> None:
    for test in ("paired_t", "scope_a", "sign_flip", "wilcoxon", "mann_whitney", "mcnemar", "bayes_signed_rank"):
        assert min_n(test) >= 3
    for methods in (2, 3, 10):
        assert min_n("friedman", methods) >= 5
        assert min_n("nemenyi", methods) >= 2


def test_a_constant_difference_is_no_spread_however_inexact_its_mean() -> None:
    a, b = {0: 70.1, 1: 71.3, 2: 69.9}, {0: 70.0, 1: 71.2, 2: 69.8}
    assert scope_a({"d": a}, {"d": b}).reason is Reason.zero_variance
    assert paired_t(a, b).reason is Reason.zero_variance


def test_noise_on_the_edge_of_rounding_is_no_spread() -> None:
    a = {0: 50.01220703125, 1: float(np.nextafter(50.01220703125, 99)), 2: 50.01220703125}
    assert paired_t(a, dict.fromkeys(a, 50.0)).reason is Reason.zero_variance


def test_three_seeds_on_one_data_set_are_enough_though_the_degrees_of_freedom_are_inexact() -> None:
    d = dict(enumerate([-0.3116346497492266, -0.04092141140807039, 1.2254772905771096]))
    assert scope_a({"d": d}, {"d": dict.fromkeys(d, 0.0)}).p is not None


@pytest.mark.parametrize("value", [0.1, 1 / 3])
def test_equal_contributions_of_images_are_no_variance(value: float) -> None:
    assert crossed_variance(np.full((3, 7), value)).reason is Reason.zero_variance


@pytest.mark.parametrize("shape", [(1, 7), (3, 7)])
def test_equal_predictions_are_identical(shape: tuple[int, int]) -> None:
    found = crossed_variance(np.zeros(shape))
    assert (found.half, found.shares, found.reason) == (None, None, Reason.identical)


def test_one_image_has_no_variance() -> None:
    assert crossed_variance(np.ones((3, 1))).reason is Reason.too_few_images


def test_a_pure_interaction_is_not_identical() -> None:
    assert crossed_variance(np.array([[1.0, -1.0], [-1.0, 1.0]])).reason is Reason.zero_variance


def test_the_posterior_is_not_moved_by_float_noise() -> None:
    exact, noisy = (bayes_signed_rank(np.full(8, x), rope=0.3) for x in (0.3, 0.1 + 0.2))
    assert exact == noisy


@pytest.mark.parametrize("test", ["friedman", "nemenyi"])
def test_nothing_to_compare_is_refused(test: str) -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        min_n(test, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing to compare"):
        min_n("wilcoxon", 0)


def test_equal_gains_of_classes_have_no_interval() -> None:
    assert class_level(np.full(6, 0.1))[1:] == (None, Reason.zero_variance)
    with pytest.raises(ValueError, match="no classes"):
        class_level(np.empty(0))
