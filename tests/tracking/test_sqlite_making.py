"""MLflow's sqlite file is made whole or not at all; one that was left half made is made again from the records."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ltbench.errors import UserError
from ltbench.tracking import sqlite_making
from ltbench.tracking.sqlite_making import Tools, make_ready


def whole(file: Path) -> None:
    """What MLflow does to a store, in small: a table that must not be there yet, unless all are."""
    with sqlite3.connect(file) as store:
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master")}
        if tables != {"a", "b"}:
            store.execute("CREATE TABLE a (x)")
            store.execute("CREATE TABLE b (x)")


def fails(error: Exception) -> Callable[[Path], None]:
    def open_(file: Path) -> None:
        raise error

    return open_


def tools(open_: Callable[[Path], None] = whole, upgrade: Callable[[Path], None] = whole) -> Tools:
    return Tools(open_, upgrade, lambda file: None)


@pytest.fixture
def half(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("CREATE TABLE a (x)")
    return tmp_path / "mlflow.db"


def names(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


@pytest.mark.parametrize("empty", [False, True])
def test_a_store_that_is_not_there_is_made_beside_its_place(empty: bool, tmp_path: Path) -> None:
    file, seen = tmp_path / "mlflow.db", list[Path]()
    if empty:
        file.touch()

    def open_(scratch: Path) -> None:
        seen.append(scratch)
        whole(scratch)

    before = os.umask(0o002)
    try:
        assert make_ready(file, tools(open_), own=False) == "it was not there"
    finally:
        os.umask(before)
    assert seen[0] != file
    assert names(tmp_path) == ["mlflow.db"]
    assert file.stat().st_mode & 0o777 == 0o664, "a group that shares the folder shares the store"
    assert make_ready(file, tools(), own=False) is None


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_one_that_is_broken_off_leaves_nothing(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        make_ready(tmp_path / "mlflow.db", tools(fails(error)), own=True)
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    for name, age in (("old", 10_000), ("new", 0)):
        left = tmp_path / f".mlflow.db-making-{name}"
        left.touch()
        os.utime(left, (left.stat().st_mtime - age,) * 2)
    make_ready(tmp_path / "mlflow.db", tools(), own=True)
    assert names(tmp_path) == [".mlflow.db-making-new", "mlflow.db"]


def test_an_own_store_that_was_left_half_made_is_kept_aside_and_made_anew(half: Path) -> None:
    said = make_ready(half, tools(), own=True)
    assert said is not None
    assert "kept as mlflow.db.damaged" in said
    assert names(half.parent) == ["mlflow.db", "mlflow.db.damaged"]
    assert make_ready(half, tools(), own=True) is None


def test_an_own_file_that_is_no_database_is_made_anew(half: Path) -> None:
    half.write_text("no database " * 1000)
    assert "kept as" in str(make_ready(half, tools(), own=True))


def test_a_store_that_others_may_use_is_left_with_the_cure(half: Path) -> None:
    with pytest.raises(UserError, match=r"half made.*mv .*mlflow\.db .*ltbench sync"):
        make_ready(half, tools(), own=False)
    assert names(half.parent) == ["mlflow.db"]


@pytest.mark.parametrize(
    "said", ["disk I/O error", "database is locked", "unable to open database file", "disk is full"]
)
def test_an_error_that_passes_is_no_damage(said: str, half: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match=said):
        make_ready(half, tools(fails(sqlite3.OperationalError(said))), own=True)
    assert names(half.parent) == ["mlflow.db"]


def test_a_store_of_an_earlier_mlflow_is_brought_up_to_date_in_a_copy(half: Path) -> None:
    def open_(file: Path) -> None:
        with sqlite3.connect(file) as store:
            if not store.execute("SELECT 1 FROM sqlite_master WHERE name = 'b'").fetchall():
                raise ValueError("Detected out-of-date database schema (found version x)")

    def upgrade(file: Path) -> None:
        assert file != half
        with sqlite3.connect(file) as store:
            store.execute("CREATE TABLE b (x)")

    assert make_ready(half, tools(open_, upgrade), own=True) is None
    assert names(half.parent) == ["mlflow.db"]
    open_(half)


def test_a_store_of_a_later_mlflow_is_left_alone(half: Path) -> None:
    old = fails(ValueError("Detected out-of-date database schema (found version x)"))
    with pytest.raises(UserError, match="later MLflow"):
        make_ready(half, tools(old, fails(ValueError("Can't locate revision identified by 'x'"))), own=True)
    assert names(half.parent) == ["mlflow.db"]


def test_a_lock_that_cannot_be_had_is_gone_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_making, "LOCK_SECONDS", 0.1)
    with sqlite_making.alone(tmp_path / "mlflow.db"), sqlite_making.alone(tmp_path / "mlflow.db"):
        pass
    with sqlite_making.alone(tmp_path / "none" / "mlflow.db"):
        pass
