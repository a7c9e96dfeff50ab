"""MLflow: every record once, nothing lost while the store is away, a leaderboard that reads back what was sent."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ltbench.results.folders import Folders
from ltbench.results.journal import Journal
from ltbench.spec import Expectation, Record, Result, TrialSpec
from ltbench.spec.expectation import ExpectedRow
from ltbench.tracking import delivery, mlflow_client, mlflow_store
from ltbench.tracking.delivery import Tracker
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.tracking.made import PATIENT

pytestmark = pytest.mark.slow
Make = Callable[..., TrialSpec]
PLAN = Expectation(
    suite="test",
    question="Why?",
    protocol={"seeds": [0, 1], "primary": "accuracy", "report": ["accuracy"], "reference": "ce"},
    rows={"ce": ExpectedRow("tiny", "x" * 6000)},
    columns=(),
)


@pytest.fixture
def results(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def journal(results: Path) -> Journal:
    return Folders(results, "test").journal


def deliver(
    results: Path, journal: Journal, uri: str | None = None, plan: Expectation = PLAN
) -> tuple[int, int, list[str]]:
    """Send the backlog: how many were queued, how many the store still lacks, and the warnings."""
    warnings: list[str] = []
    tracker = Tracker(uri or delivery.default_uri(results), "test", journal, plan, warnings.append, PATIENT)
    queued = tracker.deliver_backlog()
    return queued, tracker.close(), warnings


@pytest.fixture
def record(make_spec: Make, site: Site, journal: Journal) -> Record:
    made = run_trial(make_spec("text_guided_mixup"), site)
    journal.write(made)
    return made


def test_what_was_sent_reads_back_the_same(results: Path, journal: Journal, record: Record) -> None:
    failed = Record(spec=replace(record.spec, seed=1), status="failed", error="ValueError: boom")
    journal.write(failed)
    assert deliver(results, journal) == (2, 0, [])
    found, plan = mlflow_store.read(delivery.default_uri(results), "test")
    assert sorted(found, key=lambda r: r.seed) == [Result.of(record), Result.of(failed)]
    assert plan == PLAN


def test_names_that_matplotlibs_font_lacks_print_nothing(
    results: Path, journal: Journal, record: Record, recwarn: pytest.WarningsRecorder
) -> None:
    names = [f"\u65e5\u672c {c}" for c in range(len(record.per_class["recall"]))]
    journal.write(replace(record, environment={**record.environment, "class_names": names}))
    warnings.simplefilter("always")
    assert deliver(results, journal) == (1, 0, [])
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_a_run_shows_what_a_reader_of_the_ui_looks_for(results: Path, journal: Journal, record: Record) -> None:
    deliver(results, journal)
    client = mlflow_client.client_of(delivery.default_uri(results))
    experiment = client.get_experiment_by_name("test")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "text_guided_mixup digits IF20 s0"
    assert run.data.metrics["test/balanced_accuracy"] == record.metrics["balanced_accuracy"]
    assert run.data.params["recipe.optimizer.lr"] == "0.05"
    assert run.data.params["method.tau"] == "0.05"
    assert run.data.tags["dataset"] == "digits"
    assert run.inputs.dataset_inputs[0].dataset.digest == record.spec.cell.manifest
    artifacts = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert {"record.json", "per_class.json", "confusion.png", "predictions.npz"} <= artifacts
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == len(record.curves["train/loss"])


def test_another_plan_is_sent_where_no_record_is(results: Path, journal: Journal, record: Record) -> None:
    """Or `ltbench leaderboard` would go by the reference, rows or seeds of an earlier suite."""

    def run(reference: str) -> tuple[int, int]:
        plan = replace(PLAN, protocol={**PLAN.protocol, "reference": reference})
        tracker = delivery.Tracker(delivery.default_uri(results), "test", journal, plan, patience=PATIENT)
        return tracker.deliver_backlog(), tracker.close()

    def kept() -> str:
        return str(mlflow_store.read(delivery.default_uri(results), "test")[1].protocol["reference"])

    assert run("ce") == (1, 0)
    for reference in ("mixup", "ce", "mixup"):  # also back to one that was there before
        assert run(reference) == (0, 0)
        assert kept() == reference


def test_the_same_plan_is_not_sent_again_and_no_plan_without_a_record(
    results: Path, journal: Journal, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deliver(results, journal) == (1, 0, [])

    def opened(*arguments: Any) -> None:
        raise AssertionError("there is nothing to tell the store")

    monkeypatch.setattr(mlflow_store, "Store", opened)
    assert deliver(results, journal) == (0, 0, [])
    assert deliver(results, Folders(results, "new").journal) == (0, 0, [])


def test_a_plan_that_cannot_be_sent_is_no_record_and_is_sent_next_time(
    results: Path, journal: Journal, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deliver(results, journal) == (1, 0, [])
    plan = replace(PLAN, question="Another one?")
    with monkeypatch.context() as away:
        away.setattr(mlflow_store, "opened", lambda *_: 1 / 0)
        _, lacking, warnings = deliver(results, journal, plan=plan)
    assert (lacking, len(warnings)) == (0, 1)
    assert deliver(results, journal, plan=plan) == (0, 0, [])
    assert mlflow_store.read(delivery.default_uri(results), "test")[1].question == "Another one?"


def test_sending_twice_leaves_one_run(results: Path, journal: Journal, record: Record) -> None:
    deliver(results, journal)
    assert deliver(results, journal)[0] == 0
    (journal.folder.parent / "mlflow-sent.jsonl").unlink()
    assert deliver(results, journal) == (1, 0, [])
    assert len(mlflow_store.read(delivery.default_uri(results), "test")[0]) == 1


def test_a_run_left_half_written_by_a_crash_is_replaced(results: Path, journal: Journal, record: Record) -> None:
    store = mlflow_store.Store(delivery.default_uri(results), "test", PLAN)
    tags = {mlflow_store.KIND: "trial", "ltbench.key": record.key}
    store._client.create_run(store._experiment, run_name="torn", tags=tags)
    deliver(results, journal)
    client = mlflow_client.client_of(delivery.default_uri(results))
    runs = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    assert [r.info.status for r in runs] == ["FINISHED"]


def test_a_record_brought_up_to_date_replaces_its_run(results: Path, journal: Journal, record: Record) -> None:
    deliver(results, journal)
    journal.write(replace(record, spec=replace(record.spec, label="renamed")))
    assert deliver(results, journal)[0] == 1
    assert [r.label for r in mlflow_store.read(delivery.default_uri(results), "test")[0]] == ["renamed"]


def test_while_the_server_is_away_records_wait_and_a_warning_is_given_once(
    results: Path, journal: Journal, record: Record
) -> None:
    journal.write(Record(spec=replace(record.spec, seed=1), status="failed", error="x"))
    away = "http://user:secret@127.0.0.1:9"
    queued, lacking, warnings = deliver(results, journal, away)
    assert (queued, lacking, len(warnings)) == (2, 2, 1)
    assert "secret" not in warnings[0]
    assert deliver(results, journal) == (2, 0, [])


def test_a_torn_ledger_line_does_no_harm(results: Path, journal: Journal, record: Record) -> None:
    deliver(results, journal)
    ledger = journal.folder.parent / "mlflow-sent.jsonl"
    ledger.write_text(ledger.read_text()[:20])
    assert deliver(results, journal) == (1, 0, [])
    assert len(mlflow_store.read(delivery.default_uri(results), "test")[0]) == 1


def test_two_folders_on_one_store_keep_each_others_runs(results: Path, journal: Journal, record: Record) -> None:
    """One after the other and again: what is there first stays, and nothing is sent for ever."""
    uri, others = delivery.default_uri(results), Folders(results / "b", "test").journal
    others.write(replace(record, environment={**record.environment, "started": 1.0}))
    assert deliver(results, journal) == (1, 0, [])
    queued, lacking, (warning,) = deliver(results, others, uri)
    assert (queued, lacking) == (1, 0)
    assert f"has the record of {record.key} from another results folder" in warning
    for there in (journal, others, journal, others):
        assert deliver(results, there, uri)[0] == 0
        assert delivery.deliver(uri, "test", there, PLAN, lambda _: None) == (0, 1, 0)
    client = mlflow_client.client_of(uri)
    every = client.search_runs([client.get_experiment_by_name("test").experiment_id], run_view_type=3)
    assert [run.info.lifecycle_stage for run in every] == ["active"]


def test_a_finished_record_takes_the_place_of_anothers_failed_one(
    results: Path, journal: Journal, record: Record
) -> None:
    uri, others = delivery.default_uri(results), Folders(results / "b", "test").journal
    others.write(Record(spec=record.spec, status="failed", error="x"))
    assert deliver(results, others, uri) == (1, 0, [])
    assert deliver(results, journal, uri) == (1, 0, [])
    assert [r.status for r in mlflow_store.read(uri, "test")[0]] == ["ok"]


def test_an_own_store_that_is_of_no_use_is_made_anew_and_sent_everything(
    results: Path, journal: Journal, record: Record
) -> None:
    uri = delivery.default_uri(results)
    assert deliver(results, journal) == (1, 0, [])
    (results / "mlflow.db").write_text("no database " * 1000)
    more = Record(spec=replace(record.spec, seed=1), status="failed", error="x")
    journal.write(more)
    queued, lacking, (warning,) = deliver(results, journal)
    assert (queued, lacking) == (1, 0)
    assert "kept as mlflow.db.damaged" in warning
    assert sorted(r.key for r in mlflow_store.read(uri, "test")[0]) == sorted([record.key, more.key])
    assert deliver(results, journal) == (0, 0, [])


@pytest.mark.parametrize("content", [b"no npz", b""])
def test_damaged_predictions_are_named_and_the_record_goes_without(
    content: bytes, results: Path, journal: Journal, record: Record
) -> None:
    (journal.folder / f"{record.key}.npz").write_bytes(content)
    queued, lacking, (warning,) = deliver(results, journal)
    assert (queued, lacking) == (1, 0)
    assert warning.startswith(f"{record.key}.npz")
    client = mlflow_client.client_of(delivery.default_uri(results))
    (run,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    artifacts = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert "record.json" in artifacts
    assert "predictions.npz" not in artifacts


@pytest.mark.parametrize("line", ["[" * 100_000, '{"store": []}', "[]", '{"store": 1, "key": [], "digest": {}}'])
def test_a_damaged_ledger_line_does_no_harm(line: str, results: Path, journal: Journal, record: Record) -> None:
    ledger = journal.folder.parent / "mlflow-sent.jsonl"
    ledger.write_text(line + "\n")
    assert deliver(results, journal) == (1, 0, [])
    assert deliver(results, journal) == (0, 0, [])


def test_an_unknown_suite_is_refused_with_those_there_are(results: Path, journal: Journal, record: Record) -> None:
    from ltbench.errors import UserError

    deliver(results, journal)
    with pytest.raises(UserError, match="it has: test"):
        mlflow_store.read(delivery.default_uri(results), "tset")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:pw@host:5000/x", "http://***@host:5000/x"),
        ("https://token@host/", "https://***@host/"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("https://host/?token=abcdef&x=1#frag", "https://host/?token=***&x=***#***"),
        ("https://host/?abcdef", "https://host/?***"),
        ("postgresql://me:p@ss@host:5432/db?sslmode=require", "postgresql://***@host:5432/db?sslmode=***"),
        ("http://me:pw@[::1]:5000/", "http://***@[::1]:5000/"),
        ("http://me:a/b?c#d@host/x", "http://***@host/x"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://[broken?password=abc", "http://[broken?password=***"),
    ],
)
def test_passwords_are_not_shown(uri: str, shown: str) -> None:
    assert delivery.shown_uri(uri) == shown
