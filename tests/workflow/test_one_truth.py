"""A board is of the journal and of MLflow together: each trial once, and it says where they came from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.cli import boards
from ltbench.fingerprints import fingerprint_of_files
from ltbench.registry import Registry, fingerprint
from ltbench.results.journal import Journal
from ltbench.spec import Record, Selection, canonical
from ltbench.system.uris import default_uri
from ltbench.tracking import mlflow_store
from ltbench.workflow import find_results
from ltbench.workflow.make_board import BoardRequest, make_board
from ltbench.workflow.make_report import make_report
from tests.ranking.made import plan_of, record, spec
from tests.sampling import sampled

Run = Callable[..., tuple[int, str, str]]
RECORDS = [record(spec(label, seed=seed), chance)
           for label, chance in (("ce", 0.5), ("good", 0.7)) for seed in range(3)]  # fmt: skip


def failed(one: Record) -> Record:
    return Record(spec=one.spec, status="failed", error="ValueError: boom")


@pytest.fixture
def fill(tmp_path: Path, empty_store: Path) -> Callable[..., Path]:
    """Put some records into MLflow and some into the journal beside it."""

    def fill(in_mlflow: list[Record], in_journal: list[Record]) -> Path:
        journal = Journal(tmp_path / "made" / "records")
        if in_mlflow:
            shutil.copy(empty_store, tmp_path)
            store = mlflow_store.Store(default_uri(tmp_path), "made", plan_of(RECORDS))
            for one in in_mlflow:
                store.put(one, Journal(tmp_path / "none"))
        for one in in_journal:
            journal.write(one)
        if in_journal:
            (tmp_path / "made" / "plan.json").write_text(canonical(plan_of(RECORDS).to_json()))
        return tmp_path

    return fill


def test_records_on_their_way_to_mlflow_are_on_the_board(fill: Callable[..., Path], ltbench: Run) -> None:
    results = fill(RECORDS[:4], RECORDS)
    code, out, err = ltbench("leaderboard", "made", "--results", str(results))
    assert code == 0, err
    shown = " ".join(out.split())
    assert "6 of 6 trials" in shown
    assert f"(4 in MLflow, 2 more from {results.as_posix()}/made/records)" in shown


def test_the_board_is_that_of_the_records_wherever_they_are(fill: Callable[..., Path]) -> None:
    results = fill(RECORDS[:4], RECORDS)
    both = make_board(BoardRequest(suite="made", results=results)).board
    later = make_board(BoardRequest(suite="made", results=fill(RECORDS, RECORDS))).board
    assert replace(both, places={}) == later


def test_without_a_store_the_records_are_enough_and_none_is_made(fill: Callable[..., Path]) -> None:
    results = fill([], RECORDS)
    for suite in ("made", None):
        board = make_board(BoardRequest(suite=suite, results=results)).board
        assert (board.finished, dict(board.places)) == (6, {"MLflow": 0, f"{results.as_posix()}/made/records": 6})
    assert not (results / "mlflow.db").exists()


def test_a_store_alone_is_enough(fill: Callable[..., Path]) -> None:
    board = make_board(BoardRequest(suite="made", results=fill(RECORDS, []))).board
    assert (board.finished, board.places) == (6, {})


@pytest.mark.parametrize("broken_in", ["MLflow", "journal"])
def test_a_finished_trial_wins_over_a_failed_one(fill: Callable[..., Path], broken_in: str) -> None:
    broken = [failed(RECORDS[0]), *RECORDS[1:]]
    results = fill(broken, RECORDS) if broken_in == "MLflow" else fill(RECORDS, broken)
    board = make_board(BoardRequest(suite="made", results=results)).board
    assert (board.finished, board.failed) == (6, 0)
    assert not board.places, "every trial is in MLflow"


def test_what_mlflow_has_is_not_read_from_the_journal(
    fill: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = fill(RECORDS[:5], RECORDS)
    read: list[str] = []
    whole = find_results.read_record
    monkeypatch.setattr(find_results, "read_record", lambda file: read.append(file.stem) or whole(file))
    make_board(BoardRequest(suite="made", results=results))
    assert read == [RECORDS[5].key]


def test_a_store_that_cannot_be_read_is_told_and_no_end(fill: Callable[..., Path], tmp_path: Path) -> None:
    results, told = fill([], RECORDS), list[str]()
    (tmp_path / "mlflow.db").write_bytes(b"no database")
    board = make_board(BoardRequest(suite="made", results=results, tell=told.append)).board
    assert board.finished == 6
    assert any("this board is of the records alone" in line for line in told)


def test_the_board_names_the_plan_it_is_of(fill: Callable[..., Path], ltbench: Run) -> None:
    results = fill([], RECORDS)
    _, out, _ = ltbench("leaderboard", "made", "--results", str(results), "--format", "json")
    first = json.loads(out)["config"]["plan"]
    assert len(first) == 12
    plan = replace(plan_of(RECORDS), question="Another?")
    (results / "made" / "plan.json").write_text(canonical(plan.to_json()))
    _, out, _ = ltbench("leaderboard", "made", "--results", str(results), "--format", "json")
    assert json.loads(out)["config"]["plan"] != first


def test_warnings_come_after_the_table(
    fill: Callable[..., Path], ltbench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = fill([], RECORDS)
    (results / "made" / "records" / "0123456789ab.json").write_text("{")
    order: list[str] = []
    monkeypatch.setattr(boards, "print_board", lambda *_, **__: order.append("table"))
    monkeypatch.setattr(boards, "tell", order.append)
    assert ltbench("leaderboard", "made", "--results", str(results))[0] == 0
    assert order[0] == "table"
    assert "0123456789ab.json: left out" in order[1]


# -- stale rows --------------------------------------------------------------------------------------------------------


def old(one: Record) -> Record:
    """Trained before the method's file was edited."""
    return replace(one, spec=replace(one.spec, code="0123456789ab"))


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_rows_of_other_code_than_today_s_are_marked(fill: Callable[..., Path], ltbench: Run, form: str) -> None:
    records = [old(r) if r.spec.label == "good" else r for r in RECORDS]
    results = fill([], records)
    (results / "made" / "plan.json").write_text(canonical(plan_of(records).to_json()))
    _, out, _ = ltbench("leaderboard", "made", "--results", str(results), "--format", form)
    assert "good (stale)" in out
    assert "ce (stale)" not in out
    assert "Stale: good: the code of ce changed since;" in out


def test_today_s_rows_are_not_marked(fill: Callable[..., Path]) -> None:
    assert make_board(BoardRequest(suite="made", results=fill([], RECORDS))).board.stale == {}


def test_a_method_that_is_not_at_hand_is_not_judged_and_is_with_its_folder(
    fill: Callable[..., Path], tmp_path: Path, ltbench: Run
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "own.py").write_text(
        "from ltbench.methods.ce import CrossEntropy\n\n\nclass Own(CrossEntropy):\n    pass\n"
    )
    code = fingerprint(Registry(mine).get("own"))
    records = [replace(r, spec=replace(r.spec, method="own", code=code)) for r in RECORDS[:3]]
    records += [replace(r, spec=replace(r.spec, method="own", code="0123456789ab")) for r in RECORDS[3:]]
    results = fill([], records)
    (results / "made" / "plan.json").write_text(canonical(plan_of(records).to_json()))
    assert "stale" not in ltbench("leaderboard", "made", "--results", str(results))[1]
    _, out, _ = ltbench("leaderboard", "made", "--results", str(results), "--methods", str(mine))
    assert "Stale: good: the code of own changed since;" in out


@pytest.mark.parametrize("name", Registry().names())
def test_a_built_in_method_s_fingerprint_is_the_same_without_importing_it(name: str) -> None:
    registry = Registry()
    assert fingerprint_of_files([registry.builtin_folder / f"{name}.py"]) == fingerprint(registry.get(name))


@sampled("in_mlflow", [0, 4, 6], [4])
def test_the_report_has_the_board_of_the_leaderboard(fill: Callable[..., Path], tmp_path: Path, in_mlflow: int) -> None:
    results = fill(RECORDS[:in_mlflow], RECORDS)
    board = make_board(BoardRequest(suite="made", results=results)).board
    found = make_report("made", results, None, tmp_path / "out", Selection()).board
    assert replace(found, places={}) == replace(board, places={})
    assert found.places == (board.places if in_mlflow else {})
