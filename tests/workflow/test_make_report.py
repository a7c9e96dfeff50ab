"""A report and its board in MLflow: in an experiment of its own, sent once, replaced when it changes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ltbench import cli
from ltbench.errors import UserError
from ltbench.results.folders import Folders
from ltbench.spec import Record, Selection, canonical
from ltbench.tracking import mlflow_board, mlflow_client, mlflow_store
from ltbench.tracking.aggregates import Aggregate
from ltbench.tracking.delivery import Tracker, default_uri
from ltbench.workflow.make_report import Made, make_report
from tests.ranking import made
from tests.tracking.made import PATIENT

NAME = "made leaderboard"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> tuple[Path, list[Record]]:
    """A results folder with a suite in the journal and in MLflow."""
    results = tmp_path_factory.mktemp("results")
    shutil.copy(empty_store, results)
    records = made.records({"ce": 0.5, "good": 0.7}, {"a": (10.0,)}, seeds=3)
    plan, folders = made.plan_of(records), Folders(results, "made")
    for record in records:
        folders.journal.write(record)
    folders.plan_file.write_text(canonical(plan.to_json()))
    warnings: list[str] = []
    tracker = Tracker(default_uri(results), "made", folders.journal, plan, warnings.append, PATIENT)
    tracker.deliver_backlog()
    assert (tracker.close(), warnings) == (0, [])
    return results, records


def sent(results: Path, name: str = NAME) -> list[Any]:
    client = mlflow_client.client_of(default_uri(results))
    found = client.get_experiment_by_name(name)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


def report(results: Path, tell: Callable[[str], None] = print, **chosen: Any) -> Made:
    return make_report("made", results, None, results / "out", Selection(**chosen), tell)


@pytest.fixture(scope="module")
def drawn(store: tuple[Path, list[Record]]) -> Callable[[tuple[int, ...] | None], Made]:
    """The report of some seeds, drawn once: only its delivery is tried again and again."""

    @cache
    def draw(seeds: tuple[int, ...] | None) -> Made:
        chosen = Selection(seeds=None if seeds is None else list(seeds))
        return make_report("made", store[0], None, store[0] / f"report of {seeds}", chosen)

    return draw


@pytest.fixture
def uploaded(
    store: tuple[Path, list[Record]], drawn: Callable[[tuple[int, ...] | None], Made]
) -> Callable[..., list[Any]]:
    results, _ = store

    def upload(seeds: list[int] | None = None) -> list[Any]:
        drawn(None if seeds is None else tuple(seeds)).upload(default_uri(results))
        return sent(results)

    return upload


@pytest.mark.slow
def test_a_report_is_sent_once_and_apart_from_the_trials(
    store: tuple[Path, list[Record]], uploaded: Callable[..., list[Any]]
) -> None:
    results, records = store
    before = {r.info.run_id for r in sent(results, "made")}
    first = uploaded()
    assert sorted(r.info.run_name for r in first) == ["ce a IF10", "ce all", "good a IF10", "good all", "report"]
    assert {r.info.status for r in first} == {"FINISHED"}
    assert {r.info.run_id for r in uploaded()} == {r.info.run_id for r in first}, "sending twice does not double"
    assert {r.info.run_id for r in sent(results, "made")} == before, "the suite's own experiment is as it was"
    assert len(before) == len(records)
    assert mlflow_store.suites(default_uri(results)) == ["made"]


@pytest.mark.slow
def test_the_report_run_has_the_files(store: tuple[Path, list[Record]], uploaded: Callable[..., list[Any]]) -> None:
    (run,) = (r for r in uploaded() if r.info.run_name == "report")
    client = mlflow_client.client_of(default_uri(store[0]))
    there = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "figures", "scores.csv", "pairs.csv", "leaderboard.json", "leaderboard.tex"} <= there
    assert "figures/ranks.svg" in {f.path for f in client.list_artifacts(run.info.run_id, "figures")}


@pytest.mark.slow
def test_a_changed_board_replaces_the_earlier(uploaded: Callable[..., list[Any]]) -> None:
    first, fewer = uploaded(), uploaded(seeds=[0, 1])
    assert not {r.info.run_id for r in first} & {r.info.run_id for r in fewer}
    assert {r.data.metrics["n"] for r in fewer if r.info.run_name != "report"} == {2.0}
    assert len(fewer) == len(first)
    assert {r.data.metrics["n"] for r in uploaded() if r.info.run_name != "report"} == {3.0}


@pytest.mark.slow
def test_what_a_crash_left_half_sent_is_replaced(
    store: tuple[Path, list[Record]], uploaded: Callable[..., list[Any]], tmp_path: Path
) -> None:
    uploaded()
    torn = {"report.html": tmp_path / "absent"}
    runs = [Aggregate("torn", {}, {"mean": 1.0})]
    with pytest.raises(OSError):  # noqa: PT011 - whatever the store says of a file that is not there
        mlflow_board.put_board(default_uri(store[0]), "made", "another digest", runs, torn)
    assert "torn" not in {r.info.run_name for r in uploaded(seeds=[0, 1])}


@pytest.mark.slow
def test_the_leaderboard_reads_the_trials_alone(
    store: tuple[Path, list[Record]], uploaded: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def shown() -> str:
        monkeypatch.setattr(sys, "argv", ["ltbench", "leaderboard", "--results", str(store[0])])
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code in (0, None)
        return str(capsys.readouterr().out)

    uploaded()
    out = shown()
    assert "6 of 6 trials" in out
    mlflow_client.client_of(default_uri(store[0])).delete_experiment(
        mlflow_client.client_of(default_uri(store[0])).get_experiment_by_name(NAME).experiment_id
    )
    assert shown() == out
    assert len(uploaded()) == 5, "a deleted experiment comes back"


@pytest.mark.slow
def test_a_store_that_is_away_is_a_warning(drawn: Callable[[tuple[int, ...] | None], Made]) -> None:
    found, lines = drawn(None), list[str]()
    found.upload("http://user:secret@127.0.0.1:9", lines.append)
    (told,) = lines
    assert told.startswith("warning: the report is not in MLflow")
    assert "secret" not in told
    assert found.page.is_file()


def test_a_damaged_record_is_left_out_of_a_report_with_a_warning(tmp_path: Path) -> None:
    told: list[str] = []
    folders, records = Folders(tmp_path, "made"), made.records({"ce": 0.5, "good": 0.7}, {"a": (10.0,)}, seeds=3)
    for record in records:
        folders.journal.write(record)
    (folders.journal.folder / f"{records[0].key}.json").write_text("{")
    found = report(tmp_path, told.append)
    assert len(told) == 1
    assert told[0].startswith("warning: ")
    assert "left out" in told[0]
    assert found.board.finished == 5


def test_a_suite_without_records_has_no_report(tmp_path: Path) -> None:
    (tmp_path / "made" / "records").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no records; run the suite first: ltbench run made"):
        report(tmp_path)
