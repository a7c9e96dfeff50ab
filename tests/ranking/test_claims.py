"""What else may be said of a table, and from how many data sets and seeds on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata, trim_mean, wilcoxon

from ltbench.page.words import in_a_sentence, verdict
from ltbench.ranking.board import Leaderboard, Row, ScopeB
from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.claims import MOST_METHODS, THRESHOLDS
from ltbench.ranking.formats.notes import notes
from ltbench.spec import Result
from ltbench.stats.paired import holm
from ltbench.stats.reasons import Reason
from tests.ranking.test_build import grid, result

MEANS = {"ce": 50.0, "good": 60.0, "bad": 40.0}


def sets(n: int) -> dict[str, list[str]]:
    return {f"d{i:02}": ["IF10"] for i in range(n)}


def other(board: Leaderboard) -> ScopeB:
    found = board.tables[0].scope_b
    assert found is not None
    return found


def row(board: Leaderboard, label: str) -> Row:
    return next(r for r in board.tables[0].rows if r.label == label)


def values(results: list[Result], label: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for r in results:
        if r.label == label:
            found.setdefault(r.dataset, []).append(r.metrics["balanced_accuracy"] or 0.0)
    return found


# -- other data sets ---------------------------------------------------------------------------------------------------


def test_mean_ranks_and_signed_rank_tests_are_scipys() -> None:
    results = grid({"ce": 50, "x": 50.2, "y": 50.9}, sets(9), noise=1.0)
    found, labels = other(build(results)), [r.label for r in build(results).tables[0].rows]
    means = {m: np.array([np.mean(v) for v in values(results, m).values()]) for m in labels}
    ranks = np.mean([rankdata([-means[m][i] for m in labels]) for i in range(9)], axis=0)
    assert found.friedman.mean_ranks == pytest.approx(ranks)
    raw = {(p.a, p.b): float(wilcoxon(means[labels[p.a]], means[labels[p.b]]).pvalue) for p in found.pairs}
    assert [p.p for p in found.pairs] == pytest.approx(list(raw.values()))
    assert [p.p_holm for p in found.pairs] == pytest.approx(holm(list(raw.values())))


@pytest.mark.parametrize(("methods", "needs"), [(2, 6), (3, 7), (5, 9)])
def test_pairs_are_tested_from_as_many_data_sets_as_could_show_something(methods: int, needs: int) -> None:
    means = dict(list({**MEANS, "u": 30.0, "v": 20.0}.items())[:methods])
    below, enough = other(build(grid(means, sets(needs - 1)))), other(build(grid(means, sets(needs))))
    assert (below.pairs, below.reason, below.needs) == ((), Reason.too_few_datasets, needs)
    assert len(enough.pairs) == methods * (methods - 1) // 2
    assert all(p.p_holm is not None and p.p_holm < 0.05 for p in enough.pairs)


def test_imbalance_factors_are_no_data_sets() -> None:
    board = build(grid(MEANS, {"a": ["IF10", "IF50", "IF100"], "b": ["IF10"]}))
    assert other(board).blocks == 2
    assert any("This board covers two data sets. To compare 3 methods across" in line for line in notes(board))


def test_one_data_set_has_ranks_and_no_test() -> None:
    found = other(build(grid(MEANS, sets(1))))
    assert (found.friedman.mean_ranks, found.friedman.p) == ((1.0, 2.0, 3.0), None)
    assert found.friedman.reason is Reason.too_few_datasets


def test_a_critical_difference_needs_five_data_sets_and_three_to_ten_methods() -> None:
    assert other(build(grid(MEANS, sets(5)))).critical_difference == pytest.approx(2.343 * (12 / 30) ** 0.5, abs=1e-3)
    assert other(build(grid(MEANS, sets(4)))).critical_reason is Reason.too_few_datasets
    assert other(build(grid({"ce": 50, "x": 60}, sets(5)))).critical_reason is Reason.too_few_methods
    eleven = {f"m{i}": 50.0 + i for i in range(11)}
    assert other(build(grid(eleven, sets(5)))).critical_reason is Reason.too_many_methods


def test_a_lower_error_has_the_better_rank() -> None:
    board = build(grid(MEANS, sets(3)), options=BoardOptions(primary="ece"))
    assert [r.label for r in board.tables[0].rows] == ["good", "ce", "bad"]
    assert other(board).friedman.mean_ranks == (1.0, 2.0, 3.0)


def test_too_many_methods_are_not_tested_in_pairs() -> None:
    means = {f"m{i}": 50.0 + i for i in range(MOST_METHODS + 1)}
    board = build(grid(means, sets(2), seeds=1))
    assert other(board).reason is Reason.too_many_methods
    assert board.tables[0].profile is None


def test_a_method_without_a_whole_seed_leaves_no_blocks() -> None:
    """Seed 0 on one imbalance factor and seed 1 on the other: it is ranked by its mean, and in no block."""
    results = [r for r in grid({"ce": 50, "good": 60}, {"a": ["IF10", "IF50"]}, seeds=2)
               if r.label == "ce" or (r.seed == 0) == (r.imbalance == "IF10")]  # fmt: skip
    (table,) = build(results).tables
    assert {r.label for r in table.rows} == {"ce", "good"}
    assert (table.scope_b, table.profile, row(build(results), "good").iqm) == (None, None, None)


# -- over runs ---------------------------------------------------------------------------------------------------------


def test_interquartile_gains_are_trimmed_means_of_paired_gains() -> None:
    results = grid({"ce": 50, "good": 51}, sets(2), seeds=8, noise=1.0)
    gains = [b - a for d in sets(2) for a, b in zip(values(results, "ce")[d], values(results, "good")[d], strict=True)]
    found = row(build(results), "good").iqm
    assert found is not None
    assert found.value == pytest.approx(trim_mean(gains, 0.25))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert row(build(results), "ce").iqm is None


def test_the_probability_of_improvement_pairs_seeds_and_halves_ties() -> None:
    theirs, ours = [50.0, 50.0, 50.0, 50.0], [51.0, 49.0, 50.0, 52.0]
    results = [result(m, seed=s, value=v) for m, row_ in (("ce", theirs), ("x", ours)) for s, v in enumerate(row_)]
    assert row(build(results), "x").improvement == pytest.approx((2 + 0.5) / 4)


def test_a_profile_falls_from_all_to_none_within_its_band() -> None:
    found = build(grid(MEANS, sets(2))).tables[0].profile
    assert found is not None
    assert len(found.thresholds) == THRESHOLDS
    for m in MEANS:
        share = np.array(found.share[m])
        assert (share[0], share[-1]) == (1.0, 0.0)
        assert np.all(np.diff(share) <= 0)
        assert np.all((np.array(found.low[m]) <= share) & (share <= np.array(found.high[m])))


def test_a_profile_of_few_seeds_has_no_band_and_says_why() -> None:
    found = build(grid(MEANS, sets(1), seeds=4)).tables[0].profile
    assert found is not None
    assert (found.low, found.high, found.reason) == ({}, {}, Reason.too_few_seeds)


def test_equal_values_have_a_profile() -> None:
    results = [replace(r, metrics={"balanced_accuracy": 50.0}) for r in grid(MEANS, sets(1))]
    found = build(results).tables[0].profile
    assert found is not None
    assert found.thresholds[0] < 0.0 < found.thresholds[-1]


# -- in words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "lead"),
    [
        ({"ce": 50, "good": 60}, "good is first of 2 methods"),
        ({"ce": 50, "same": 50}, "Any of the 2 methods may be the best: no two differ significantly"),
        (
            {"ce": 50, "x": 60, "y": 60},
            "The best of 3 methods may be x or y: no method is significantly better",
        ),
        ({"ce": 50}, "ce is the only method with a complete set of results"),
    ],
)
def test_the_verdict_says_what_the_ranks_say(means: dict[str, float], lead: str) -> None:
    board = build(grid(means, sets(1), noise=0.5))
    assert lead in verdict(board, board.tables[0])[0]


def test_when_each_method_is_worse_than_another_none_is_first() -> None:
    """A beats B on some seeds, B beats C on others, C beats A on the rest: no mean over unlike seeds orders them."""
    rng = np.random.default_rng(0)
    at = {("A", 0): 60, ("B", 0): 50, ("B", 1): 60, ("C", 1): 50, ("C", 2): 60, ("A", 2): 50}
    results = [result(m, seed=5 * block + s, value=v + 0.1 * float(rng.normal()))
               for (m, block), v in at.items() for s in range(5)]  # fmt: skip
    board = build(results)
    assert {r.rank for r in board.tables[0].rows} == {(2, 2)}
    assert verdict(board, board.tables[0])[0].startswith("No method is first")


def test_the_sentence_for_a_paper_counts_what_is_there() -> None:
    said = in_a_sentence(build(grid(MEANS, {"a": ["IF10", "IF50"], "b": ["IF10"]}, seeds=4)))
    assert "3 methods were compared on 2 data sets with 4 paired seeds each" in said
    assert "Holm's correction over 3 pairs at 5 %" in said
