"""The repository to start a community's board from: its commands exist, its version is today's, its rights are few."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

import ltbench
from ltbench.cli.commands import app

COMMUNITY = Path(__file__).parents[2] / "community"
WORKFLOWS = sorted((COMMUNITY / ".github" / "workflows").glob("*.yml"))


def read(file: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def scripts(workflow: dict[Any, Any]) -> str:
    return "\n".join(step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"])


def test_it_pins_this_version() -> None:
    assert (COMMUNITY / "requirements.txt").read_text().strip() == f"ltbench[train,report]=={ltbench.__version__}"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda f: f.stem)
def test_its_commands_are_ours(file: Path) -> None:
    commands: Any = get_command(app)
    for line in re.findall(r"^\s*(?:- run: )?ltbench (.+)$", scripts(read(file)), re.MULTILINE):
        name, *words = line.split()
        options = {option for parameter in commands.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_what_a_stranger_sends_meets_no_rights_and_none_of_it_is_run() -> None:
    check, comment = (read(COMMUNITY / ".github" / "workflows" / f"{name}.yml") for name in ("check", "comment"))
    assert check["permissions"] == {"contents": "read"}
    assert True in check, "yaml reads `on` as a truth value"
    assert set(check[True]) == {"pull_request"}, "pull_request_target would have rights"
    assert "requirements.txt" in scripts(check)
    assert "brought/requirements.txt" not in scripts(check), "the board's version, not the sender's"
    assert "--methods" not in scripts(check)
    for step in check["jobs"]["check"]["steps"]:
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False
    assert comment["permissions"] == {"actions": "read", "pull-requests": "write"}
    assert not [step for step in comment["jobs"]["comment"]["steps"] if "checkout" in step.get("uses", "")]
    assert not scripts(comment).strip()


# -- the check, as it runs on a made-up pull request -------------------------------------------------------------------

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "quickstart"
LTBENCH = """#!/bin/sh
{stub}
exec "{python}" -m ltbench "$@"
"""


def git(folder: Path, *words: str) -> str:
    given = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *given, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def pull(tmp_path: Path) -> Path:
    """The folder that the check runs in: the board without records, and a branch that brings some."""
    board, brought = tmp_path / "board", tmp_path / "brought"
    shutil.copytree(COMMUNITY, board)
    git(board, "init")
    git(board, "add", ".")
    git(board, "commit", "-m", "board")
    subprocess.run(["git", "clone", "-q", str(board), str(brought)], check=True)
    out = brought / "records"
    subprocess.run([sys.executable, "-m", "ltbench", "submit", "--from", str(REFERENCE), "--out", str(out)], check=True,
                   capture_output=True)  # fmt: skip
    return tmp_path


def checked(pull: Path, stub: str = "") -> tuple[int, str]:
    """Commit what is brought and run the step of the workflow: its exit code, and what it found."""
    base = git(pull / "board", "rev-parse", "HEAD")
    git(pull / "brought", "add", ".")
    git(pull / "brought", "commit", "-m", "records")
    (step,) = (s for s in read(WORKFLOWS[0])["jobs"]["check"]["steps"] if s.get("name", "").startswith("Check every"))
    values = {"github.event.pull_request.number": "7", "github.event.pull_request.base.sha": base}
    script = re.sub(r"\$\{\{ (.+?) \}\}", lambda found: values[found[1]], step["run"])
    programs = pull / "bin"
    programs.mkdir()
    (programs / "ltbench").write_text(LTBENCH.format(stub=stub, python=sys.executable))
    (programs / "ltbench").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-e", "-c", script], cwd=pull, env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (pull / "found" / "number").read_text() == "7\n"
    return done.returncode, (pull / "found" / "text").read_text()


NOT_AGAIN = 'if [ "$1" = verify ]; then echo "error: no data here"; exit 2; fi'


@pytest.mark.slow
def test_a_pull_request_with_good_records_can_be_taken(pull: Path) -> None:
    code, found = checked(pull, NOT_AGAIN)
    assert code == 0, found
    assert "50 trials" in found
    assert "note: no trial was run again" in found
    assert "balanced_softmax" in found, "how it stands"


@pytest.mark.slow
def test_a_pull_request_with_edited_records_is_not_trained_and_cannot_be_taken(pull: Path) -> None:
    file = sorted((pull / "brought/records/quickstart/records").glob("*.json"))[0]
    record = json.loads(file.read_text())
    record["spec"]["seed"] += 70
    file.write_text(json.dumps(record))
    shutil.copytree(pull / "brought/records/quickstart", pull / "brought/records/odd name")
    code, found = checked(pull, NOT_AGAIN)
    assert code == 1
    assert "a folder has an odd name" in found
    assert "error: no data here" not in found


@pytest.mark.nightly
def test_three_trials_of_a_pull_request_are_trained_again(pull: Path) -> None:
    code, found = checked(pull)
    assert code == 0, found
    assert "3 of 50" in found
