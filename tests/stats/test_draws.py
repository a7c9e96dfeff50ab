"""Draws of the training images as a second random factor, crossed with seeds: the numbers, and what a board claims."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from ltbench.stats.allpairs import AllPairs, all_pairs
from ltbench.stats.fixed_datasets import ByDataset, ByDraw, scope_a
from ltbench.stats.paired import holm_array

Floats = NDArray[np.float64]
BOARDS = 400


def told(x: Floats) -> tuple[list[ByDataset], list[ByDraw]]:
    """x: (methods, draws, seeds) -> values averaged over draws, and by draw."""
    by_draw = [{"d": {str(r): dict(enumerate(row)) for r, row in enumerate(m)}} for m in x]
    return [{"d": dict(enumerate(m.mean(axis=0)))} for m in x], by_draw  # type: ignore[return-value]


def pairs(x: Floats) -> AllPairs:
    values, draws = told(x)
    return all_pairs(values, None, draws)


def board(rng: np.random.Generator, methods: int, draws: int, seeds: int, sds: tuple[float, float, float]) -> Floats:
    """Equally good methods; standard deviations of draws, of seeds, and of both together."""
    of_draws, of_seeds, both = sds
    return np.asarray(
        of_draws * rng.normal(size=(methods, draws, 1)) + of_seeds * rng.normal(size=(methods, 1, seeds))
        + both * rng.normal(size=(methods, draws, seeds))
    )  # fmt: skip


def test_the_variance_is_that_of_both_ways_of_averaging() -> None:
    """By hand: variance of the draws' means over R, plus variance of the seeds' means over S, with the smaller df."""
    x = board(np.random.default_rng(0), 2, 4, 3, (1.0, 0.5, 0.3))
    d = x[0] - x[1]
    test = pairs(x).test(0)
    assert test.se == pytest.approx(np.sqrt(d.mean(axis=1).var(ddof=1) / 4 + d.mean(axis=0).var(ddof=1) / 3))
    assert test.df == 2
    assert test.diff == pytest.approx(d.mean())


@pytest.mark.parametrize("ragged", [False, True])
def test_all_pairs_are_those_one_by_one(ragged: bool) -> None:
    values, draws = told(board(np.random.default_rng(1), 5, 3, 4, (1.0, 0.5, 0.3)))
    if ragged:  # one method lacks a seed
        values[0] = {"d": {s: v for s, v in values[0]["d"].items() if s}}
        draws[0] = {"d": {r: {s: v for s, v in x.items() if s} for r, x in draws[0]["d"].items()}}
    found = all_pairs(values, None, draws)
    for i, (a, b) in enumerate(combinations(range(5), 2)):
        alone = scope_a(values[a], values[b], None, (draws[a], draws[b]))
        one = found.test(i)
        for name in ("diff", "se", "df", "half", "p", "seeds"):
            assert getattr(one, name) == pytest.approx(getattr(alone, name)), name


def test_data_sets_that_were_drawn_once_are_as_before() -> None:
    x = board(np.random.default_rng(2), 4, 3, 5, (1.0, 0.5, 0.3))
    values, draws = told(x)
    both = [{**v, "e": dict(enumerate(m[0]))} for v, m in zip(values, x, strict=True)]
    alone = scope_a({"e": both[0]["e"]}, {"e": both[1]["e"]})
    assert scope_a({"e": both[0]["e"]}, {"e": both[1]["e"]}, None, (draws[0], draws[1])) == alone
    whole = all_pairs(both, None, draws).test(0)
    one = scope_a(both[0], both[1], None, (draws[0], draws[1]))
    assert (whole.se, whole.df) == (pytest.approx(one.se), pytest.approx(one.df))


SDS = [(1.0, 0.3, 0.3), (1.0, 0.0, 0.3), (0.0, 1.0, 0.3), (0.5, 0.5, 0.5), (0.0, 0.0, 1.0)]


@pytest.mark.parametrize("sds", SDS, ids=str)
@pytest.mark.parametrize(("draws", "seeds"), [(3, 3), (3, 5), (5, 3)])
def test_equally_good_methods_are_rarely_told_apart(draws: int, seeds: int, sds: tuple[float, float, float]) -> None:
    """Some false pair among 6 methods after Holm, on at most 5 % of boards and two standard errors."""
    rng = np.random.default_rng(7)
    false = np.mean([(holm_array(pairs(board(rng, 6, draws, seeds, sds)).p) < 0.05).any() for _ in range(BOARDS)])
    assert false <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / BOARDS)


def test_seeds_alone_claim_too_much_where_draws_differ() -> None:
    """Why the draw is in the interval: over one draw's seeds alone, methods that other draws would reorder differ."""
    rng = np.random.default_rng(8)
    false = [
        (holm_array(all_pairs([{"d": dict(enumerate(m[0]))} for m in board(rng, 6, 3, 5, SDS[0])]).p) < 0.05).any()
        for _ in range(100)
    ]
    assert np.mean(false) > 0.5


@pytest.mark.parametrize("sds", SDS, ids=str)
def test_an_interval_covers_the_truth(sds: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(9)
    found = [pairs(board(rng, 2, 3, 4, sds)).test(0) for _ in range(BOARDS)]
    covered = np.mean([abs(t.diff or 0.0) <= (t.half or 0.0) for t in found])
    assert covered >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / BOARDS)


def test_a_large_difference_is_found() -> None:
    rng = np.random.default_rng(10)
    hits = []
    for _ in range(100):
        x = board(rng, 5, 5, 5, (0.5, 0.5, 0.3))
        x[0] += 4.0
        hits.append((holm_array(pairs(x).p)[:4] < 0.05).all())
    assert np.mean(hits) > 0.8
