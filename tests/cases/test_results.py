"""Results as other machines, other people and crashes leave them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cases.situation import Run, Situation, Write, suite
from tests.ranking.made import plan_of, record, spec

RECORDS = [record(spec(label, seed=seed)) for label in ("ce", "good") for seed in range(3)]
PLAN = plan_of(RECORDS).to_json()


def _json(each: Any, **changed: Any) -> str:
    return json.dumps({**each.to_json(), **changed})


GOOD: dict[str, str | bytes | Write] = {f"made/records/{r.key}.json": _json(r) for r in RECORDS}
GOOD |= {f"made/records/{r.key}.npz": r.predictions or b"" for r in RECORDS} | {"made/plan.json": json.dumps(PLAN)}
LAST = f"made/records/{RECORDS[-1].key}"


def board(name: str, more: dict[str, str | bytes | Write], *says: str, code: int = 0) -> Situation:
    return Situation(name, {**GOOD, **more}, ("leaderboard", "--from", "made"), code, says)


def without(*names: str) -> str:
    return json.dumps({name: part for name, part in PLAN.items() if name not in names})


def to_nowhere(file: Path) -> None:
    file.symlink_to("/dev/zero")


HUGE = {"balanced_accuracy": 10**400}
SITUATIONS = [
    board("as they should be", {}, "good", r"6 trials|3\b"),
    board("damaged predictions", {f"{LAST}.npz": b"PK\x03\x04 no"}, "good"),
    board("a number without end", {f"{LAST}.json": _json(RECORDS[-1], metrics=HUGE)}, RECORDS[-1].key, "left out"),
    board("a record that is a device", {f"made/records/{'0' * 12}.json": to_nowhere}, "0" * 12, "left out"),
    board("a record that is a folder", {f"made/records/{'0' * 12}.json/x": "x"}, "0" * 12, "left out"),
    board("a record that is a pipe", {f"made/records/{'0' * 12}.json": lambda f: os.mkfifo(f)}, "0" * 12, "left out"),
    board("a plan without methods", {"made/plan.json": without("methods")}, "good"),
    board("a plan without kinds", {"made/plan.json": without("kinds")}, "good"),
    board("a plan whose kinds are others'", {"made/plan.json": json.dumps({**PLAN, "kinds": {"z": "digits"}})}, "good"),
    board(
        "a plan whose methods are others'",
        {"made/plan.json": json.dumps({**PLAN, "methods": {"z": ["ce", {}]}})},
        "good",
    ),
    board("a plan without a protocol", {"made/plan.json": without("protocol")}, r"plan\.json", "remove it", code=2),
    board("a plan that is too deep", {"made/plan.json": "[" * 99_999}, r"plan\.json", "remove it", code=2),
    board("a plan that is a pipe", {"made/plan.json": lambda f: os.mkfifo(f)}, r"plan\.json", "plain file", code=2),
    board(
        "a plan with a number that is none",
        {"made/plan.json": json.dumps({**PLAN, "recipes": {"r": {"lr": float("nan")}}})},
        r"plan\.json",
        "nan",
        code=2,
    ),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_results(situation: Situation, follows: Callable[[Situation], None]) -> None:
    follows(situation)


DIGITS = suite("{name: digits, imbalance: [20]}")


def made_ahead(file: Path) -> None:
    file.write_text(json.dumps({"host": "elsewhere", "pid": 7, "token": "t"}))
    os.utime(file, (time.time() + 9000,) * 2)


LOCKS = {
    "a pipe": (lambda file: os.mkfifo(file), "plain file"),
    "a folder": (lambda file: file.mkdir(), "plain file"),
    "too deep": ("[" * 60_000, "damaged"),
    "empty": ("", "damaged"),
    "from tomorrow": (made_ahead, "in the future"),
    "another host's": (json.dumps({"host": "elsewhere", "pid": 7, "token": "t"}), "elsewhere"),
    "control characters": (json.dumps({"host": "else\x1b[2Jwhere", "pid": 7, "token": "t"}), "where"),
}


@pytest.mark.parametrize("name", LOCKS)
def test_locks(name: str, follows: Callable[[Situation], None]) -> None:
    content, says = LOCKS[name]
    files = {"mine.yaml": DIGITS, "results/small/run.lock": content}
    follows(Situation(name, files, ("run", "mine.yaml", "--inline"), 2, (r"run\.lock", says)))


@pytest.mark.parametrize("folder", ["two words", "50% ünïcödé #1; a+b"])
def test_a_folder_of_results_may_have_any_name(
    folder: str, follows: Callable[[Situation], None], ltbench: Run, empty_store: Path
) -> None:
    """Also where it becomes part of a URI."""
    files: dict[str, str | bytes | Write] = {"mine.yaml": DIGITS, f"{folder}/mlflow.db": empty_store.read_bytes()}
    follows(Situation(folder, files, ("run", "mine.yaml", "--inline", "--results", folder), 0, ("1/1",)))
    code, out, err = ltbench("leaderboard", "--results", folder)
    assert code == 0, err
    assert "ce" in out


@pytest.mark.parametrize("folder", ["what? & more", "100%20"])
def test_a_folder_whose_name_mlflow_reads_as_another_is_refused(
    folder: str, follows: Callable[[Situation], None]
) -> None:
    command = ("run", "mine.yaml", "--inline", "--results", folder)
    follows(Situation(folder, {"mine.yaml": DIGITS}, command, 2, ("mlflow", "rename the folder", "--tracking-uri")))


@pytest.mark.parametrize("content", [b"[" * 99_999 + b"\n", b"\xff\xfe\n", b'{"store": {}}\n', b'{"key": 5'])
def test_what_was_sent_is_told_by_whole_lines_alone(
    content: bytes, follows: Callable[[Situation], None], ltbench: Run, empty_store: Path
) -> None:
    ledger = "results/small/mlflow-sent.jsonl"
    files: dict[str, str | bytes | Write] = {
        "mine.yaml": DIGITS,
        "results/mlflow.db": empty_store.read_bytes(),
        ledger: content,
    }
    follows(Situation("", files, ("run", "mine.yaml", "--inline"), 0, ("1/1",)))
    assert Path(ledger).read_bytes().startswith(content)
    assert ltbench("sync", "--results", "results")[0] == 0
