"""`run` with seeds until comparisons are decided: look by look, also after an interruption, and what `plan` says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ltbench as lt
from ltbench.cli.text.plan import plan_text
from ltbench.errors import UserError
from ltbench.execution.display.file import ProgressFile, read_progress
from ltbench.execution.progress import Display
from ltbench.frames import SuiteRun
from ltbench.results.folders import folders_of
from ltbench.suite import Suite
from ltbench.suite.load import load_suite
from ltbench.tracking.aggregates import aggregates
from ltbench.workflow.make_board import due_now
from ltbench.workflow.plan_suite import plan_suite
from ltbench.workflow.prepare import Request, prepare

SEEDS = {"from": 3, "to": 8, "until": "resolved"}
TINY: Mapping[str, Any] = {
    "recipes.scratch.epochs": 1, "recipes.scratch.backbone": "mlp", "recipes.scratch.augment": "none",
    "datasets.0.imbalance": [20], "protocol.final.seeds": SEEDS,
}  # fmt: skip
Ran = tuple[Path, SuiteRun, list[str]]
ROWS = ["ce", "balanced_softmax", "cb_reweight"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Ran:
    folder, told = tmp_path_factory.mktemp("looks"), list[str]()
    run = lt.run("quickstart", only=ROWS, overrides=TINY, results=folder, data=data_root, inline=True, tell=told.append)
    return folder, run, told


def request(folder: Path, data_root: Path) -> Request:
    return Request(suite="quickstart", overrides=TINY, results=folder, data=data_root)


def seeds_of(run: SuiteRun) -> dict[str, int]:
    return {m: sum(r.spec.label == m for r in run.finished) for m in ROWS}


def test_a_run_goes_look_by_look_and_ends_where_nothing_is_open(ran: Ran) -> None:
    _, run, told = ran
    assert run.complete
    assert run.board is not None
    (table,) = run.board.ranked.board.tables
    assert table.standing is not None
    assert seeds_of(run) == table.standing.due
    assert set(seeds_of(run).values()) <= {3, 5, 8}
    assert seeds_of(run)["ce"] == max(seeds_of(run).values())
    assert "look 1 of 3, 9 trials to run" in told[0] or any("look 1 of 3, 9 trials to run" in line for line in told)
    assert any(line.startswith("Seeds run until every gain over ce is decided") for line in told)


def test_a_run_that_was_ended_goes_on_at_the_same_look(ran: Ran, tmp_path: Path, data_root: Path) -> None:
    _, run, _ = ran
    before = run.outcome.journal
    kept = folders_of(tmp_path, "quickstart").journal
    for record in run.finished:
        if record.spec.seed < 3 or (record.spec.seed == 3 and record.spec.label == "ce"):
            kept.write(replace(before.records()[record.key], predictions=before.predictions(record.key)))
    again = lt.run("quickstart", only=ROWS, overrides=TINY, results=tmp_path, data=data_root, inline=True)
    assert {r.spec.key for r in again.finished} == {r.spec.key for r in run.finished}
    assert again.board is not None
    assert run.board is not None
    assert str(again.board) == str(run.board)


def test_what_is_due_is_a_function_of_the_records(ran: Ran, data_root: Path) -> None:
    folder, run, _ = ran
    prepared = prepare(request(folder, data_root), whole=True)
    chosen = lt.frames.words.selection_of(ROWS)
    due, board = due_now(prepared.plan, prepared.folders, chosen)
    assert board is not None
    assert {t.key for t in due.trials if t.label in ROWS} == {r.spec.key for r in run.finished}


def test_a_plan_tells_the_least_the_expected_and_the_most(tmp_path: Path, data_root: Path) -> None:
    outlook = plan_suite(request(tmp_path, data_root))
    assert outlook.seeds is not None
    assert len(outlook.plan.trials) == 5 * 3
    assert len(outlook.undecided) == 5 * 5
    assert set(outlook.seeds.due.values()) == {3}
    assert set(outlook.seeds.most.values()) == {8}
    assert all(3 <= n <= 8 for n in outlook.seeds.expected.values())
    assert outlook.seeds.expected["ce"] > outlook.seeds.expected["mixup"]
    text = plan_text(outlook)
    assert "looks at 3, 5, 8 seeds. Trials in all: 15 at least, about" in text
    assert "40 at most" in text
    frame = lt.plan("quickstart", overrides=TINY, results=tmp_path, data=data_root).to_frame()
    assert frame["status"].value_counts().to_dict() == {"to run": 15, "if undecided": 25}


def test_a_plan_of_what_has_ended_has_nothing_to_come(ran: Ran, data_root: Path) -> None:
    folder, run, _ = ran
    plan = lt.plan("quickstart", only=ROWS, overrides=TINY, results=folder, data=data_root)
    assert set(plan.to_frame()["status"]) == {"finished"}
    assert plan.outlook.seeds is not None
    assert dict(plan.outlook.seeds.most) == seeds_of(run)


def test_seeds_given_by_hand_are_run_as_they_are(tmp_path: Path, data_root: Path) -> None:
    plan = lt.plan("quickstart", only=["ce", "mixup"], seeds=[0, 7], overrides=TINY, results=tmp_path, data=data_root)
    assert [t.seed for t in plan.trials] == [0, 0, 7, 7]
    assert plan.outlook.seeds is None


def test_the_suite_that_is_kept_can_be_read_again(ran: Ran) -> None:
    folder, _, _ = ran
    kept = json.loads((folder / "quickstart" / "suite.json").read_text())
    assert kept["protocol"]["final"]["seeds"]["from"] == 3
    suite = load_suite(folder / "quickstart" / "suite.json")
    assert suite.protocol.final.until is not None
    assert suite.protocol.final.until.at == (3, 5, 8)
    assert Suite.model_validate_json(suite.model_dump_json()) == suite


def test_mlflow_is_told_the_look(ran: Ran) -> None:
    _, run, _ = ran
    assert run.board is not None
    overall = [a for a in aggregates(run.board.ranked.board) if a.tags["dataset"] == "all"]
    assert {a.tags["look"].split(" of ")[1] for a in overall} == {"3"}
    assert all(0 < a.metrics["level"] < 0.05 for a in overall)


def test_the_file_for_watching_names_the_look(tmp_path: Path) -> None:
    shown = ProgressFile(Display(), [], tmp_path / "progress.json", "look 2 of 3")
    shown.phase("starting")
    seen = read_progress(tmp_path)
    assert seen is not None
    assert seen.stage == "look 2 of 3"


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ({"from": 2, "to": 5, "until": "resolved"}, "3"),
        ({"from": 8, "to": 5, "until": "resolved"}, "`from: 8` is above `to: 5`"),
        ({"from": 3, "to": 9, "looks": [3, 9, 5]}, "`looks` must rise"),
        ({"from": 3, "to": 9, "looks": [3, 5]}, "must begin with `from` (3) and end with `to` (9)"),
        ({"from": 3, "upto": 9}, "unknown key"),
        ({"from": 3, "to": 9, "until": "tuesday"}, "'tuesday' is not one of 'resolved'"),
        ({"to": 9}, "is missing"),
    ],
)
def test_seeds_that_cannot_be_are_refused(seeds: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        load_suite("quickstart", {"protocol.final.seeds": seeds})
    assert said in str(error.value)
    assert "protocol.final.seeds" in str(error.value)


def test_the_board_of_the_store_is_the_board_of_the_run(ran: Ran) -> None:
    """MLflow's experiment has the plan, and with it when is looked."""
    folder, run, _ = ran
    board = lt.leaderboard("quickstart", results=folder, only=ROWS)
    assert run.board is not None
    here, there = (b.ranked.board.tables[0] for b in (board, run.board))
    assert here.standing is not None
    assert there.standing is not None
    assert dict(here.standing.at) == dict(there.standing.at)
    assert [row.gain for row in here.rows] == [row.gain for row in there.rows]
