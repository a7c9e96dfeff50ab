"""The paired t test and Holm's correction: against scipy, a second way of writing Holm, and what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from ltbench.stats.paired import holm, paired_t
from ltbench.stats.reasons import MIN_SEEDS, Reason

points = st.floats(0, 100).map(lambda x: round(x, 4))
pairs = st.lists(st.tuples(points, points), min_size=MIN_SEEDS, max_size=10)
p_lists = st.lists(st.floats(0, 1), max_size=8)


def by_seed(values: Sequence[float]) -> dict[int, float]:
    return dict(enumerate(values))


def spread(both: list[tuple[float, float]]) -> bool:
    return bool(np.ptp(np.round([a - b for a, b in both], 10)) > 1e-3)


# -- the paired t test -------------------------------------------------------------------------------------------------


@given(pairs)
def test_p_is_scipys_for_paired_samples(both: list[tuple[float, float]]) -> None:
    assume(spread(both))
    a, b = zip(*both, strict=True)
    assert paired_t(by_seed(a), by_seed(b)).p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-6, abs=1e-12)


@given(pairs)
def test_the_interval_is_scipys(both: list[tuple[float, float]]) -> None:
    assume(spread(both))
    a, b = zip(*both, strict=True)
    found, low_high = paired_t(by_seed(a), by_seed(b)), stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.diff is not None
    assert found.half is not None
    assert (found.diff - found.half, found.diff + found.half) == pytest.approx(tuple(low_high), rel=1e-6, abs=1e-6)


@given(pairs)
def test_p_is_below_5_percent_exactly_where_the_interval_leaves_out_zero(both: list[tuple[float, float]]) -> None:
    assume(spread(both))
    found = paired_t(by_seed([a for a, _ in both]), by_seed([b for _, b in both]))
    assert found.p is not None
    assume(abs(found.p - 0.05) > 1e-6)
    assert (found.p < 0.05) == (abs(found.diff or 0.0) > (found.half or 0.0))


@given(pairs)
def test_turning_the_pair_round_turns_the_difference_round(both: list[tuple[float, float]]) -> None:
    a, b = by_seed([a for a, _ in both]), by_seed([b for _, b in both])
    there, back = paired_t(a, b), paired_t(b, a)
    assert back.diff == pytest.approx(-(there.diff or 0.0), abs=1e-9)
    assert (back.p, back.half, back.n) == (there.p, there.half, there.n)
    assert (back.wins, back.ties, back.losses) == (there.losses, there.ties, there.wins)


@given(pairs)
def test_every_seed_is_a_win_a_tie_or_a_loss(both: list[tuple[float, float]]) -> None:
    found = paired_t(by_seed([a for a, _ in both]), by_seed([b for _, b in both]))
    assert found.wins + found.ties + found.losses == found.n == len(both)
    assert found.wins == sum(round(a - b, 10) > 0 for a, b in both)


def test_only_the_seeds_that_both_have_are_compared() -> None:
    found = paired_t({0: 5.0, 1: 6.0, 2: 9.0, 7: 100.0}, {0: 1.0, 1: 3.0, 2: 5.0, 8: -100.0})
    assert (found.n, found.diff) == (3, pytest.approx(11 / 3))


def test_pairing_sees_what_unpaired_samples_hide() -> None:
    """The same seed is the same subset, start and order: what seeds share drops out."""
    shared = [10.0, 50.0, 90.0, 30.0]
    a = by_seed([s + 1 + e for s, e in zip(shared, [0.0, 0.1, -0.1, 0.05], strict=True)])
    found = paired_t(a, by_seed(shared))
    assert found.p is not None
    assert found.p < 0.001 < stats.ttest_ind(list(a.values()), shared).pvalue


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ({}, {}, Reason.too_few_seeds),
        ({0: 1.0, 1: 2.0, 2: 4.0}, {3: 1.0, 4: 2.0, 5: 3.0}, Reason.too_few_seeds),
        ({0: 1.0}, {0: 2.0}, Reason.too_few_seeds),
        ({0: 1.0, 1: 2.0}, {0: 0.0, 1: 0.5}, Reason.too_few_seeds),
        ({0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.0, 1: 1.0, 2: 2.0}, Reason.zero_variance),
        ({0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.0, 1: 2.0, 2: 3.0}, Reason.identical),
        ({0: 1.0}, {0: 1.0}, Reason.identical),
    ],
)
def test_where_there_is_no_p_there_is_a_reason(a: dict[int, float], b: dict[int, float], reason: Reason) -> None:
    found = paired_t(a, b)
    assert (found.p, found.reason) == (None, reason)
    assert reason.words


def test_two_seeds_have_a_difference_and_an_interval_but_no_p() -> None:
    found = paired_t({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0})
    assert (found.diff, found.p) == (2.0, None)
    assert found.half == pytest.approx(stats.t.ppf(0.975, 1) * 1.0)


def test_an_equal_difference_on_every_seed_has_no_interval() -> None:
    """scipy gives t = -1.6e15 and p = 7e-163 here."""
    assert paired_t(by_seed([2.0, 3.0, 4.0]), by_seed([1.0, 2.0, 3.0])).half is None


def test_float_noise_neither_breaks_a_tie_nor_fakes_a_spread() -> None:
    base = [0.1, 0.2, 0.3, 0.7]
    noisy = [0.1 + 1e-15, 0.2 - 3e-16, 0.1 + 0.2, 0.7]
    assert paired_t(by_seed(noisy), by_seed(base)).reason is Reason.identical
    shifted = [v + 0.1 for v in noisy]
    assert paired_t(by_seed(shifted), by_seed(base)).reason is Reason.zero_variance


def test_every_reason_has_words_of_its_own() -> None:
    assert len({reason.words for reason in Reason}) == len(Reason)


@pytest.mark.parametrize("n", [3, 5])
def test_at_5_percent_it_is_wrong_about_5_times_in_100(n: int) -> None:
    rng = np.random.default_rng(7 + n)
    a, b = rng.normal(0, 1, (2, 2000, n)).round(6).tolist()
    p_values = [paired_t(by_seed(x), by_seed(y)).p for x, y in zip(a, b, strict=True)]
    assert 0.037 <= np.mean([p is not None and p < 0.05 for p in p_values]) <= 0.063


# -- Holm --------------------------------------------------------------------------------------------------------------


def holm_by_closed_testing(p: Sequence[float]) -> list[float]:
    """Holm from its definition: Bonferroni on every set of hypotheses; a hypothesis falls with all sets it is in."""
    indices = range(len(p))
    sets = [s for size in range(1, len(p) + 1) for s in combinations(indices, size)]
    by_set = {s: min(1.0, len(s) * min(p[i] for i in s)) for s in sets}
    return [max(value for s, value in by_set.items() if i in s) for i in indices]


@given(p_lists)
def test_holm_is_closed_testing_with_bonferroni(p: list[float]) -> None:
    assert holm(p) == pytest.approx(holm_by_closed_testing(p), rel=1e-12)


@given(p_lists)
def test_adjusted_p_is_never_below_p_nor_above_bonferroni(p: list[float]) -> None:
    for raw, adjusted in zip(p, holm(p), strict=True):
        assert adjusted is not None
        assert raw <= adjusted <= min(1.0, len(p) * raw) + 1e-12


@given(p_lists)
def test_adjusting_keeps_the_order(p: list[float]) -> None:
    ordered = [adjusted for _, adjusted in sorted(zip(p, holm(p), strict=True), key=lambda pair: pair[0])]
    assert ordered == sorted(ordered, key=lambda x: x or 0.0)


@given(p_lists, st.randoms())
def test_the_order_of_the_tests_does_not_matter(p: list[float], random: np.random.RandomState) -> None:
    order = list(range(len(p)))
    random.shuffle(order)
    adjusted, shuffled = holm(p), holm([p[i] for i in order])
    assert [adjusted[i] for i in order] == shuffled


@given(p_lists)
def test_tests_that_could_not_be_made_do_not_count(p: list[float]) -> None:
    holes: list[float | None] = [x for value in p for x in (None, value)]
    adjusted = holm([*holes, None])
    assert adjusted[::2] == [None] * (len(p) + 1)
    assert adjusted[1::2] == holm(p)


def test_holm_on_the_textbook_example() -> None:
    """Holm 1979: 0.01 * 4, 0.015 * 3, 0.02 * 2 raised to the one before, 0.5."""
    assert holm([0.02, 0.01, 0.5, 0.015]) == pytest.approx([0.045, 0.04, 0.5, 0.045])


def test_no_tests_need_no_correction() -> None:
    assert holm([]) == []
    assert holm([None]) == [None]
    assert holm([0.03]) == [0.03]


def test_the_family_is_wrong_about_5_times_in_100() -> None:
    """Four methods that are all as good as the reference: how often is any of them called different?"""
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(600):
        reference, *others = rng.normal(0, 1, (5, 5)).round(6).tolist()
        adjusted = holm([paired_t(by_seed(o), by_seed(reference)).p for o in others])
        wrong += any(p is not None and p < 0.05 for p in adjusted)
    assert 0.015 <= wrong / 600 <= 0.065
