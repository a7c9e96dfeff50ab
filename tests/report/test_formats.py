"""Four formats, the same numbers; hostile names are inert; a terminal's width is kept."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from ltbench.report.board import Leaderboard
from ltbench.report.formats import FORMATS
from ltbench.report.leaderboard import build
from ltbench.spec import Result
from tests.report.test_leaderboard import expectation, grid

HOSTILE = ["<script>alert(1)</script>", "a|b", "x_y*z`", "50%&more", "naïve \\textbf{}", "'\"quoted\"'"]


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return grid({"ce": 50, "good": 60.25, "bad": 40}, {"a": ["IF10", "IF50"]})


@pytest.fixture(scope="module")
def board(results: list[Result]) -> Leaderboard:
    return build(results, expectation(results))


@pytest.mark.parametrize("name", FORMATS)
def test_equal_results_give_equal_bytes_whatever_their_order(name: str, results: list[Result]) -> None:
    plan = expectation(results)
    assert FORMATS[name](build(results, plan)) == FORMATS[name](build(results[::-1], plan))


def test_json_says_null_with_a_reason_where_there_is_no_p(results: list[Result]) -> None:
    few = [r for r in results if r.seed < 2]
    data = json.loads(FORMATS["json"](build(few, expectation(few))))
    gain = data["tables"][0]["rows"][0]["gain"]
    assert data["schema"] == 1
    assert gain["test"]["p"] is None
    assert gain["test"]["reason"] == "too_few_seeds"


def test_csv_and_json_carry_the_same_numbers(board: Leaderboard) -> None:
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](board))))
    data = json.loads(FORMATS["json"](board))
    for row in data["tables"][0]["rows"]:
        for column, score in zip(data["tables"][0]["columns"], row["scores"], strict=True):
            place = ["balanced_accuracy", row["label"], column["imbalance"]]
            (line,) = (x for x in lines if [x["metric"], x["method"], x["imbalance"]] == place)
            assert float(line["mean"]) == score["metrics"]["balanced_accuracy"]["mean"]
            assert line["verdict"] == score["verdict"]
            assert float(line["p_holm"] or "nan") == pytest.approx(score["p_holm"] or float("nan"), nan_ok=True)


def test_text_and_markdown_show_what_the_board_says(board: Leaderboard) -> None:
    for name in ("text", "markdown"):
        shown = FORMATS[name](board)
        for row in board.tables[0].rows:
            assert f"{row.mean:.1f} ±{row.half:.1f}" in shown


def test_an_empty_bucket_is_a_dash(results: list[Result]) -> None:
    plan = expectation(results)
    plan["protocol"]["report"] = ["medium"]
    shown = FORMATS["text"](build(results, plan))
    detail = next(line for line in shown.splitlines() if line.startswith("good "))
    assert " - " in detail


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_inert_in_markdown(name: str, results: list[Result]) -> None:
    hostile = [replace(r, label=name) if r.label == "good" else r for r in results]
    shown = FORMATS["markdown"](build(hostile, expectation(hostile)))
    assert "<script" not in shown
    tables = [line for line in shown.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in tables[:5]}) == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_survive_csv_and_json(name: str, results: list[Result]) -> None:
    hostile = build([replace(r, label=name) if r.label == "good" else r for r in results])
    assert name in {line["method"] for line in csv.DictReader(io.StringIO(FORMATS["csv"](hostile)))}
    assert name in {row["label"] for row in json.loads(FORMATS["json"](hostile))["tables"][0]["rows"]}


def test_a_full_cifar_board_fits_a_hundred_columns() -> None:
    names = ["ce", "focal", "cb_reweight", "cb_sampling", "balanced_softmax", "logit_adjustment", "logit_adjusted_loss",
             "ce_drw", "ldam_drw", "mixup", "remix", "text_guided_mixup", "crt", "tau_norm"]  # fmt: skip
    methods = {name: 40.0 + i for i, name in enumerate(names)}
    factors = ["IF10", "IF50", "IF100"]
    results = grid(methods, {"cifar10": factors, "cifar100": factors})
    plan = expectation(results)
    plan["protocol"]["report"] = ["balanced_accuracy", "many", "medium", "few", "worst_class"]
    shown = FORMATS["text"](build(results, plan))
    tables = [line for line in shown.splitlines() if not line.startswith(("Not resolved", "No p-value"))]
    assert max(map(len, tables)) <= 100
    assert "Holm over 91 pairs" in shown
