"""`ltbench docs` and `ltbench cluster`: what comes with ltbench beside its code."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ltbench.cli import app
from ltbench.errors import UserError

ROOT = Path(__file__).parents[2]


def said(*arguments: str) -> str:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False).output


def test_every_page_is_listed_and_printed() -> None:
    there = {f.relative_to(ROOT / "docs").with_suffix("").as_posix() for f in (ROOT / "docs").rglob("*.md")}
    lines = said("docs").split("\n\n")[0].splitlines()
    assert {line.split()[0] for line in lines} == there
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines), "each with its title"
    for name in ("faq", "docs/faq.md"):
        assert said("docs", name) == (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")


def test_files_for_clusters_are_listed_shown_and_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = {file.name: file.read_bytes() for file in (ROOT / "cluster").iterdir()}
    lines = said("cluster").split("\n\n")[0].splitlines()
    assert {line.split()[0] for line in lines} == there.keys()
    assert said("cluster", "show", "rayjob.yaml").encode() == there["rayjob.yaml"]
    said("cluster", "copy")
    assert {file.name: file.read_bytes() for file in (tmp_path / "cluster").iterdir()} == there
    with pytest.raises(UserError, match="is there already"):
        said("cluster", "copy", "slurm.sbatch")
    assert said("cluster", "copy", "slurm.sbatch", "--out", "other").strip() == "other/slurm.sbatch"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("docs", "leaderbord"), "Did you mean 'leaderboard'"),
        (("cluster", "show", "slurm.sh"), "Did you mean 'slurm.sbatch'"),
        (("cluster", "show"), "name a file"),
        (("cluster", "drop"), "Known: list, show"),
    ],
)
def test_what_is_not_there_is_said(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        said(*arguments)


def test_the_list_of_commands_says_of_each_what_it_does() -> None:
    """In full, on a screen of 80 characters."""
    told = CliRunner().invoke(app, ["--help"], terminal_width=78, catch_exceptions=False).output
    listed = told.partition("Commands:")[2]
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


@pytest.mark.usefixtures("undrawn")
def test_records_that_come_with_ltbench_are_named_the_same_way_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "10 identical" in said("diff", "reference:quickstart", "reference:quickstart")
    assert "index.html" in said("site", "reference:quickstart")
    with pytest.raises(UserError, match="come with ltbench: --from reference:quickstart"):
        said("leaderboard", "--from", "results/reference/quickstart")
