"""What is compared with what, what is missing, and that nothing is imputed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from ltbench.data.sources.kinds import source_kinds
from ltbench.errors import UserError
from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.build import build
from ltbench.ranking.formats.notes import notes, of_table
from ltbench.ranking.formats.render import FORMATS
from ltbench.spec import Column, Expectation, Result, Selection
from ltbench.spec.cell import ONE_DATASET
from ltbench.spec.expectation import ExpectedRow, ExpectedSkip
from ltbench.stats.fixed_datasets import Verdict, rank_intervals
from ltbench.stats.paired import holm
from ltbench.stats.reasons import Reason

Values = dict[str, dict[tuple[str, str], list[float]]]


def result(
    label: str, dataset: str = "a", imbalance: str = "IF10", seed: int = 0, value: float = 50.0, **other: Any
) -> Result:
    metrics = {"accuracy": value, "balanced_accuracy": value, "many": value, "medium": None, "few": value - 10,
               "worst_class": value - 20, "ece": 100 - value}  # fmt: skip
    fields: dict[str, Any] = {
        "key": f"{label}{dataset}{imbalance}{seed}", "suite": "s", "dataset": dataset, "imbalance": imbalance,
        "manifest": f"m-{dataset}-{imbalance}", "label": label, "variant": f"v-{label}", "recipe_name": "r",
        "recipe_id": "r1", "seed": seed, "status": "ok", "metrics": metrics,
    }  # fmt: skip
    return Result(**{**fields, **other})


def grid(methods: dict[str, float], datasets: dict[str, list[str]], seeds: int = 5, noise: float = 0.3) -> list[Result]:
    """Results around a mean per method, with noise of their own."""
    rng = np.random.default_rng(0)
    return [
        result(m, d, i, s, mean + noise * float(rng.normal()))
        for m, mean in methods.items()
        for d, imbalances in datasets.items()
        for i in imbalances
        for s in range(seeds)
    ]


def table(board: Leaderboard) -> Table:
    (only,) = board.tables
    return only


def row(board: Leaderboard, label: str) -> Any:
    return next(r for r in table(board).rows if r.label == label)


def expectation(
    results: list[Result],
    rows: Mapping[str, ExpectedRow] | None = None,
    columns: Sequence[Column] = (),
    skips: Sequence[ExpectedSkip] = (),
    **protocol: Any,
) -> Expectation:
    """What a plan of these results expects, and more rows and columns."""
    usual = {"primary": "balanced_accuracy", "report": ["many", "few"], "reference": "ce",
             "seeds": sorted({r.seed for r in results}), "rope": 0.5}  # fmt: skip
    return Expectation(
        suite="s",
        question="Which?",
        protocol={**usual, **protocol},
        rows={**{r.label: ExpectedRow(r.recipe_name, r.variant) for r in results}, **(rows or {})},
        columns=(*dict.fromkeys(r.column for r in results), *columns),
        skips=tuple(skips),
    )


def test_methods_are_ordered_by_mean_and_clear_gaps_give_sharp_ranks() -> None:
    board = build(grid({"ce": 50, "good": 60, "bad": 40}, {"a": ["IF10"]}))
    assert [(r.label, r.rank) for r in table(board).rows] == [("good", (1, 1)), ("ce", (2, 2)), ("bad", (3, 3))]
    assert [row(board, m).gain.verdict for m in ("good", "bad")] == [Verdict.better, Verdict.worse]


def test_with_many_methods_ranks_are_adjusted_over_all_pairs_and_gains_over_themselves() -> None:
    """Otherwise gains adjusted over few comparisons would sharpen rank intervals that must hold all at once."""
    means = {"ce": 50.0, **{f"m{i:02}": 50.0 + 0.25 * i for i in range(13)}}
    board = build(grid(means, {"a": ["IF10"]}, noise=0.4))
    (only,) = board.tables
    signs: dict[tuple[str, str], int] = {}
    for pair in only.pairs:
        significant = pair.p_holm is not None and pair.p_holm < 0.05
        signs[pair.a, pair.b] = int(np.sign(pair.test.diff or 0)) if significant else 0
    intervals = rank_intervals([r.label for r in only.rows], signs)
    assert {r.label: r.rank for r in only.rows} == intervals
    gains = [r.gain for r in only.rows if r.gain is not None]
    assert [g.p_holm for g in gains] == holm([g.test.p for g in gains])
    sharper = [g for g in gains if g.p_holm is not None and g.p_holm < next(
        p.p_holm for p in only.pairs if {p.a, p.b} == {g.a, g.b} and p.p_holm is not None)]  # fmt: skip
    assert sharper


def test_methods_that_cannot_be_told_apart_share_a_rank_interval() -> None:
    board = build(grid({"ce": 50, "twin": 50.05, "good": 60}, {"a": ["IF10"]}, noise=1.0))
    assert row(board, "good").rank == (1, 1)
    assert row(board, "twin").rank == row(board, "ce").rank == (2, 3)


def test_imbalance_factors_are_averaged_before_data_sets() -> None:
    results = [
        result("ce", "a", i, s, v) for i, v in (("IF10", 60.0), ("IF50", 40.0), ("IF100", 20.0)) for s in range(3)
    ]
    results += [result("ce", "b", "IF10", s, 80.0) for s in range(3)]
    assert row(build(results), "ce").mean == pytest.approx((40 + 80) / 2)


def test_a_lower_calibration_error_is_better() -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    board = build(results, expectation(results, primary="ece"))
    assert [r.label for r in table(board).rows] == ["good", "ce"]
    assert row(board, "good").gain.verdict is Verdict.better
    assert row(board, "good").gain.test.diff == pytest.approx(10, abs=1)


def test_a_practically_equal_method_is_called_equivalent() -> None:
    board = build(grid({"ce": 50, "same": 50}, {"a": ["IF10"]}, seeds=20, noise=0.05))
    assert row(board, "same").gain.verdict in (Verdict.equivalent, Verdict.slightly_better, Verdict.slightly_worse)


def test_with_two_seeds_there_is_no_p_value_and_the_reason_is_given() -> None:
    board = build(grid({"ce": 50, "good": 60}, {"a": ["IF10"]}, seeds=2))
    (score,) = row(board, "good").scores.values()
    assert (score.gain.p, score.gain.reason) == (None, Reason.too_few_seeds)
    assert row(board, "good").gain.verdict is Verdict.undecided
    assert row(board, "good").rank == (1, 2)


def test_failed_and_missing_trials_are_counted_and_not_imputed() -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    lost = results.pop()
    results[-1] = replace(results[-1], status="failed", metrics={}, error="boom")
    board = build(results, expectation([*results, lost]))
    assert (board.trials, board.finished, board.failed, board.missing) == (10, 8, 1, 1)
    (score,) = row(board, "good").scores.values()
    assert (score.finished, score.failed, score.missing) == (3, 1, 1)
    kept = [r.metrics["balanced_accuracy"] for r in results if r.label == "good" and r.status == "ok"]
    assert row(board, "good").mean == pytest.approx(np.mean(kept))
    assert [f.error for f in board.failures] == ["boom"]


def test_a_method_without_a_result_on_a_column_is_listed_apart() -> None:
    results = [
        r for r in grid({"ce": 50, "good": 60}, {"a": ["IF10", "IF50"]}) if (r.label, r.imbalance) != ("good", "IF50")
    ]
    board = build(results)
    assert [r.label for r in table(board).rows] == ["ce"]
    assert table(board).incomplete == (("good", "no result on a IF50"),)
    assert board.missing == 5


def test_a_skipped_cell_is_not_missing_and_says_why() -> None:
    results = grid({"ce": 50, "text": 60}, {"a": ["IF10"], "b": ["IF10"]})
    there = [r for r in results if (r.label, r.dataset) != ("text", "b")]
    board = build(there, expectation(results, skips=[ExpectedSkip("text", "no vectors", ("b IF10",))]))
    assert board.missing == 0
    assert table(board).incomplete == (("text", "no result on b IF10: no vectors"),)


def test_results_of_other_code_rows_images_or_seeds_are_left_out_and_counted() -> None:
    now = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    old = [
        replace(now[0], variant="old", seed=1), replace(now[0], label="gone"),
        replace(now[0], manifest="other"), replace(now[0], seed=77),
    ]  # fmt: skip
    board = build([*now, *old], expectation(now))
    assert board.finished == 10
    assert sorted(board.left_out.values()) == [1, 1, 1, 1]


def test_two_different_results_for_one_place_are_refused() -> None:
    twice = [result("ce"), replace(result("ce"), key="other", variant="other")]
    with pytest.raises(UserError, match="two results for ce on a IF10 seed 0"):
        build(twice)


def test_results_of_two_suites_are_refused() -> None:
    with pytest.raises(UserError, match="2 suites"):
        build([result("ce"), replace(result("ce", seed=1), suite="t")])


def test_different_recipes_are_never_compared() -> None:
    results = grid({"ce": 50}, {"a": ["IF10"]})
    others = [replace(r, recipe_name="long", recipe_id="r2", label="good") for r in grid({"x": 60}, {"a": ["IF10"]})]
    board = build([*results, *others])
    assert [[r.label for r in t.rows] for t in board.tables] == [["ce"], ["good"]]
    assert all(not t.pairs for t in board.tables)


def test_rows_of_a_planned_recipe_stand_in_one_table() -> None:
    """Stores of earlier versions have another digest of the recipe for methods of several views."""
    results = grid({"ce": 50, "paco": 60}, {"a": ["IF10"]})
    results = [replace(r, recipe_id="r1" if r.label == "ce" else "r2") for r in results]
    board = build(results, expectation(results))
    assert [r.label for r in table(board).rows] == ["paco", "ce"]
    assert (len(table(board).pairs), board.missing) == (1, 0)


def test_different_images_never_share_a_column() -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    results = [replace(r, manifest="m1" if r.label == "ce" else "m2") for r in results]
    board = build(results)
    assert len(table(board).columns) == 2
    assert not table(board).rows
    assert {label for label, _ in table(board).incomplete} == {"ce", "good"}
    assert len({table(board).title(c) for c in table(board).columns}) == 2


def test_without_a_reference_rows_are_ranked_and_nothing_is_gained() -> None:
    board = build(grid({"one": 50, "two": 60}, {"a": ["IF10"]}))
    assert table(board).reference is None
    assert [r.gain for r in table(board).rows] == [None, None]
    assert row(board, "two").rank == (1, 1)


def test_one_method_alone_is_a_table() -> None:
    board = build(grid({"ce": 50}, {"a": ["IF10"]}))
    assert [(r.label, r.rank) for r in table(board).rows] == [("ce", (1, 1))]


def test_ties_broken_by_float_noise_only_are_ties() -> None:
    a = [result("ce", seed=s, value=0.1 + 0.2) for s in range(3)]
    b = [result("same", seed=s, value=0.3) for s in range(3)]
    board = build([*a, *b])
    assert [r.rank for r in table(board).rows] == [(1, 2), (1, 2)]
    assert row(board, "same").gain.test.reason is Reason.identical


def test_selections_restrict_what_is_shown() -> None:
    results = grid({"ce": 50, "good": 60, "bad": 40}, {"a": ["IF10"], "b": ["IF10"]})
    board = build(results, expectation(results), Selection(["ce", "good"], ["b"], [0, 1, 2]))
    assert {r.label for r in table(board).rows} == {"ce", "good"}
    assert {c[0] for c in table(board).columns} == {"b"}
    assert board.trials == 6


def test_balanced_test_sets_are_noticed() -> None:
    results = grid({"ce": 50}, {"a": ["IF10"]})
    assert build(results).balanced_tests
    uneven = replace(results[0], metrics={**results[0].metrics, "accuracy": 99.0})
    assert not build([uneven, *results[1:]]).balanced_tests


@pytest.mark.parametrize("cause", [lambda r: [], lambda r: [replace(x, label="gone") for x in r]])
def test_nothing_to_rank_is_a_message(cause: Callable[[list[Result]], list[Result]]) -> None:
    results = grid({"ce": 50}, {"a": ["IF10"]})
    with pytest.raises(UserError, match="no results to rank"):
        build(cause(results), expectation(results))


# -- against the rule written another way ------------------------------------------------------------------------------

LOST = st.lists(st.sampled_from(["ok", "ok", "ok", "failed", "missing"]), min_size=5, max_size=5)


@given(ce=LOST, good=LOST)
def test_whatever_is_lost_is_counted_once_and_means_are_over_what_is_left(ce: list[str], good: list[str]) -> None:
    fate = {"ce": ce, "good": good}
    everything = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    there = [
        r if fate[r.label][r.seed] == "ok" else replace(r, status="failed", error="boom")
        for r in everything
        if fate[r.label][r.seed] != "missing"
    ]
    assume(there)
    board = build(there, expectation(everything))
    fates = [*ce, *good]
    assert (board.finished, board.failed, board.missing) == tuple(map(fates.count, ("ok", "failed", "missing")))
    assert board.trials == 10
    for shown in table(board).rows:
        kept = [r.metrics["balanced_accuracy"] for r in everything
                if r.label == shown.label and fate[r.label][r.seed] == "ok"]  # fmt: skip
        assert shown.mean == pytest.approx(np.mean(kept))
    assert {r.label for r in table(board).rows} == {m for m, f in fate.items() if "ok" in f}


def test_the_gains_of_a_column_are_scipys_with_holm_over_the_column() -> None:
    board = build(grid({"ce": 50, "x": 50.3, "y": 50.6, "z": 49.9}, {"a": ["IF10", "IF50"]}))
    for column in table(board).columns:
        results = grid({"ce": 50, "x": 50.3, "y": 50.6, "z": 49.9}, {"a": ["IF10", "IF50"]})
        values = {
            m: [r.metrics["balanced_accuracy"] for r in results if (r.label, r.imbalance) == (m, column[1])]
            for m in ("ce", "x", "y", "z")
        }
        raw = {m: float(ttest_rel(values[m], values["ce"]).pvalue) for m in ("x", "y", "z")}
        worst = 0.0
        for step, method in enumerate(sorted(raw, key=lambda m: raw[m])):
            worst = max(worst, min(1.0, (3 - step) * raw[method]))
            score = row(board, method).scores[column]
            assert (score.gain.p, score.p_holm) == pytest.approx((raw[method], worst))


def test_the_order_of_results_does_not_matter() -> None:
    results = grid({"ce": 50, "good": 60, "bad": 40}, {"a": ["IF10"], "b": ["IF10"]})
    assert build(results, expectation(results)) == build(results[::-1], expectation(results))


# -- what must not be lost from sight ----------------------------------------------------------------------------------


def test_a_recipe_without_any_result_is_missing_too() -> None:
    """Otherwise a suite of two recipes looks complete when one of them never ran."""
    results = grid({"ce": 50}, {"a": ["IF10"]})
    board = build(results, expectation(results, {"ce_long": ExpectedRow("long", "v-long")}))
    assert (board.finished, board.missing, board.trials) == (5, 5, 10)


def test_a_row_without_any_result_is_listed_apart_and_missing() -> None:
    results = grid({"ce": 50}, {"a": ["IF10"]})
    board = build(results, expectation(results, {"good": ExpectedRow("r", "v-good")}))
    assert table(board).incomplete == (("good", "no result on any column"),)
    assert board.missing == 5


def test_a_column_without_any_result_is_missing_for_every_row() -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    board = build(results, expectation(results, columns=[Column("b", "IF10", "m-b-IF10")]))
    assert board.missing == 10
    assert {label for label, _ in table(board).incomplete} == {"ce", "good"}


def test_when_everything_failed_nothing_is_ranked_and_every_failure_is_named() -> None:
    results = [replace(r, status="failed", metrics={}, error="boom") for r in grid({"ce": 50}, {"a": ["IF10"]})]
    board = build(results, expectation(results))
    assert table(board).rows == ()
    assert (board.failed, len(board.failures)) == (5, 5)


def test_the_metrics_of_a_failed_trial_are_not_used() -> None:
    results = grid({"ce": 50}, {"a": ["IF10"]})
    results[0] = replace(results[0], status="failed", metrics={"balanced_accuracy": 1e6})
    assert row(build(results), "ce").mean < 60


def test_a_reference_without_results_leaves_no_reference() -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    board = build([r for r in results if r.label == "good"], expectation(results))
    assert table(board).reference is None
    assert row(board, "good").gain is None
    assert [label for label, _ in table(board).incomplete] == ["ce"]


def test_a_selection_without_the_reference_has_no_gains_and_says_why() -> None:
    results = grid({"ce": 50, "good": 60, "bad": 40}, {"a": ["IF10"]})
    board = build(results, expectation(results), Selection(["good", "bad"]))
    assert table(board).reference is None
    reasons = {score.gain.reason for r in table(board).rows for score in r.scores.values()}
    assert reasons == {Reason.no_reference}


def test_seeds_that_differ_between_methods_are_paired_where_they_meet() -> None:
    results = [r for r in grid({"ce": 50, "good": 60}, {"a": ["IF10"]}, seeds=8)
               if (r.seed < 5) == (r.label == "ce") or r.seed in (3, 4)]  # fmt: skip
    (score,) = row(build(results), "good").scores.values()
    assert (score.gain.n, score.gain.reason) == (2, Reason.too_few_seeds)


def test_the_same_result_twice_is_no_contradiction() -> None:
    """A record copied beside itself, or sent to MLflow twice, says nothing new and nothing different."""
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    twice = build([*results, replace(results[0])], expectation(results))
    assert twice == build(results, expectation(results))


def test_an_undefined_metric_stays_undefined() -> None:
    (score,) = row(build(grid({"ce": 50}, {"a": ["IF10"]})), "ce").scores.values()
    assert score.metrics["medium"] is None


def test_columns_without_a_plan_are_in_the_order_of_their_imbalance() -> None:
    board = build(grid({"ce": 50}, {"b": ["IF100", "IF10", "IF50"], "a": ["IF10"]}))
    assert [c[:2] for c in table(board).columns] == [("a", "IF10"), ("b", "IF10"), ("b", "IF50"), ("b", "IF100")]


def test_an_interval_without_zero_that_is_undecided_is_explained() -> None:
    """Found on the quickstart: -4.3 [-7.9, -0.8] with a `?` reads like a mistake."""
    explained = "an interval can exclude 0 while the verdict is still ?."
    met = set()
    for spread in (0.1, 0.5, 0.9, 1.3, 1.7, 2.1, 2.5):
        results = grid({"ce": 50, "a": 51, "b": 52, "c": 49, "d": 48}, {"digits": ["IF10"]}, noise=spread)
        board = build(results)
        shown = [(g.test, g.p_holm) for r in table(board).rows if (g := r.gain) is not None]
        shown += [(s.gain, s.p_holm) for r in table(board).rows for s in r.scores.values() if s.gain is not None]
        lone = any(abs(t.diff) > t.half and p >= 0.05 for t, p in shown)  # type: ignore[arg-type, operator]
        assert (explained in " ".join(notes(board))) == lone
        met.add(lone)
    assert met == {True, False}


def test_a_family_that_was_made_smaller_by_hand_says_so() -> None:
    results = grid({"ce": 50, "a": 51, "b": 52}, {"digits": ["IF10"], "cifar10": ["IF10"]})
    assert "Chosen by" not in " ".join(notes(build(results)))
    assert "Chosen by --only:" in " ".join(notes(build(results, selection=Selection(["ce", "a"]))))
    both = build(results, selection=Selection(["ce", "a"], ["digits"]))
    assert "Chosen by --only and --datasets:" in " ".join(notes(both))


def test_without_a_reference_the_cure_is_named() -> None:
    said = " ".join(notes(build(grid({"a": 50, "b": 52}, {"digits": ["IF10"]}))))
    assert "--reference NAME" in said
    assert "the reference has no result" not in said


def test_seeds_that_are_not_there_are_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"--seeds 77: not among the results. Known: 0, 1, 2, 3, 4\."):
        build(grid({"ce": 50, "a": 51}, {"digits": ["IF10"]}), selection=Selection(seeds=[77]))


def drawn_twice(kind: str) -> list[Result]:
    """Three methods on a data set and on another draw of its training images."""
    rng = np.random.default_rng(0)
    return [
        replace(made_result(m, d, s), metrics={"balanced_accuracy": 50 + float(rng.normal())}, kind=kind)
        for m in ("ce", "a", "b") for d in ("c100", "c100_again") for s in range(4)
    ]  # fmt: skip


def made_result(method: str, dataset: str, seed: int) -> Result:
    return Result(
        key=f"{method}{dataset}{seed}", suite="s", dataset=dataset, imbalance="IF100", manifest=dataset, label=method,
        variant="", recipe_name="r", recipe_id="r", seed=seed, status="ok", metrics={},
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "blocks"), [("cifar100", 1), ("folder", 2), ("", 2)])
def test_two_draws_of_one_data_set_are_one_block(kind: str, blocks: int) -> None:
    results = drawn_twice(kind)
    table = build(results).tables[0]
    assert table.scope_b is not None
    assert table.scope_b.blocks == blocks
    by = {(r.label, r.dataset, r.seed): r.metrics["balanced_accuracy"] for r in results}
    each = [[(by["a", d, s] or 0) - (by["ce", d, s] or 0) for s in range(4)] for d in ("c100", "c100_again")]
    test = table.pairs.between("a", "ce").test
    assert test.diff == pytest.approx(np.mean(each))
    if blocks == 1:
        assert test.p == pytest.approx(ttest_rel(np.mean(each, axis=0), np.zeros(4)).pvalue)
    assert any("count as one data set" in line for line in of_table(table)) == (blocks == 1)


def test_the_kinds_that_are_one_data_set_are_those_without_a_place_of_their_own() -> None:
    assert {kind for kind, cls in source_kinds().items() if not cls.needs_path} == set(ONE_DATASET)


def test_what_only_leaves_out_is_put_down_to_no_other_cause() -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    planned = [r for r in results if r.label == "good"]
    board = build(results, expectation(planned), Selection(methods=["good"]))
    assert board.left_out == {}


def test_classes_without_a_test_image_are_told_below_the_tables() -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"], "b": ["IF10"]})
    planned = replace(expectation(results), untested={"a": (1, 10)})
    for render in (FORMATS["text"], FORMATS["markdown"], FORMATS["latex"]):
        shown = " ".join(render(build(results, planned)).split())
        assert "a: 1 of 10 classes have no test image; averages over classes are over 9 of 10." in shown
