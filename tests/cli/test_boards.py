"""`ltbench leaderboard` and `ltbench report` as a stranger types them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.results.journal import Journal
from ltbench.spec import Plan
from tests.cli.made import Run


@pytest.mark.parametrize("name", ["text", "markdown", "csv", "json"])
def test_a_folder_of_records_is_ranked_in_every_format(ltbench: Run, records: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "out" / "board"
    code, out, _ = ltbench("leaderboard", "--from", str(records), "--format", name, "--out", str(file))
    assert (code, out) == (0, "")
    shown = file.read_text()
    assert "mixup" in shown
    if name == "json":
        assert json.loads(shown)["tables"][0]["rows"][0]["label"] == "mixup"


def test_a_damaged_record_is_left_out_with_a_warning(ltbench: Run, records: Path) -> None:
    (records / "0123456789ab.json").write_text('{"schema": 1, "spec"')
    code, out, err = ltbench("leaderboard", "--from", str(records))
    assert code == 0
    assert "0123456789ab.json: left out" in err
    assert "6 of 6 trials" in out


def test_a_leaderboard_before_any_run_says_how_to_begin(ltbench: Run, tmp_path: Path) -> None:
    code, _, err = ltbench("leaderboard", "--results", str(tmp_path / "none"))
    assert code == 2
    assert "ltbench run quickstart" in err


def test_an_unknown_format_is_refused_with_those_there_are(ltbench: Run, records: Path) -> None:
    code, _, err = ltbench("leaderboard", "--from", str(records), "--format", "markdwn")
    assert code == 2
    assert "Did you mean 'markdown'?" in err


def of_suite(folder: Path, suite: str) -> None:
    """Give the records of a folder to another suite, beside the ones that are there."""
    journal = Journal(folder)
    for record in list(journal.records().values()):
        journal.write(replace(record, spec=replace(record.spec, suite=suite, seed=record.spec.seed + 100)))


def test_what_is_written_to_a_file_is_what_would_be_shown(ltbench: Run, records: Path, tmp_path: Path) -> None:
    _, shown, _ = ltbench("leaderboard", "--from", str(records))
    ltbench("leaderboard", "--from", str(records), "--out", str(tmp_path / "new" / "board.txt"))
    assert (tmp_path / "new" / "board.txt").read_text(encoding="utf-8") == shown


def test_a_results_folder_may_be_given_in_place_of_its_records(ltbench: Run, records: Path) -> None:
    assert ltbench("leaderboard", "--from", str(records.parent)) == ltbench("leaderboard", "--from", str(records))


def test_the_plan_beside_the_records_says_what_is_missing(ltbench: Run, records: Path) -> None:
    specs = [r.spec for r in Journal(records).records().values()]
    trials = (*specs, *(replace(s, seed=s.seed + 3) for s in specs))
    protocol = {"primary": "balanced_accuracy", "report": ["few"], "reference": "ce", "seeds": [0, 1, 2, 3, 4, 5]}
    plan = Plan(suite="test", question="Why?", trials=trials, skips=(), protocol=protocol)
    (records.parent / "plan.json").write_text(json.dumps(plan.expectation().to_json()))
    _, out, _ = ltbench("leaderboard", "--from", str(records))
    assert "6 of 12 trials, 0 failed, 6 missing" in out


def test_of_two_suites_in_a_folder_the_named_one_is_ranked(ltbench: Run, records: Path) -> None:
    of_suite(records, "other")
    code, _, err = ltbench("leaderboard", "--from", str(records))
    assert code == 2
    assert "choose one" in err
    code, out, err = ltbench("leaderboard", "other", "--from", str(records))
    assert code == 0, err
    assert out.startswith("other: ")


def test_a_suite_that_a_folder_does_not_hold_is_refused(ltbench: Run, records: Path) -> None:
    code, _, err = ltbench("leaderboard", "cifar_lt", "--from", str(records))
    assert code == 2
    assert "cifar_lt" in err


def test_a_misspelt_row_is_not_silently_left_away(ltbench: Run, records: Path) -> None:
    code, _, err = ltbench("leaderboard", "--from", str(records), "--only", "ce,mixpu")
    assert code == 2
    assert "mixpu" in err
    assert "'mixup'" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "nowhere"], "no such folder"),
        (["--from", "empty"], "no results"),
        (["--from", "{records}", "--out", "{records}"], "cannot be written"),
        (["--from", "{records}", "--seeds", "77"], "not among the results"),
        (["--from", "{records}", "--out", "table.pdf"], "no format goes by .pdf. Known: .txt, .md, .tex, .csv, .json"),
        (["--from", "{records}", "--format", "html5"], "unknown"),
    ],
)
def test_a_leaderboard_that_cannot_be_made_says_why(
    ltbench: Run, records: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    code, out, err = ltbench("leaderboard", *(a.format(records=records) for a in arguments))
    assert (code, out) == (2, "")
    assert says in err


def test_a_damaged_plan_beside_the_records_is_named(ltbench: Run, records: Path) -> None:
    (records.parent / "plan.json").write_text('{"suite": ')
    code, _, err = ltbench("leaderboard", "--from", str(records))
    assert code == 2
    assert "plan.json" in err


def test_a_report_of_a_file_that_holds_no_scores_says_what_it_lacks(ltbench: Run, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("method\n")
    code, _, err = ltbench("report", "--from", str(tmp_path / "scores.csv"))
    assert code == 2
    assert "lacks the columns dataset, imbalance_factor, seed, metric, value" in err
