"""Four formats, the same numbers; hostile names are inert; a terminal's width is kept."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ltbench.metric_names import METRICS
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import build
from ltbench.ranking.formats.render import FORMATS, renderer
from ltbench.ranking.formats.text_tables import overview
from ltbench.registry import Registry
from ltbench.spec import Expectation, Record, Result, Selection
from ltbench.suite.load import load_suite
from tests.ranking.test_build import expectation, grid, table

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
    assert data["schema"] == 3
    assert gain["test"]["p"] is None
    assert (gain["test"]["reason"], gain["test"]["needs"]) == ("too_few_seeds", 3)


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


@pytest.mark.parametrize("name", ["text", "markdown"])
def test_wide_columns_are_explained_and_a_bootstrap_is_called_approximate(name: str, results: list[Result]) -> None:
    plan = expectation(results)
    caveat = "approximate, and too short below 10 seeds"
    wide = renderer(name, wide=True)
    assert caveat in " ".join(wide(build(results, plan)).split())
    assert caveat not in " ".join(FORMATS[name](build(results, plan)).split())
    few = [r for r in results if r.seed < 3]
    shown = " ".join(wide(build(few, expectation(few))).split())
    assert "IQM gain: the mean of the middle half of the gains." in shown  # no interval, so nothing to be said of it
    assert caveat not in shown


def test_an_empty_bucket_is_a_dash(results: list[Result]) -> None:
    shown = FORMATS["text"](build(results, expectation(results, report=["medium"])))
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
    report = ["balanced_accuracy", "many", "medium", "few", "worst_class"]
    shown = FORMATS["text"](build(results, expectation(results, report=report)))
    tables = [line for line in shown.splitlines() if not line.startswith(("Undecided", "No p-value"))]
    assert max(map(len, tables)) <= 100
    assert "Holm over 91 pairs" in shown


# -- markdown, read by a parser of its own -----------------------------------------------------------------------------

MARKUP = {
    *("html_inline", "html_block", "link_open", "image", "em_open", "code_inline", "s_open", "fence", "list_item_open"),
    *("blockquote_open", "hr"),
}
WILD = [
    *HOSTILE,
    "![x](y)",
    "<!-- x -->",
    "- x",
    "1. x",
    "&lt;b&gt;",
    "~~x~~",
    "__x__",
    "# x",
    "a\\",
    "\\|",
    "$x$",
    ">x",
]


def cells_of(markdown: str) -> tuple[list[str], set[str]]:
    """The plain text of every cell and paragraph, and the kinds of markup found, by markdown-it."""
    texts, kinds = [], set()
    for block in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        kinds.add(block.type)
        if block.type == "inline":
            texts.append("".join(child.content for child in block.children or []))
            kinds |= {child.type for child in block.children or []}
    return texts, kinds


def named(results: list[Result], name: str) -> Leaderboard:
    hostile = [replace(r, label=name) if r.label == "good" else r for r in results]
    return build(hostile, expectation(hostile))


@pytest.mark.parametrize("name", WILD)
def test_a_hostile_name_is_read_back_as_it_is_and_as_nothing_else(name: str, results: list[Result]) -> None:
    texts, kinds = cells_of(FORMATS["markdown"](named(results, name)))
    assert texts.count(name) == 3, "the overview and two columns"
    assert not kinds & MARKUP


names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12).filter(lambda name: name != "ce")


@given(name=names)
def test_any_name_is_read_back_from_markdown(name: str) -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]}, seeds=3)
    texts, kinds = cells_of(FORMATS["markdown"](named(results, name)))
    plain, _ = cells_of(FORMATS["markdown"](named(results, "plain")))
    assert texts.count(name) == plain.count(name) + 2 * (name != "plain")
    assert not kinds & MARKUP


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_line_end_in_a_name_does_not_end_its_row(end: str, results: list[Result]) -> None:
    texts, _ = cells_of(FORMATS["markdown"](named(results, f"one{end}two")))
    assert sum(text.split() == ["one", "two"] for text in texts) == 3


def test_no_name_starts_a_formula(results: list[Result]) -> None:
    """GitHub sets what stands between dollars as LaTeX."""
    shown = FORMATS["markdown"](named(results, r"$\href{javascript:x}{y}$"))
    assert re.search(r"(?<!\\)\$", shown) is None


def test_the_message_of_a_failure_is_inert_too(results: list[Result]) -> None:
    error = "boom\nValueError: <img src=x> | `x` [x](y)"
    failed = [replace(results[0], status="failed", metrics={}, error=error), *results[1:]]
    texts, kinds = cells_of(FORMATS["markdown"](build(failed, expectation(failed))))
    assert any("ValueError: <img src=x> | `x` [x](y)" in text for text in texts)
    assert not kinds & MARKUP


# -- the suites that come with ltbench ---------------------------------------------------------------------------------


def results_of(suite: str, tmp_path: Path, **chosen: Any) -> tuple[list[Result], Expectation]:
    """Made-up results of a whole shipped suite: accuracies around 50 with the spread that seeds have."""
    plan, _ = make_plan(resolve(load_suite(suite), Registry(), tmp_path, Selection(**chosen)))
    rng = np.random.default_rng(1)
    level = {label: rng.normal(60, 6) for label in dict.fromkeys(t.label for t in plan.trials)}
    made = []
    for trial in plan.trials:
        values: dict[str, float | None] = {m: float(rng.uniform(5, 95)) for m in METRICS}
        values["accuracy"] = values["balanced_accuracy"] = float(level[trial.label] + rng.normal(0, 0.7))
        made.append(Result.of(Record(spec=trial, status="ok", metrics=values)))
    return made, plan.expectation()


@pytest.mark.parametrize("suite", ["quickstart", "cifar_lt"])
def test_the_board_of_a_shipped_suite_fits_a_terminal(suite: str, tmp_path: Path) -> None:
    shown = FORMATS["text"](build(*results_of(suite, tmp_path)))
    assert [line for line in shown.splitlines() if len(line) > 100] == []


@pytest.mark.parametrize("suite", ["quickstart", "cifar_lt"])
def test_every_number_on_the_screen_is_in_the_json(suite: str, tmp_path: Path) -> None:
    """The formats render one board: to a decimal, each mean of a detail table is the mean of the JSON."""
    board = build(*results_of(suite, tmp_path))
    shown, data = FORMATS["text"](board), json.loads(FORMATS["json"](board))
    blocks = shown.split("\n\n")[2:]
    for column, block in zip(data["tables"][0]["columns"], blocks, strict=False):
        assert block.startswith(f"{column['dataset']} {column['imbalance']}")
        index = data["tables"][0]["columns"].index(column)
        for row in data["tables"][0]["rows"]:
            line = next(line for line in block.splitlines() if line.split()[0] == row["label"])
            assert line.split()[1] == f"{row['scores'][index]['metrics']['balanced_accuracy']['mean']:.1f}"


def test_csv_has_a_line_for_every_method_column_and_metric(tmp_path: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](build(*results_of("cifar_lt", tmp_path))))))
    assert len(lines) == 14 * 6 * len(METRICS)
    assert {line["seeds"] for line in lines} == {"5"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_board_on_which_everything_failed_is_shown_with_its_failures(name: str, results: list[Result]) -> None:
    failed = [replace(r, status="failed", metrics={}, error="boom") for r in results]
    shown = FORMATS[name](build(failed, expectation(failed)))
    assert name in ("csv", "pairs", "every_eval_ever") or "boom" in shown


@pytest.mark.parametrize("error", [None, "", "\n", "  \n "])
@pytest.mark.parametrize("name", ["text", "markdown"])
def test_a_failure_without_words_is_shown_as_one(name: str, error: str | None, results: list[Result]) -> None:
    failed = [replace(results[0], status="failed", metrics={}, error=error), *results[1:]]
    shown = FORMATS[name](build(failed, expectation(failed)))
    assert any(line.startswith("Failed: ") and "no reason given" in line for line in shown.splitlines())


def test_a_seed_that_is_missing_is_marked_where_its_mean_is(results: list[Result]) -> None:
    shown = FORMATS["text"](build(results[1:], expectation(results)))
    lost = [line for line in shown.splitlines() if line.startswith("ce ")]
    assert sorted(line.split()[-1] for line in lost) == ["4/5*", "5"]
    assert "1 missing" in shown


def test_a_table_apart_says_that_it_is_not_comparable(results: list[Result]) -> None:
    other = [replace(r, recipe_name="long", recipe_id="r2", key=r.key + "x") for r in results]
    for name in ("text", "markdown"):
        shown = " ".join(FORMATS[name](build([*results, *other])).split())
        assert "rows of different tables are not comparable" in shown


def test_a_metric_where_less_is_better_says_so_by_its_marks(results: list[Result]) -> None:
    shown = FORMATS["text"](build(results, expectation(results, primary="ece")))
    best = next(line for line in shown.splitlines() if line.startswith("1 "))
    assert "good" in best
    assert "^" in best


@pytest.mark.parametrize("name", ["a\rb", "a\r\nb", '\rb,"c'])
def test_a_carriage_return_in_a_name_ends_no_line_of_the_csv(name: str, results: list[Result]) -> None:
    board = named(results, name)
    for form, heads in (("csv", ("method",)), ("pairs", ("a", "b"))):
        lines = list(csv.DictReader(io.StringIO(FORMATS[form](board), newline="")))
        assert {line[head] for line in lines for head in heads} == {row.label for row in board.tables[0].rows}


@pytest.mark.parametrize("dataset", ["mean", "rank", "method", "gain [95% CI]"])
def test_a_data_set_named_like_a_column_does_not_replace_it(dataset: str) -> None:
    """With more than three columns the overview has one for each data set, by its bare name."""
    results = grid({"ce": 50, "good": 60}, {d: ["IF10", "IF50"] for d in (dataset, "b")})
    shown = overview(table(build(results, expectation(results))), "balanced_accuracy")
    assert list(shown[0]) == ["rank", "method", "mean", "gain [95% CI]", f"data set {dataset}", "b"]
    assert {line["method"].text for line in shown} == {"ce", "good"}
