"""A leaderboard as MLflow runs: its numbers."""

from __future__ import annotations

from ltbench.ranking.build import build
from ltbench.tracking.aggregates import Aggregate, aggregates
from tests.ranking.test_build import grid


def by_name(runs: list[Aggregate]) -> dict[str, Aggregate]:
    assert len({r.name for r in runs}) == len(runs)
    return {r.name: r for r in runs}


def test_there_is_a_run_for_every_method_over_all_and_on_every_column() -> None:
    board = build(grid({"ce": 50, "good": 60}, {"a": ["IF10", "IF50"], "b": ["IF10"]}))
    runs = by_name(aggregates(board))
    assert set(runs) == {f"{m} {place}" for m in ("ce", "good") for place in ("all", "a IF10", "a IF50", "b IF10")}


def test_a_run_says_what_the_board_says() -> None:
    board = build(grid({"ce": 50, "good": 60, "bad": 40}, {"a": ["IF10"]}))
    row = next(r for r in board.tables[0].rows if r.label == "good")
    run = by_name(aggregates(board))["good all"]
    assert row.half is not None
    assert row.gain is not None
    assert run.metrics["mean"] == row.mean
    assert (run.metrics["mean_low"], run.metrics["mean_high"]) == (row.mean - row.half, row.mean + row.half)
    assert (run.metrics["gain"], run.metrics["p_holm"]) == (row.gain.test.diff, row.gain.p_holm)
    assert (run.metrics["rank_low"], run.metrics["rank_high"], run.metrics["n"]) == (1.0, 1.0, 5.0)
    assert run.tags == {"method": "good", "recipe": "r", "metric": "balanced_accuracy", "dataset": "all",
                        "imbalance": "all", "verdict": "better", "rank": "1"}  # fmt: skip
    score = row.scores["a", "IF10", "m-a-IF10"]
    column = by_name(aggregates(board))["good a IF10"]
    assert score.metrics["few"] is not None
    assert column.metrics["few"] == score.metrics["few"].mean
    assert column.metrics["p_holm"] == score.p_holm
    assert "medium" not in column.metrics, "an undefined bucket is absent, not 0"


def test_the_reference_is_called_so_and_without_one_there_is_none() -> None:
    with_, without = (build(grid({m: 50, "good": 60}, {"a": ["IF10"]})) for m in ("ce", "other"))
    assert by_name(aggregates(with_))["ce all"].tags["verdict"] == "reference"
    assert by_name(aggregates(without))["other all"].tags["verdict"] == "no reference"


def test_one_seed_has_a_mean_and_no_interval() -> None:
    run = by_name(aggregates(build(grid({"ce": 50, "good": 60}, {"a": ["IF10"]}, seeds=1))))["good all"]
    assert {"mean", "n", "gain"} <= run.metrics.keys()
    assert not {"mean_low", "gain_low", "p_holm"} & run.metrics.keys()
