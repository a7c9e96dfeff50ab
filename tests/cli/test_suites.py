"""`ltbench suites`, `ltbench watch`, and the records that come with ltbench."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ltbench.cli import app
from ltbench.errors import UserError
from ltbench.results.folders import referenced
from ltbench.suite.load import load_suite
from ltbench.suite.yaml_file import shipped_suites
from ltbench.system.lock import SuiteLock

ROOT = Path(__file__).parents[2]


def said(*arguments: str) -> str:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False).output


def test_every_suite_is_listed_with_its_question() -> None:
    lines = said("suites").splitlines()
    assert {line.split()[0] for line in lines[: len(shipped_suites())]} == set(shipped_suites())
    assert any("rarest digits" in line for line in lines)


@pytest.mark.parametrize("name", sorted(shipped_suites()))
def test_a_copy_is_the_same_suite_in_one_file(tmp_path: Path, name: str) -> None:
    copied = said("suites", "copy", name, str(tmp_path)).strip()
    copy, original = load_suite(copied).model_dump(), load_suite(name).model_dump()
    for one, folder in ((copy, tmp_path), (original, shipped_suites()[name].parent)):  # paths are relative to the file
        for dataset in one["datasets"]:
            dataset["path"] = dataset["path"] and os.path.relpath(dataset["path"], folder)
    assert copy == original


def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        said("suites", "copy", "quickstart", str(tmp_path))
    assert (tmp_path / "quickstart.yaml").read_text() == "mine"


def test_a_suite_is_shown_as_it_stands_or_merged() -> None:
    assert said("suites", "show", "cifar_lt_zoo") == (ROOT / "suites" / "cifar_lt_zoo.yaml").read_text()
    assert "extends" not in said("suites", "show", "cifar_lt_zoo", "--merged")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "quickstrt"), "Did you mean 'quickstart'"),
        (("show",), "name a suite"),
        (("drop",), "Known: list, show"),
    ],
)
def test_what_cannot_be_shown_is_said(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        said("suites", *arguments)


def test_the_reference_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "50 of 50 trials" in said("leaderboard", "--from", "reference:quickstart")
    with pytest.raises(UserError, match="no records of that name"):
        referenced(Path("reference:nothing"))
    assert referenced(Path("elsewhere")) == Path("elsewhere")


def test_the_reference_goes_into_the_wheel() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folder = ROOT / tools["package-dir"]["ltbench.reference"]
    assert "ltbench.reference" in tools["packages"]
    shipped = {f for pattern in tools["package-data"]["ltbench.reference"] for f in folder.glob(pattern)}
    assert shipped == {f for f in folder.rglob("*") if f.is_file()}


def test_watch_waits_between_two_parts_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "mine" / "records").mkdir(parents=True)
    (tmp_path / "mine" / "plan.json").write_text("{}")
    with SuiteLock(tmp_path / "mine"):
        shown = said("watch", "--results", str(tmp_path), "--once")
    assert shown == "mine: 0 records; the next trials are made ready\n"


def test_watch_of_a_suite_that_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "mine" / "records").mkdir(parents=True)
    (tmp_path / "mine" / "plan.json").write_text("{}")
    assert said("watch", "--results", str(tmp_path)) == "mine: 0 records; no run is going on\n"
    with pytest.raises(UserError, match="nothing runs there"):
        said("watch", "other", "--results", str(tmp_path))
