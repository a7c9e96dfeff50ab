"""What a repository of records is sent, and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench.errors import UserError
from ltbench.workflow.exchange.submission import check_submission, make_submission, without_folders

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, found = make_submission(None, Path("none"), REFERENCE / "quickstart", tmp_path_factory.mktemp("out"))
    assert found.problems == []
    assert found.trials == 50
    return place


def test_what_is_sent_names_no_machine_and_keeps_the_numbers(sent: Path) -> None:
    for file in (sent / "records").glob("*.json"):
        new, old = json.loads(file.read_text()), json.loads((REFERENCE / "quickstart/records" / file.name).read_text())
        assert "host" not in new["environment"]
        assert (new["spec"], new["metrics"], new["per_class"]) == (old["spec"], old["metrics"], old["per_class"])
    assert len(list((sent / "records").glob("*.json"))) == 50


def first(folder: Path) -> Path:
    return sorted((folder / "records").glob("*.json"))[0]


def edit(change: Callable[[dict[str, Any]], Any]) -> Change:
    def work(folder: Path) -> None:
        data = json.loads(first(folder).read_text())
        change(data)
        first(folder).write_text(json.dumps(data))

    return work


def edit_suite(folder: Path, **values: Any) -> None:
    data = json.loads((folder / "suite.json").read_text())
    (folder / "suite.json").write_text(json.dumps({**data, **values}))


def other_predictions(folder: Path) -> None:
    """Labels of one class throughout."""
    content = io.BytesIO()
    np.savez_compressed(content, label=np.zeros(40, np.uint16), truth=np.arange(40, dtype=np.uint16) % 10)
    (folder / "records" / f"{first(folder).stem}.npz").write_bytes(content.getvalue())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: first(f).unlink(), "1 of 50 planned trials have no record"),
        (lambda f: first(f).write_text("{"), f"{sorted((REFERENCE / 'quickstart/records').glob('*.json'))[0].name}: "),
        (lambda f: first(f).rename(first(f).with_name("0" * 12 + ".json")), "it is the record of another trial"),
        (lambda f: (f / "plan.json").unlink(), "plan.json is missing"),
        (lambda f: (f / "run.py").write_text("import os"), "run.py: is no file of a submission"),
        (lambda f: (f / "records" / "more").mkdir() or (f / "records/more/a.json").write_text(""), "is no file"),
        (lambda f: (f / "README.md").symlink_to("/etc/passwd"), "README.md: is a link"),
        (lambda f: (f / "README.md").write_bytes(b" " * 20_000_001), "README.md: has 20 MB"),
        (lambda f: edit_suite(f, plugins=["../evil"]), "suite.json: names plugins"),
        (lambda f: (f / "suite.json").write_text("{"), "suite.json: cannot be read"),
        (lambda f: (f / "suite.json").write_text("[]"), "suite.json: is no suite"),
        (edit(lambda d: d["metrics"].update(balanced_accuracy=99.9)), "says balanced accuracy 99.90"),
        (edit(lambda d: d["spec"].update(seed=77)), "it was edited"),
        (other_predictions, "its predictions 10.00"),
    ],
)
def test_what_cannot_be_taken_is_named(change: Change, words: str, sent: Path, tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    shutil.copytree(sent, folder)
    change(folder)
    assert [p for p in check_submission(folder).problems if words in p], check_submission(folder).problems


def test_it_is_held_against_the_records_that_are_there(sent: Path, tmp_path: Path) -> None:
    board, mine = tmp_path / "board", tmp_path / "mine"
    shutil.copytree(sent, board / "quickstart")
    shutil.copytree(sent, mine)
    assert check_submission(mine, board).notes == ["50 trials are on the board already, with the same numbers"]
    edit(lambda d: d["metrics"].update(accuracy=12.0))(mine)
    assert [p for p in check_submission(mine, board).problems if "is on the board with other numbers" in p]
    assert check_submission(board / "quickstart", board).notes == []  # not against itself
    with pytest.raises(UserError, match="--board"):
        check_submission(mine, tmp_path / "absent")


def test_a_suite_without_a_plan_and_a_folder_of_something_else_are_refused(tmp_path: Path) -> None:
    bare = tmp_path / "suite"
    shutil.copytree(REFERENCE / "quickstart/records", bare / "records")
    with pytest.raises(UserError, match=r"has no plan\.json"):
        make_submission(None, Path("none"), bare, tmp_path / "out")
    (tmp_path / "out" / "quickstart").mkdir(parents=True)
    with pytest.raises(UserError, match="is there already"):
        make_submission(None, Path("none"), REFERENCE / "quickstart", tmp_path / "out")
    with pytest.raises(UserError, match="no such folder"):
        check_submission(tmp_path / "absent")


def test_paths_become_the_names_at_their_ends() -> None:
    suite = {"path": "/home/me/images", "deep": [{"lists": "~/lists/"}, "C:\\data\\x.npz", "relative/stays", 3]}
    assert without_folders(suite) == {"path": "images", "deep": [{"lists": "lists"}, "x.npz", "relative/stays", 3]}
