"""What scripts and notebooks do with what the door gives: they pickle it, go to another folder, and bring numpy."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltbench as lt
from ltbench.errors import UserError

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "quickstart"
SUITE: dict[str, Any] = {"extends": "quickstart", "suite": "mine"}


@pytest.mark.parametrize("again", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_boards_records_and_comparisons_can_be_pickled(again: Any) -> None:
    board, records = lt.leaderboard(from_=REFERENCE), lt.records(from_=REFERENCE, only="ce")
    assert str(again(board)) == str(board)
    assert dir(again(board).plot) == dir(board.plot)
    assert again(records)[0].predictions().equals(records[0].predictions())
    compared = lt.compare("mixup", "ce", from_=REFERENCE)
    assert str(again(compared)) == str(compared)


def test_a_copy_of_a_journal_writes_nothing() -> None:
    records = lt.records(from_=REFERENCE, only="ce", seeds=0)
    journal = pickle.loads(pickle.dumps(records[0].journal))
    with pytest.raises(UserError, match="writes no records"):
        journal.write(records[0].record)


def test_results_are_found_after_a_change_of_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(REFERENCE.parent)
    board, records = lt.leaderboard(from_="quickstart"), lt.records(from_="quickstart", only="ce")
    monkeypatch.chdir(tmp_path)
    assert "trade_off" in dir(board.plot)
    assert dir(board.plot) == dir(lt.leaderboard(from_=REFERENCE).plot)
    assert len(records[0].predictions()) > 0


def test_a_suite_may_be_its_contents_everywhere() -> None:
    suite = {"extends": "quickstart"}
    assert str(lt.leaderboard(suite, from_=REFERENCE)) == str(lt.leaderboard("quickstart", from_=REFERENCE))
    assert len(lt.records(suite, from_=REFERENCE)) == 50
    assert str(lt.compare("mixup", "ce", suite=suite, from_=REFERENCE)).startswith("mixup against ce (quickstart)")


def test_numbers_of_numpy_are_numbers(tmp_path: Path, data_root: Path) -> None:
    plain = {**SUITE, "protocol": {"final": {"seeds": [0, 1, 2]}}}
    numpys = {**SUITE, "protocol": {"final": {"seeds": np.arange(3)}}}
    options: dict[str, Any] = {
        "results": tmp_path,
        "data": data_root,
        "overrides": {"recipes.scratch.epochs": np.float32(2)},
    }
    one = lt.plan(plain, seeds=[0, 2], **options).to_frame()
    assert lt.plan(numpys, seeds=np.array([0, 2]), **options).to_frame().equals(one)
    assert set(one["seed"]) == {0, 2}
