"""Looks at results while they come: when, at which level, and what a family of comparisons claims over all of them."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from ltbench.stats.fixed_datasets import rank_intervals
from ltbench.stats.looks import ALPHA, GROWTH, Looks, expected_seeds, holm_over_looks, usual_looks
from ltbench.stats.paired import holm_array
from tests.stats.boards import Array, Boards, Setting, draw_looks, significant

FIVE = Looks((3, 5, 8, 13, 20))
BOARDS = 300


def error(boards: int = BOARDS) -> float:
    """Two standard errors of a share of 5 %."""
    return 2 * float(np.sqrt(0.05 * 0.95 / boards))


# -- when, and at which level ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "looks"),
    [(3, 20, (3, 5, 8, 13, 20)), (5, 20, (5, 8, 13, 20)), (3, 14, (3, 5, 8, 14)), (3, 4, (3, 4)), (3, 3, (3,)),
     (10, 12, (10, 12))],
)  # fmt: skip
def test_each_look_has_sixteen_tenths_of_the_seeds_of_the_one_before(
    first: int, last: int, looks: tuple[int, ...]
) -> None:
    assert usual_looks(first, last) == looks


def test_looks_rise() -> None:
    for seeds in ((), (0, 3), (3, 3), (5, 3)):
        with pytest.raises(ValueError, match="rise"):
            Looks(seeds)
    with pytest.raises(ValueError, match="looks from 5 to 3"):
        usual_looks(5, 3)


@pytest.mark.parametrize("looks", [FIVE, Looks((3,)), Looks((4, 100))])
def test_every_seed_spends_the_same_share_of_five_percent(looks: Looks) -> None:
    assert sum(looks.levels) == pytest.approx(ALPHA)
    assert np.cumsum(looks.levels) == pytest.approx(ALPHA * np.array(looks.seeds) / looks.seeds[-1])


# -- Holm over looks ---------------------------------------------------------------------------------------------------


def test_one_look_is_holm() -> None:
    p = np.random.default_rng(0).uniform(0, 0.1, 20)
    claims = holm_over_looks(p[None], np.ones((1, 20)), Looks((5,)))
    assert claims.p[0] == pytest.approx(holm_array(p))
    assert (claims.sign[0] != 0).tolist() == (holm_array(p) < ALPHA).tolist()


def test_a_claim_stays_and_leaves_its_share_to_the_others() -> None:
    """The second is tested once the first is claimed: 0.011 is below the level 0.0125, half of it is not."""
    looks = Looks((15, 20))
    p = np.array([[0.001, 0.9], [0.9, 0.011]])
    claims = holm_over_looks(p, np.ones((2, 2)), looks)
    assert claims.sign.tolist() == [[1, 0], [1, 1]]
    assert claims.p[1, 0] == claims.p[0, 0] == pytest.approx(2 * 0.001 * ALPHA / looks.levels[0])
    alone = holm_over_looks(np.array([[0.5, 0.9], [0.9, 0.011]]), np.ones((2, 2)), looks)
    assert alone.sign[1].tolist() == [0, 0]


def test_what_is_not_tested_at_a_look_stays_in_the_family() -> None:
    p = np.array([[0.002, np.nan, np.nan]])
    claims = holm_over_looks(p, np.ones((1, 3)), Looks((5,)))
    assert claims.p[0, 0] == pytest.approx(3 * 0.002)
    assert np.isnan(claims.p[0, 1:]).all()


def test_a_claim_whose_difference_turns_round_is_taken_back() -> None:
    p, diff = np.array([[0.0001], [0.6], [0.00001]]), np.array([[1.0], [-0.1], [-1.0]])
    claims = holm_over_looks(p, diff, Looks((3, 5, 8)))
    assert claims.sign[:, 0].tolist() == [1, 0, -1]


def test_p_of_a_row_that_has_stopped_is_that_of_its_last_look() -> None:
    p = np.array([[0.004, 0.001], [np.nan, 0.001], [np.nan, 0.001]])
    claims = holm_over_looks(p, np.ones((3, 2)), Looks((3, 5, 8)))
    assert claims.p[0, 0] == claims.p[2, 0]


# -- level and power, on whole boards ----------------------------------------------------------------------------------

SETTINGS = [
    Setting(5, 1, 20, (0.75, 0.2), images=60), Setting(10, 1, 20, (0.95, 0.04), images=60),
    Setting(10, 1, 20, (0.05, 0.9), images=60), Setting(5, 2, 20, (0.3, 0.6), images=60),
]  # fmt: skip


@cache
def looked_at(setting: Setting) -> list[Boards]:
    """Boards on which all methods are equally good, at every look."""
    return draw_looks(setting, FIVE.seeds, BOARDS)


def claimed(found: list[Boards], after: int = -1) -> Array:
    """(boards, pairs): sign of what is claimed after a look, the last by default."""
    p, diff = (np.array([getattr(f, name) for f in found]) for name in ("p", "diff"))
    return np.array([holm_over_looks(p[:, b], diff[:, b], FIVE).sign[after] for b in range(p.shape[1])])


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_equally_good_methods_are_rarely_told_apart_at_any_look(setting: Setting) -> None:
    """Rows that stop early can only lower this: a pair that is not tested is not claimed."""
    assert (claimed(looked_at(setting)) != 0).any(axis=1).mean() <= 0.05 + error()


def test_looking_five_times_at_five_percent_claims_too_much() -> None:
    """Why looks have levels."""
    found = looked_at(SETTINGS[0])
    some = np.any([significant(f.p).any(axis=1) for f in found], axis=0)
    assert some.mean() > 0.08


def test_a_clear_lead_is_found_at_the_first_look_and_a_small_one_by_the_last() -> None:
    setting = Setting(5, 1, 20, (0.95, 0.0), images=60)
    truth = np.array([400.0, 0, 0, 0, 0])
    first = claimed(draw_looks(setting, FIVE.seeds, 100, truth), after=0)
    assert (first[:, :4] == 1).mean() > 0.9
    close = draw_looks(setting, FIVE.seeds, 100, np.array([5.0, 0, 0, 0, 0]))
    ours, fixed = (claimed(close) == 1)[:, :4].mean(), significant(close[-1].p)[:, :4].mean()
    assert 0.5 < fixed < 0.99, "neither hopeless nor certain"
    assert ours > fixed - 0.15


@pytest.mark.parametrize("truth", [(0, 0, 0, 6, 6), (0, 1, 2, 3, 4), (0, 0, 0, 0, 30)], ids=["half", "close", "ahead"])
def test_rank_intervals_hold_all_true_ranks_at_once_after_all_looks(truth: tuple[float, ...]) -> None:
    means = np.array(truth, dtype=float)
    signs = claimed(draw_looks(Setting(5, 1, 20, (0.75, 0.2), images=60), FIVE.seeds, BOARDS, means))
    names, pairs = "abcde", list(combinations(range(5), 2))
    best, worst = ([1 + int((means > v).sum()) for v in means], [5 - int((means < v).sum()) for v in means])
    hits = 0
    for row in signs.astype(int).tolist():
        spans = rank_intervals(names, {(names[a], names[b]): s for (a, b), s in zip(pairs, row, strict=True)})
        hits += all(spans[n][0] <= b and w <= spans[n][1] for n, b, w in zip(names, best, worst, strict=True))
    assert hits / len(signs) >= 0.95 - error()


def test_the_documentation_says_what_is_so() -> None:
    text = " ".join((Path(__file__).parents[2] / "docs" / "leaderboard.md").read_text(encoding="utf-8").split())
    said = text.split("## Seeds until it is resolved")[1].split("## The draw")[0]
    assert usual_looks(3, 20) == FIVE.seeds
    assert "Looks come at 3, 5, 8, 13 and 20 seeds: each has 1.6 times the seeds of the one before." in said
    assert GROWTH == 1.6
    *first, last = (f"{level:.4g}" for level in FIVE.levels)
    assert f"With looks at 3, 5, 8, 13 and 20 seeds the levels are {', '.join(first)} and {last}." in said
    assert f"{100 * (1 - FIVE.levels[0]):.2f} % at the first" in said


# -- seeds to expect ---------------------------------------------------------------------------------------------------


def test_seeds_to_expect_lie_between_what_is_due_and_the_end() -> None:
    for all_pairs in (False, True):
        expected = [expected_seeds(FIVE, 6, due, all_pairs=all_pairs) for due in FIVE.seeds]
        assert all(due <= n <= 20 for due, n in zip(FIVE.seeds, expected, strict=True))
        assert expected == sorted(expected)
    reference = expected_seeds(FIVE, 6, 3, all_pairs=False, reference=True)
    assert reference > expected_seeds(FIVE, 6, 3, all_pairs=False), "it runs as long as any other"
    assert expected_seeds(FIVE, 1, 3, all_pairs=True) == 3
