"""The leaderboard's numbers among a suite's trials in MLflow: what is put there, once, and that boards are none the
wiser."""

from __future__ import annotations

import base64
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest

from ltbench.ranking.build import build
from ltbench.results.folders import Folders
from ltbench.spec import Record, canonical
from ltbench.tracking import mlflow_board, mlflow_client, mlflow_store, sqlite_store
from ltbench.tracking.aggregates import ORDER, summary
from ltbench.tracking.delivery import Tracker, default_uri
from ltbench.tracking.mlflow_page import GROUP, VIEW, address_of
from ltbench.tracking.mlflow_runs import KIND
from ltbench.workflow.sync import shown_suite, summarise, sync, whole_board
from tests.ranking import made
from tests.ranking.test_build import grid
from tests.tracking.made import PATIENT


def state_of(tag: str) -> Any:
    """What MLflow's page makes of the tag."""
    kind, packed = json.loads(tag)["state"].split(";")
    assert kind == "deflate"
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_a_summary_has_a_run_for_every_row_and_every_cell_in_the_boards_order() -> None:
    found = summary(build(grid({"ce": 50, "good": 60, "bad": 40}, {"a": ["IF10", "IF50"]})))
    assert [run.tags[GROUP] for run in found.runs] == [
        "good", "ce", "bad", "good a IF10", "ce a IF10", "bad a IF10", "good a IF50", "ce a IF50", "bad a IF50",
    ]  # fmt: skip
    assert [run.metrics[ORDER] for run in found.runs] == list(range(1, 10))
    first, cell = found.runs[0], found.runs[3]
    assert first.metrics["board/low"] < first.metrics["board/mean"] < first.metrics["board/high"]
    assert first.metrics["mean/a IF10"] == cell.metrics["board/mean"]
    assert {"low/a IF50", "high/a IF50"} <= first.metrics.keys()
    assert "better" in first.tags["mlflow.note.content"]
    shown = {name for names in found.charts.values() for name in names}
    assert {"board/low", "board/mean", "board/high", "board/gain", "low/a IF10", "high/a IF50"} <= shown
    assert shown | set(found.columns) <= {name for run in found.runs for name in run.metrics}


def test_a_board_of_one_cell_says_nothing_twice() -> None:
    found = summary(build(grid({"ce": 50, "good": 60}, {"a": ["IF10"]})))
    assert [run.tags[GROUP] for run in found.runs] == ["good a IF10", "ce a IF10"]
    assert found.groups["r1", "good", "a", "IF10", "m-a-IF10"] == "good a IF10"


def test_names_of_metrics_are_such_as_mlflow_takes() -> None:
    found = summary(build(grid({"ce": 50, "good": 60}, {"a": ["IF10, tested on val", "IF50, tested on val"]})))
    assert "mean/a IF10 tested on val" in found.columns


def test_the_address_is_that_of_training_runs() -> None:
    assert address_of("http://127.0.0.1:5000/", "1") == (
        "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=ltbench"
    )


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> tuple[Path, list[Record]]:
    """A results folder with a suite in the journal and in MLflow."""
    shutil.copy(empty_store, tmp_path)
    records = made.records({"ce": 0.5, "good": 0.7}, {"a": (10.0, 50.0)}, seeds=2)
    plan, folders = made.plan_of(records), Folders(tmp_path, "made")
    for record in records:
        folders.journal.write(record)
    folders.plan_file.write_text(canonical(plan.to_json()))
    tracker = Tracker(default_uri(tmp_path), "made", folders.journal, plan, print, PATIENT)
    tracker.deliver_backlog()
    assert tracker.close() == 0
    return tmp_path, records


def runs(results: Path, kind: str) -> list[Any]:
    client = mlflow_client.client_of(default_uri(results))
    place = client.get_experiment_by_name("made").experiment_id
    return list(mlflow_client.runs_of(client, place, f"tags.`{KIND}` = '{kind}'"))


@pytest.mark.slow
def test_the_summary_is_put_once_and_no_board_changes(store: tuple[Path, list[Record]]) -> None:
    results, records = store
    uri = default_uri(results)
    before = mlflow_store.read(uri, "made")
    told: list[str] = []
    place = summarise(whole_board("made", results), uri, told.append)
    assert (place, told) == (mlflow_store.experiment_of_suite(uri, "made"), [])
    first = runs(results, "summary")
    assert len(first) == 2 + 2 * 2
    assert summarise(whole_board("made", results), uri) == place
    assert {r.info.run_id for r in runs(results, "summary")} == {r.info.run_id for r in first}
    assert mlflow_store.read(uri, "made") == before
    assert sqlite_store.read(uri, "made") is not None
    assert {r.data.tags[GROUP] for r in runs(results, "trial")} < {r.data.tags[GROUP] for r in first}
    assert len(runs(results, "trial")) == len(records)


@pytest.mark.slow
def test_other_numbers_replace_it(store: tuple[Path, list[Record]]) -> None:
    results, _ = store
    uri = default_uri(results)
    summarise(whole_board("made", results), uri)
    first = runs(results, "summary")
    Folders(results, "made").journal.write(made.record(made.spec("better", "a", 10.0, 0), 0.9))
    summarise(whole_board("made", results), uri)
    assert {r.info.run_id for r in runs(results, "summary")} & {r.info.run_id for r in first}, (
        "the board has no new row"
    )
    for factor in (10.0, 50.0):
        for seed in range(2):
            Folders(results, "made").journal.write(made.record(made.spec("ce", "a", factor, seed), 0.6))
    summarise(whole_board("made", results), uri)
    second = runs(results, "summary")
    assert len(second) == len(first)
    assert not {r.info.run_id for r in second} & {r.info.run_id for r in first}


@pytest.mark.slow
def test_the_view_groups_orders_and_charts(store: tuple[Path, list[Record]]) -> None:
    results, _ = store
    uri = default_uri(results)
    client = mlflow_client.client_of(uri)
    before = state_of(client.get_experiment_by_name("made").tags[VIEW])
    assert (before["orderByKey"], before["orderByAsc"]) == ("metrics.`test/balanced_accuracy`", False)
    summarise(whole_board("made", results), uri)
    experiment = client.get_experiment_by_name("made")
    state = state_of(experiment.tags[VIEW])
    assert state["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": GROUP}]
    assert (state["orderByKey"], state["orderByAsc"]) == (f"metrics.`{ORDER}`", True)
    assert state["groupsExpanded"]["tag.group.good a IF10"] is False
    assert all(len(text) < 5000 for text in experiment.tags.values())
    assert "tags.role" in experiment.tags["mlflow.note.content"]


@pytest.mark.slow
def test_trials_of_earlier_versions_are_given_their_group(store: tuple[Path, list[Record]]) -> None:
    results, _ = store
    client = mlflow_client.client_of(default_uri(results))
    for run in runs(results, "trial"):
        client.delete_tag(run.info.run_id, GROUP)
    shown = shown_suite(None, results)
    assert shown is not None
    assert (shown.suite, shown.others) == ("made", ())
    assert {r.data.tags[GROUP] for r in runs(results, "trial")} == {
        f"{method} a IF{factor}" for method in ("ce", "good") for factor in (10, 50)
    }


@pytest.mark.slow
def test_a_trial_says_what_it_was(store: tuple[Path, list[Record]]) -> None:
    results, _ = store
    run = next(r for r in runs(results, "trial") if r.data.tags["method"] == "good")
    assert run.data.tags["cell"] in ("a IF10", "a IF50")
    assert (
        f"**good (method ce)** on **{run.data.tags['cell']} (919 training images"
        in run.data.tags["mlflow.note.content"]
    )
    assert [i.dataset.name for i in run.inputs.dataset_inputs] == [run.data.tags["cell"]]


@pytest.mark.slow
def test_a_store_that_takes_no_summary_is_a_warning(
    store: tuple[Path, list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, _ = store
    monkeypatch.setattr(mlflow_board, "put_summary", lambda *_: 1 / 0)
    told: list[str] = []
    assert [name for name, done in sync(None, results, tell=told.append) if not done.left] == ["made"]
    assert ["has the trials of made, but not their means (ZeroDivisionError)" in line for line in told] == [True]
