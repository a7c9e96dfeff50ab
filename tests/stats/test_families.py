"""What a whole board claims, where the truth is known: some false pair after Holm, simultaneous rank intervals, power.

Seeds and test images are both random, as they are where predictions are at hand. Bounds are nominal, with two standard
errors of the simulation.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, product

import numpy as np
import pytest

from ltbench.stats.behrens_fisher import tail
from ltbench.stats.fixed_datasets import rank_intervals
from tests.stats.boards import Array, Boards, Setting, draw, gaussian, right_or_wrong, significant

SHARES = [(0.75, 0.2), (0.95, 0.04), (0.05, 0.9), (0.3, 0.6), (0.9, 0.08)]
SOME = [
    Setting(5, 1, 3, (0.75, 0.2)), Setting(10, 1, 3, (0.95, 0.04)), Setting(10, 1, 3, (0.05, 0.9)),
    Setting(10, 1, 5, (0.75, 0.2)), Setting(10, 1, 10, (0.3, 0.6)), Setting(10, 2, 3, (0.75, 0.2)),
    Setting(5, 2, 5, (0.9, 0.08)), Setting(5, 4, 10, (0.3, 0.6)), Setting(10, 4, 3, (0.05, 0.9)),
    Setting(20, 1, 5, (0.95, 0.04)),
]  # fmt: skip
ALL = [Setting(m, t, s, x, images=100) for m, t, s, x in product((5, 10, 20), (1, 2, 4), (3, 5, 10), SHARES)]
HITS = [Setting(10, 1, 3, (0.05, 0.2), images=60), Setting(10, 1, 3, (0.05, 0.6)), Setting(10, 1, 5, (0.3, 0.3))]
BOARDS = 500


def error(boards: int = BOARDS) -> float:
    """Two standard errors of a share of 5 or 95 %."""
    return 2 * float(np.sqrt(0.05 * 0.95 / boards))


@cache
def null(setting: Setting, *, hits: bool = False) -> Boards:
    """Boards on which all methods are equally good."""
    return draw(setting, BOARDS, world=right_or_wrong if hits else gaussian)


def some(p: Array) -> float:
    """Share of boards on which Holm finds any pair different at 5 %."""
    return float(significant(p).any(axis=1).mean())


# -- false claims ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", SOME, ids=str)
def test_equally_good_methods_are_rarely_told_apart(setting: Setting) -> None:
    assert some(null(setting).p) <= 0.05 + error()


@pytest.mark.nightly
@pytest.mark.parametrize("setting", ALL, ids=str)
def test_equally_good_methods_are_rarely_told_apart_on_boards_of_any_size(setting: Setting) -> None:
    found = draw(setting, BOARDS)
    assert some(found.p) <= 0.05 + error()
    assert (found.p <= 0.05).mean() <= 0.05 + 0.01
    assert (np.abs(found.diff) <= found.half).mean() >= 0.95 - 0.01


@pytest.mark.parametrize("setting", HITS, ids=str)
def test_equally_good_methods_are_rarely_told_apart_by_hits(setting: Setting) -> None:
    """Whole images are counted: with 60 of them the 3 seeds of some pair have one difference on every third board."""
    found = null(setting, hits=True)
    assert some(found.p) <= 0.05 + error()


def test_one_t_with_the_degrees_of_freedom_of_both_claims_too_much() -> None:
    """Why there is `behrens_fisher`: 7 % for a single pair, half of all boards where Holm looks far into the tail."""
    setting = Setting(10, 1, 3, (0.95, 0.04))
    found = null(setting)
    total = found.seeds + found.images
    df = total**2 / (found.seeds**2 / found.df + found.images**2 / (setting.images - 1))
    p = tail(np.abs(found.diff), total, df, 0.0)
    assert (p <= 0.05).mean() < 0.08
    assert some(p) > 0.3


# -- rank intervals ----------------------------------------------------------------------------------------------------


def held(found: Boards, truth: Array) -> float:
    """Share of boards whose rank intervals all hold: a method's true ranks are those that breaking ties could give."""
    methods = len(truth)
    pairs = list(combinations(range(methods), 2))
    signs = np.where(significant(found.p), np.sign(found.diff), 0).astype(int)
    best = [1 + int((truth > v).sum()) for v in truth]
    worst = [methods - int((truth < v).sum()) for v in truth]
    names, hits = [str(i) for i in range(methods)], 0
    for row in signs.tolist():
        spans = rank_intervals(names, {(names[a], names[b]): sign for (a, b), sign in zip(pairs, row, strict=True)})
        hits += all(spans[n][0] <= b and w <= spans[n][1] for n, b, w in zip(names, best, worst, strict=True))
    return hits / len(signs)


@pytest.mark.parametrize("truth", ["all alike", "half alike", "close together", "one ahead"])
@pytest.mark.parametrize(
    "setting", [Setting(10, 1, 3, (0.95, 0.04)), Setting(10, 1, 5, (0.3, 0.6)), Setting(5, 2, 3, (0.75, 0.2))], ids=str
)
def test_rank_intervals_hold_all_true_ranks_at_once(setting: Setting, truth: str) -> None:
    m = setting.methods
    means = {
        "all alike": np.zeros(m), "half alike": np.maximum(np.arange(m) - m // 2, 0) * 6.0,
        "close together": np.linspace(0, 3, m), "one ahead": np.eye(m)[0] * 20,
    }[truth]  # fmt: skip
    assert held(draw(setting, BOARDS, means), means) >= 0.95 - error()


# -- power -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "lead"),
    [(Setting(5, 1, 5, (0.95, 0.0)), 8), (Setting(5, 1, 10, (0.1, 0.0)), 5), (Setting(5, 4, 3, (0.5, 0.0)), 4)],
    ids=str,
)
def test_where_images_carry_no_noise_power_is_that_of_seeds_alone(setting: Setting, lead: float) -> None:
    found = draw(setting, BOARDS, np.eye(setting.methods)[0] * lead)
    true = slice(setting.methods - 1)
    ours, alone = (float(significant(p)[:, true].mean()) for p in (found.p, found.p_seeds_only))
    assert 0.4 < alone < 0.95, "neither hopeless nor certain"
    assert ours >= alone - np.sqrt(alone * (1 - alone) / BOARDS)


def test_where_images_carry_noise_seeds_alone_find_more_because_they_err() -> None:
    setting = Setting(10, 1, 10, (0.3, 0.6))
    assert some(null(setting).p_seeds_only) > 0.25
    lead = draw(setting, BOARDS, np.eye(10)[0] * 8)
    ours = float(significant(lead.p)[:, :9].mean())
    assert ours > 0.8, "a clear lead is found all the same"


@pytest.mark.parametrize("setting", SOME, ids=str)
def test_no_pair_is_surer_than_by_seeds_or_by_images_alone(setting: Setting) -> None:
    found = null(setting)
    assert (found.p >= found.p_seeds_only * (1 - 1e-12)).all()
    assert (found.p >= tail(np.abs(found.diff), 0.0, 1.0, found.images) * (1 - 1e-12))[found.images > 0].all()
