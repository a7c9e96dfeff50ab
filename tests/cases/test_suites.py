"""Suites as people write them: `ltbench plan`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cases.situation import Situation, suite

DIGITS = "{name: digits, imbalance: [20]}"


def plan(
    name: str, text: str | bytes, says: tuple[str, ...], *words: str, code: int = 2, silent: tuple[str, ...] = ()
) -> Situation:
    return Situation(name, {"mine.yaml": text}, ("plan", "mine.yaml", *words), code, says, silent)


SITUATIONS = [
    plan("an octal seed", suite(DIGITS, seeds="[010]"), (r"mine\.yaml, line 6", "010", "leading zero")),
    plan("a seed that only looks octal", suite(DIGITS, seeds="[1, 09]"), ("seeds", "9")),
    plan("a seed in minutes and seconds", suite(DIGITS, seeds="[20:15]"), ("line 6", "20:15")),
    plan("a factor without end", suite("{name: digits, imbalance: [1.0e+300]}"), ("imbalance", "line")),
    plan("an unknown key with colours", suite(DIGITS, more='"\\e[31mred": 1\n'), ("unknown|not known|extra", "red")),
    plan("an unknown key of 900 letters", suite(DIGITS, more="k" * 900 + ": 1\n"), ("kkkk",)),
    plan("a value with a bell", suite(DIGITS, methods='["ce\\a"]'), ("not a usable name",)),
    plan("a method that is nearly there", suite(DIGITS, methods="[mixupp]"), ("did you mean 'mixup'",)),
    plan("json with a mark", b'\xef\xbb\xbf{"extends": "quickstart"}', ("trials",), "--set", "suite=x", code=0),
    plan(
        "hours as a text",
        suite(DIGITS, more="resources: {per_trial: {hours: 2 h}}\n"),
        (r"resources\.per_trial\.hours",),
    ),
    plan(
        "limits are shown",
        suite(DIGITS, more="resources: {per_trial: {hours: 2, memory_gb: 3}}\n"),
        ("at most 3 gb", "at most 2.0 h"),
        code=0,
    ),
    plan("--methods names a file", suite(DIGITS), ("is a file", "--methods"), "--methods", "mine.yaml"),
    Situation(
        "--results names a file",
        {"mine.yaml": suite(DIGITS)},
        ("run", "mine.yaml", "--results", "mine.yaml"),
        2,
        ("mine.yaml",),
    ),
]


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_suites(situation: Situation, follows: Callable[[Situation], None]) -> None:
    follows(situation)
