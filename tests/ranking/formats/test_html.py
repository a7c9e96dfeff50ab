"""The fragment for notebooks: one row per method, the board's values, and no name that becomes markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import build
from ltbench.ranking.formats.as_html import board_html
from ltbench.ranking.formats.text_tables import overview
from ltbench.spec import Result
from ltbench.spec.expectation import ExpectedRow
from tests.ranking.test_build import expectation, grid

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a & b",
    "</table>",
    "a\nb\x1b[2J",
]


def read(board: Leaderboard) -> ET.Element:
    """The fragment is well-formed, so that it ends what it begins."""
    return ET.fromstring(board_html(board))


def text_of(node: ET.Element) -> str:
    return "".join(node.itertext())


@pytest.fixture
def results() -> list[Result]:
    return grid({"ce": 50, "good": 60, "bad": 40}, {"a": ["IF10", "IF100"], "b": ["IF10"]})


def test_it_has_the_rows_of_the_text_table(results: list[Result]) -> None:
    board = build(results, expectation(results))
    rows = [[text_of(cell) for cell in row] for row in read(board).iter("tr")]
    wanted = overview(board.tables[0], board.primary)
    assert rows == [list(wanted[0]), *([entry.text for entry in line.values()] for line in wanted)]
    assert [row[1] for row in rows[1:]] == ["good", "ce", "bad"]


def test_numbers_stand_to_the_right_and_verdicts_have_a_colour(results: list[Result]) -> None:
    good, reference, bad = list(read(build(results, expectation(results))).iter("tr"))[1:]
    assert [cell.get("class") for cell in good] == [None, None, "number", "better", "number", "number", "number"]
    assert [row[3].get("class") for row in (reference, bad)] == [None, "worse"]


def test_the_caption_says_what_is_ranked_and_what_is_missing(results: list[Result]) -> None:
    plan = expectation(results, {"absent": ExpectedRow("r", "v")})
    (caption,) = read(build(results, plan)).iter("figcaption")
    lacking = [text_of(line) for line in caption if line.get("class") == "lacking"]
    trials = f"45 of 60 trials, 0 failed, 15 missing, suite {plan.digest}, 5 seeds"
    assert lacking == [trials, "Not ranked: absent: no result on any column."]
    assert text_of(caption).startswith("s: balanced accuracy, %")
    (whole,) = read(build(results, expectation(results))).iter("figcaption")
    assert "lacking" not in {line.get("class") for line in whole}


def test_a_board_without_a_ranked_row_is_its_caption(results: list[Result]) -> None:
    failed = [replace(r, status="failed", metrics={}) for r in results]
    page = read(build(failed, expectation(results)))
    assert list(page.iter("table")) == []
    assert "Not ranked" in text_of(page)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup(name: str, results: list[Result]) -> None:
    named = [
        replace(r, label=name if r.label == "good" else r.label, dataset=name) for r in results if r.dataset == "a"
    ]
    page, plain = (read(build(some, expectation(some))) for some in (named, [r for r in results if r.dataset == "a"]))
    assert [node.tag for node in page.iter()] == [node.tag for node in plain.iter()]
    assert name.replace("\n", " ").replace("\x1b", " ") in [text_of(node) for node in page.iter("th")]
