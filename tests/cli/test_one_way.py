"""One way of naming things: walks all commands, and the functions of Python beside them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ltbench import frames
from ltbench.checks.verify import Verdict as Checked
from ltbench.cli import app
from ltbench.ranking.views.moved import Finding
from ltbench.stats.fixed_datasets import Verdict

ROOT = Path(__file__).parents[2]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
NEEDED = {"run", "plan", "fetch"}
"""Commands that begin something, and so need the suite."""
OTHERWISE = {"doctor": "the machine only", "sync": "all under --results", "import": "of predictions"}
"""Commands whose SUITE has another default than the last used, and what is said of it."""
WITHOUT = {"check", "cluster", "datasets", "docs", "features", "methods", "site", "split", "suites", "trial"}
"""Commands that are about no suite, or about several."""
VARIED = {"--out", "--from", "--address", "--primary", "--template", "--path", "--suite"}
"""Options that say with each command what is written, read or asked."""
PYTHON = {"--from": "from_", "--set": "overrides", "--option": "options"}
"""Options with another name in Python: a word of the language; what is repeated there is one collection here."""
OF_A_SCREEN = {
    "leaderboard": {"--format", "--out", "--wide", "--names", "--intervals"},  # methods of Board
    "plan": {"--export"}, "split": {"--out"}, "diff": {"--out"}, "methods": {"--template"},
}  # fmt: skip
DOOR = ("run", "plan", "leaderboard", "report", "compare", "diff", "split", "verify", "methods")


def parameters(command: str, kind: str) -> list[Any]:
    return [p for p in COMMANDS[command].params if p.param_type_name == kind and not getattr(p, "hidden", False)]


def options() -> Iterator[tuple[str, str, Any]]:
    """Command, option, and what there is to know of it."""
    for command in COMMANDS:
        for option in parameters(command, "option"):
            if option.name != "help":
                yield command, option.opts[0], option


def test_every_command_is_looked_at() -> None:
    suites = {command for command in COMMANDS if any(p.name == "suite" for p in parameters(command, "argument"))}
    assert suites == set(COMMANDS) - WITHOUT


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - WITHOUT))
def test_suite_is_positional_and_its_default_is_the_last_used(command: str) -> None:
    (suite,) = (p for p in parameters(command, "argument") if p.name == "suite")
    assert suite.required == (command in NEEDED)
    assert suite.metavar == ("SUITE" if suite.required else "[SUITE]")
    assert suite == parameters(command, "argument")[-1], "it stands last"
    if not suite.required:
        assert OTHERWISE.get(command, "default: the last used") in suite.help
    assert not [option for _, option, _ in options() if option == "--suite"]


def test_an_option_says_and_takes_the_same_in_every_command() -> None:
    said: dict[str, set[tuple[str, str]]] = {}
    for _, name, option in options():
        if name not in VARIED:
            said.setdefault(name, set()).add(
                (str(option.type_descriptor.annotation), re.sub(r";.*", "", option.help or ""))
            )
    allowed = {"--rope", "--device"}
    assert {name: told for name, told in said.items() if len(told) > 1 and name not in allowed} == {}


def test_two_options_do_not_mean_the_same() -> None:
    by_words: dict[str, set[str]] = {}
    for _, name, option in options():
        by_words.setdefault(str(option.help), set()).add(name)
    assert {words: names for words, names in by_words.items() if len(names) > 1} == {}


@pytest.mark.parametrize("command", DOOR)
def test_python_has_the_options_of_the_command_by_the_same_names(command: str) -> None:
    there = inspect.signature(getattr(frames, command)).parameters
    wanted = {PYTHON.get(option, option[2:].replace("-", "_")) for name, option, _ in options()
              if name == command and option not in OF_A_SCREEN.get(command, ())}  # fmt: skip
    wanted |= {p.name for p in parameters(command, "argument")}
    assert wanted - set(there) == set()
    assert set(there) - wanted <= {"tell", "progress"}


def test_python_has_the_same_defaults_of_suite() -> None:
    for name in ("leaderboard", "report", "compare", "diff", "records", "verify"):
        assert inspect.signature(getattr(frames, name)).parameters["suite"].default is None
    for name in ("run", "plan"):
        assert inspect.signature(getattr(frames, name)).parameters["suite"].default is inspect.Parameter.empty


def test_one_word_stands_for_one_verdict() -> None:
    words = {v.value for v in Verdict}
    assert "undecided" in words
    assert "undecided" in {f.value for f in Finding}
    others = re.compile(r"unresolved|inconclusive|not resolved|indistinguishable|not significant(?!,)", re.IGNORECASE)
    texts = [p for folder in ("ltbench", "docs", "methods") for end in ("py", "md", "html", "js")
             for p in (ROOT / folder).rglob(f"*.{end}")]  # fmt: skip
    assert len(texts) > 300
    assert [str(p) for p in [*texts, ROOT / "README.md"] if others.search(p.read_text(encoding="utf-8"))] == []
    assert not {c.value for c in Checked} & (words - {"equal"})
