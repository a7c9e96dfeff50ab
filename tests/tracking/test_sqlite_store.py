"""Results straight from MLflow's sqlite file: the same as MLflow gives, or nothing at all."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.errors import UserError
from ltbench.results.journal import Journal
from ltbench.spec import Record
from ltbench.system.uris import default_uri
from ltbench.tracking import mlflow_client, mlflow_store, sqlite_store
from tests.ranking.made import plan_of, record, spec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A store with two suites; each has a failed trial, one that lacks a metric, one deleted, one unfinished,
    and a run that ltbench did not make."""
    results = tmp_path_factory.mktemp("filled")
    shutil.copy(empty_store, results)
    for suite in ("made", "other"):
        kept = [record(spec(label, seed=seed, suite=suite)) for label in ("ce", "good") for seed in range(3)]
        kept[0] = replace(kept[0], metrics={**kept[0].metrics, "many": None})
        kept[1] = Record(spec=kept[1].spec, status="failed", error="ValueError: boom")
        store = mlflow_store.Store(default_uri(results), suite, plan_of(kept))
        for one in kept:
            store.put(one, Journal(results / suite / "records"))
        runs = list(mlflow_client.runs_of(store._client, store._experiment))
        by_key = {r.data.tags["ltbench.key"]: r.info.run_id for r in runs}
        store._client.delete_run(by_key[kept[2].key])
        store._client.create_run(store._experiment, tags={mlflow_store.KIND: "trial", "ltbench.key": "0123456789ab"})
        store._client.create_run(store._experiment, run_name="a stranger's")
    return results


@pytest.fixture
def results(filled: Path, tmp_path: Path) -> Path:
    shutil.copy(filled / "mlflow.db", tmp_path / "mlflow.db")
    return tmp_path


def change(results: Path, statement: str) -> None:
    with sqlite3.connect(results / "mlflow.db") as store:
        store.execute(statement)
    store.close()


@pytest.mark.parametrize("suite", ["made", "other"])
def test_it_is_what_mlflow_gives_in_the_same_order(filled: Path, suite: str) -> None:
    """That it is not None also says: the layout of the installed MLflow is one that was tested."""
    found = sqlite_store.read(default_uri(filled), suite)
    assert found is not None
    assert found == mlflow_store.read(default_uri(filled), suite)
    assert len(found[0]) == 5


def test_suites_are_those_of_mlflow(filled: Path) -> None:
    assert sqlite_store.suites(default_uri(filled)) == mlflow_store.suites(default_uri(filled)) == ["other", "made"]


def test_a_suite_of_imported_records_without_a_plan_is_a_suite(results: Path) -> None:
    """Found by hand: after `ltbench import`, `ltbench leaderboard` said that the store holds no suite."""
    mlflow_store.Store(default_uri(results), "brought", None)
    names = sqlite_store.suites(default_uri(results))
    assert names == mlflow_store.suites(default_uri(results))
    assert sorted(names or []) == ["brought", "made", "other"]


def test_a_deleted_suite_is_shown_as_mlflow_shows_it(results: Path) -> None:
    change(results, "UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'made'")
    assert sqlite_store.suites(default_uri(results)) == mlflow_store.suites(default_uri(results)) == ["other"]
    assert sqlite_store.read(default_uri(results), "made") == mlflow_store.read(default_uri(results), "made")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alembic_version SET version_num = 'c0ffee'",
        "DELETE FROM alembic_version",
        "ALTER TABLE latest_metrics RENAME COLUMN is_nan TO nan",
        "DROP TABLE tags",
        "UPDATE experiments SET workspace = 'theirs'",
        "UPDATE tags SET value = '../../etc' WHERE key = 'method'",
        "DELETE FROM tags WHERE key = 'ltbench.manifest'",
        "UPDATE experiment_tags SET value = 'x' WHERE key = 'ltbench.plan.0'",
        "UPDATE latest_metrics SET is_nan = 1 WHERE key = 'test/few'",
        "UPDATE latest_metrics SET value = 'much' WHERE key = 'test/few'",
        "DELETE FROM experiments WHERE name = 'made'",
    ],
)
def test_whatever_is_not_as_tested_is_left_to_mlflow(results: Path, statement: str) -> None:
    change(results, statement)
    assert sqlite_store.read(default_uri(results), "made") is None


def test_a_metric_that_is_no_number_is_no_result(results: Path) -> None:
    change(results, "UPDATE latest_metrics SET is_nan = 1 WHERE key = 'test/few'")
    with pytest.raises(UserError, match=r"is not as ltbench made it .*few"):
        mlflow_store.read(default_uri(results), "made")


@pytest.mark.parametrize("damage", [lambda f: f.write_bytes(b"no database"), lambda f: f.unlink(),
                                    lambda f: f.write_bytes(f.read_bytes()[:5000])])  # fmt: skip
def test_a_damaged_or_absent_file_is_left_to_mlflow(results: Path, damage: Callable[[Path], object]) -> None:
    damage(results / "mlflow.db")
    assert sqlite_store.read(default_uri(results), "made") is None
    assert sqlite_store.suites(default_uri(results)) is None


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "postgresql://u:p@h/db", "sqlite:////tmp/x.db?mode=rw"])
def test_other_stores_are_left_to_mlflow(uri: str) -> None:
    assert sqlite_store.read(uri, "made") is None
    assert sqlite_store.suites(uri) is None


def test_reading_writes_nothing(results: Path) -> None:
    before = (results / "mlflow.db").read_bytes()
    (results / "mlflow.db").chmod(0o444)
    sqlite_store.read(default_uri(results), "made")
    assert (results / "mlflow.db").read_bytes() == before
    assert [p.name for p in results.iterdir()] == ["mlflow.db"]


def test_a_leaderboard_does_without_mlflow(results: Path) -> None:
    script = (
        "import sys; from ltbench.cli import main\n"
        "sys.argv = ['ltbench', 'leaderboard', 'made', '--results', sys.argv[1]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'mlflow' not in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script, str(results)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "made: balanced accuracy" in done.stdout
