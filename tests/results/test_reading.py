"""What several processes read of a folder is what one reads."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.results import reading
from ltbench.results.journal import Journal, Unreadable
from ltbench.results.reading import read_results
from ltbench.spec import Result
from tests.results.made import NEW, SPEC


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Five records, a damaged file between them, and one whose name is not UTF-8."""
    journal = Journal(tmp_path / "records")
    for seed in range(5):
        journal.write(replace(NEW, spec=replace(SPEC, seed=seed)))
    (journal.folder / "8.json").write_text("{")
    (journal.folder / b"\xff.json".decode("utf-8", "surrogateescape")).write_text("[]")
    return journal


def alone(journal: Journal) -> list[Result | Unreadable]:
    return [r if isinstance(r, Unreadable) else Result.of(r) for r in journal]


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_several_processes_read_what_one_reads(
    journal: Journal, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading.os, "sched_getaffinity", lambda _: range(processes))
    started = []
    monkeypatch.setattr(reading, "_Helper", lambda *of, start=reading._Helper: started.append(of) or start(*of))
    assert read_results(journal.folder, journal.names(), many=1) == alone(journal)
    assert len(started) == processes - 1


def test_a_few_records_start_no_process(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert read_results(journal.folder, journal.names()) == alone(journal)
    assert read_results(journal.folder, []) == []


@pytest.mark.parametrize("start", ["", "raise SystemExit(1)", "import sys; sys.stdout.write('no JSON')",
                                   "print('[1]')", "print('[{}]')", "import os; os.write(1, b'\\xff')"])  # fmt: skip
def test_a_process_that_comes_to_nothing_loses_nothing(
    journal: Journal, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading.os, "sched_getaffinity", lambda _: range(3))
    monkeypatch.setattr(reading, "_START", start)
    assert read_results(journal.folder, journal.names(), many=1) == alone(journal)
