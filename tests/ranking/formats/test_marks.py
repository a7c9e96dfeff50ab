"""Marks and the sentences below a table: nothing that the numbers do not say, and what looks odd is explained."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from ltbench.page.words import definitions, in_a_sentence, verdict
from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.formats.notes import header, notes
from ltbench.ranking.formats.render import FORMATS
from ltbench.ranking.formats.text_tables import signed
from ltbench.ranking.selection import Origin
from ltbench.spec import Result
from tests.ranking.test_build import expectation, grid, result

FORMS = ["text", "markdown", "latex"]


def ties() -> list[Result]:
    """A method that is the reference by another name: every difference is nothing."""
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    twin = [replace(r, label="twin", key=f"{r.key}twin", variant="v-twin") for r in results if r.label == "ce"]
    return [*results, *twin]


@pytest.mark.parametrize("form", [*FORMS, "csv", "pairs", "json"])
def test_a_tie_has_no_sign(form: str) -> None:
    shown = FORMATS[form](build(ties()))
    assert not re.search(r"-0\.0(?!\d)", shown)
    assert "+0.0 " not in shown
    assert "implicit-plus]{0.0}" not in shown


@pytest.mark.parametrize(
    ("x", "shown"), [(-0.04, "0.0"), (0.04, "0.0"), (-0.06, "-0.1"), (2.55, "+2.5"), (-0.0, "0.0")]
)
def test_what_rounds_to_nothing_has_no_sign(x: float, shown: str) -> None:
    assert signed(x) == shown


def test_one_undecided_method_is_told_in_two_sentences() -> None:
    results = grid({"ce": 50, "a": 50.3, "b": 60}, {"digits": ["IF10"]}, noise=1.0)
    (line,) = (line for line in notes(build(results)) if line.startswith("Undecided: "))
    assert line.startswith("Undecided: a against ce. ")
    assert line.endswith(" would settle it if the difference stays this large.")


def test_several_undecided_methods_share_a_line() -> None:
    results = grid({"ce": 50, "a": 50.3, "b": 50.2}, {"digits": ["IF10"]}, noise=1.0)
    (line,) = (line for line in notes(build(results)) if line.startswith("Undecided against ce: "))
    assert "Seeds that would settle each if its difference stays this large: " in line


def test_a_result_with_two_marks_is_explained() -> None:
    """`?` in the main table, `v` in its column: two questions, two families."""
    values = {"a": (1.0, 1.2, 0.8, 1.1, 0.9), "b": (-4.0, 5.0, 1.0, -3.0, 3.0)}
    results = [result("ce", d, seed=s) for d in values for s in range(5)]
    results += [result("m", d, seed=s, value=50 + v) for d, row in values.items() for s, v in enumerate(row)]
    said = " ".join(notes(build(results)))
    assert "Undecided (?) in the main table but not in a column: m (^ on a IF10)." in said
    assert "asks about the mean over all data sets" in said
    assert "in the main table but not" not in " ".join(notes(build(grid({"ce": 50, "good": 60}, {"a": ["IF10"]}))))


@pytest.mark.parametrize("form", FORMS)
def test_of_numbers_made_elsewhere_no_training_is_told(form: str) -> None:
    board = build(grid({"ce": 50, "good": 60}, {"a": ["IF10"]}), origin=Origin(file="scores.csv"))
    shown = " ".join(FORMATS[form](board).replace("%", "").split())
    assert "numbers from scores.csv; how they were trained is not known" in shown
    for untrue in ("last epoch", "from scratch", "suite declares"):
        assert untrue not in shown
    assert "last epoch" not in in_a_sentence(board)


def test_no_suite_declares_what_no_plan_says() -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    options = BoardOptions(primary="few")
    said = " ".join(notes(build(results, options=options)))
    assert "No plan declares a primary metric: if few was chosen after looking" in said
    assert "The suite declares" not in said
    assert "The suite declares balanced_accuracy" in " ".join(
        notes(build(results, expectation(results), options=options))
    )


def test_of_ltbench_s_own_records_the_epoch_is_told() -> None:
    assert "last epoch" in header(build(grid({"ce": 50}, {"a": ["IF10"]})))[0]


def test_too_few_seeds_are_told_without_a_reference_too() -> None:
    board = build(grid({"x": 50, "y": 52, "z": 53}, {"a": ["IF10"]}, seeds=2))
    assert board.tables[0].reference is None
    (line,) = (line for line in notes(board) if line.startswith("No p-value"))
    assert line == "No p-value (too few seeds: a paired test needs at least 3 in common): all 3 pairs."
    assert not any(n.startswith("No p-value") for n in notes(build(grid({"x": 50, "y": 52}, {"a": ["IF10"]}))))


def test_the_shots_are_those_of_the_suite() -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    own = build(results, expectation(results, shots={"many": 50, "few": 10}))
    assert "many: more than 50 training images of the class, few: fewer than 10" in dict(definitions(own))["Shots"]
    assert "many: more than 100 training" in dict(definitions(build(results)))["Shots"]


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "every_eval_ever"])  # a schema of numbers alone
def test_one_word_stands_for_what_is_not_decided(form: str) -> None:
    board = build(grid({"ce": 50, "a": 50.3, "b": 60}, {"digits": ["IF10"]}, noise=1.0))
    shown = FORMATS[form](board).lower()
    assert "undecided" in shown
    for other in ("unresolved", "not resolved", "not told apart"):
        assert other not in shown
    if form == "json":
        assert {p["verdict"] for p in json.loads(shown)["tables"][0]["pairs"]} >= {"undecided"}


def test_the_best_may_be_several_and_each_pair_of_them_is_open() -> None:
    """Of those whose rank interval begins at 1, none has a method that is significantly better."""
    board = build(grid({"ce": 50, "x": 60, "y": 60.1}, {"a": ["IF10"]}, noise=0.5))
    first = {row.label for row in board.tables[0].rows if row.rank[0] == 1}
    assert first == {"x", "y"}
    assert "apart" not in " ".join(verdict(board, board.tables[0]))


def test_a_latex_table_can_be_referred_to() -> None:
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    assert r"\label{tab:s}" in FORMATS["latex"](build(results))
    both = [*results, *(replace(r, recipe_name="r_2", recipe_id="r2", key=f"{r.key}r2") for r in results)]
    shown = FORMATS["latex"](build(both))
    assert r"\label{tab:s-r-r1}" in shown
    assert r"\label{tab:s-r-2-r2}" in shown
