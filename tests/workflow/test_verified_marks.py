"""`ltbench verify` leaves a mark, and the boards of the same records show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltbench.ranking.formats.notes import notes
from ltbench.results.journal import Journal
from ltbench.results.verified import Mark, read_marks, write_marks
from ltbench.spec import Selection
from ltbench.workflow.make_board import BoardRequest, make_board
from ltbench.workflow.make_report import make_report
from tests.ranking.made import record, spec

RECORDS = [record(spec(label, seed=seed), chance)
           for label, chance in (("ce", 0.5), ("good", 0.7)) for seed in range(3)]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "made" / "records")
    for one in RECORDS:
        journal.write(one)
    return tmp_path / "made"


def mark(at: int, holds: bool = True, when: str = "2026-01-31") -> dict[str, Mark]:
    verdict = "agrees" if holds else "differs"
    return {RECORDS[at].key: Mark(verdict, holds, "cpu, torch 9", when, dict(RECORDS[at].metrics))}


def said(folder: Path) -> list[str]:
    board = make_board(BoardRequest(source=folder)).board
    return [line for line in notes(board) if line.startswith(("Verified", "NOT CONFIRMED"))]


def test_a_board_says_how_many_trials_ran_again_and_where(folder: Path) -> None:
    assert said(folder) == []
    write_marks(folder / "records", mark(0))
    write_marks(folder / "records", mark(1, when="2026-02-01"))
    assert said(folder) == ["Verified: 2 of 6 trials ran again and hold, on cpu, torch 9 (2026-02-01)."]


def test_a_record_that_does_not_hold_is_named(folder: Path) -> None:
    write_marks(folder / "records", {**mark(0), **mark(1, holds=False)})
    assert said(folder)[1:] == [f"NOT CONFIRMED: 1 ran again and came out otherwise: {RECORDS[1].key}."]


def test_a_mark_says_nothing_of_a_record_with_other_numbers(folder: Path) -> None:
    (one,) = mark(0).values()
    moved = {name: None if v is None else v + 1 for name, v in one.metrics.items()}
    write_marks(folder / "records", {RECORDS[0].key: Mark("agrees", True, "cpu", "2026-01-31", moved)})
    assert said(folder) == []


@pytest.mark.parametrize("text", ["", "[]", '{"trials": 5}', '{"trials": {"0123456789ab": {"holds": 1}}}', "[" * 99999])
def test_a_damaged_file_of_marks_is_as_none(folder: Path, text: str) -> None:
    (folder / "verified.json").write_text(text)
    assert read_marks(folder / "records") == {}
    assert said(folder) == []


def test_the_report_shows_it(folder: Path, tmp_path: Path) -> None:
    write_marks(folder / "records", mark(0))
    made = make_report(None, tmp_path, folder, tmp_path / "out", Selection())
    assert made.board.verified is not None
    assert "1 of 6 trials ran again and hold" in made.page.read_text()
