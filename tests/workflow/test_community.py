"""The repository to start a community's board from: its commands exist, its version is today's, its rights are few."""

from __future__ import annotations

import re
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
