"""What a row cost stands beside its accuracy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.metric_names import COSTS
from ltbench.ranking.build import BoardOptions
from ltbench.ranking.formats.as_csv import scores
from ltbench.ranking.formats.as_json import as_json
from ltbench.ranking.formats.notes import notes
from ltbench.ranking.formats.text_tables import detail, short_number
from ltbench.results.journal import Journal
from ltbench.spec import Record
from ltbench.spec.budget import NAMES, budget_of
from ltbench.workflow.make_board import BoardRequest, make_board
from tests.ranking.made import board_of, records


def costly(one: Record) -> Record:
    factor = 2 if one.spec.label == "good" else 1
    facts = {
        "optimizer_steps": 1000, "images_read": 32000 * factor, "images_per_example": factor, "passes_per_step": 1,
        "threads": 2, "seconds": 1800.0 * factor, "device_kind": "cpu",
    }  # fmt: skip
    return replace(one, environment={**one.environment, **facts})


@pytest.fixture
def kept() -> list[Record]:
    return [costly(one) for one in records(datasets={"a": (10.0,)}, seeds=3)]


def test_hours_are_those_of_what_was_held() -> None:
    assert budget_of({"seconds": 3600.0, "threads": 4, "device_kind": "cpu"}, {}) == {"cpu_hours": 4.0}
    on_gpu = {"seconds": 1800.0, "shared_seconds": 1800.0, "threads": 4, "device_kind": "cuda", "gpu_share": 0.25}
    assert budget_of(on_gpu, {}) == {"gpu_hours": 0.25}
    assert budget_of({"seconds": 3600.0, "device_kind": "cuda"}, {}) == {"gpu_hours": 1.0}
    assert budget_of({}, {}) == {}


def test_a_row_that_reads_more_is_marked_with_the_factor(kept: list[Record]) -> None:
    board = board_of(kept)
    assert [row.name for row in board.tables[0].rows if row.label == "good"] == ["good (2x images)"]
    assert [row.name for row in board.tables[0].rows if row.label == "ce"] == ["ce"]
    assert "Cost of a step beside plain training: good 2x images." in notes(board)


def test_a_row_of_several_views_is_marked_also_where_nothing_was_counted() -> None:
    plain = records(datasets={"a": (10.0,)}, seeds=3)
    viewed = [
        replace(one, spec=replace(one.spec, recipe={**one.spec.recipe, "views": ["flip", "flip"]}))
        if one.spec.label == "good"
        else one
        for one in plain
    ]
    (table,) = board_of(viewed).tables
    assert {row.name for row in table.rows if row.label in ("good", "ce")} == {"good (3x views)", "ce"}
    assert "Cost of a step beside plain training: good 3x views." in notes(board_of(viewed))
    counted = [costly(one) for one in viewed]
    assert {row.label: row.budget["views_per_image"] for row in board_of(counted).tables[0].rows}["ce"] == 1.0


def test_a_row_of_which_one_trial_does_not_know_is_not_marked(kept: list[Record]) -> None:
    first = next(i for i, one in enumerate(kept) if one.spec.label == "good")
    kept[first] = replace(kept[first], environment={"seconds": 1.0})
    assert all(row.name == row.label for row in board_of(kept).tables[0].rows)


def test_json_has_the_costs_of_every_row(kept: list[Record]) -> None:
    rows = json.loads(as_json(board_of(kept)))["tables"][0]["rows"]
    found = {row["label"]: row["budget"] for row in rows}
    assert found["good"]["images_read"] == 64000
    assert found["good"]["cpu_hours"] == 2.0
    assert found["ce"]["cpu_hours"] == 1.0


def test_costs_are_columns_where_they_are_asked_for(kept: list[Record], tmp_path: Path) -> None:
    journal = Journal(tmp_path / "made" / "records")
    for one in kept:
        journal.write(one)
    request = BoardRequest(source=tmp_path / "made", columns=("images_read", "CPU hours", "gpu_hours"))
    board = make_board(request).board
    lines = {line["method"].text: line for line in detail(board.tables[0], board.tables[0].columns[0], board)}
    assert lines["good (2x images)"]["images"].text == "64k"
    assert lines["good (2x images)"]["CPU-h"].text == "2"
    assert lines["ce"]["GPU-h"].text == "-"
    columns, lines = scores(board)
    written = [dict(zip(columns, line, strict=True)) for line in lines]
    assert [w["mean"] for w in written if (w["metric"], w["method"]) == ("images_read", "good")] == [64000]


def test_rows_can_be_ranked_by_what_they_cost(kept: list[Record], tmp_path: Path) -> None:
    journal = Journal(tmp_path / "made" / "records")
    for one in kept:
        journal.write(one)
    board = make_board(BoardRequest(source=tmp_path / "made", options=BoardOptions(primary="cpu_hours"))).board
    assert board.tables[0].rows[-1].label == "good"


def test_numbers_have_three_digits() -> None:
    shown = [short_number(x) for x in (0.01234, 2.0, 390.0, 999.6, 78200.0, 12e6, 4.5e9, 0.0)]
    assert shown == ["0.0123", "2", "390", "1k", "78.2k", "12M", "4.5G", "0"]


def test_every_cost_has_a_title_and_is_the_less_the_better() -> None:
    assert tuple(COSTS) == NAMES
    assert not any(cost.higher_is_better for cost in COSTS.values())
