"""Every sentence of docs/leaderboard.md is quoted in sentences.txt, with the tests that hold it.

Below a sentence stand tests, one a line, or `(no claim: WHY)`. Who changes the page changes sentences.txt with it, and
looks whether the tests hold the new sentence as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.leaderboard_page.page import PAGE, ROOT, sentences

NO_CLAIM = "(no claim: "


def quoted(table: str) -> dict[str, list[str]]:
    """Sentence -> what stands below it."""
    found: dict[str, list[str]] = {}
    for line in filter(None, table.splitlines()):
        if line.startswith("    "):
            found[next(reversed(found))].append(line.strip())
        else:
            assert line not in found, f"twice: {line}"
            found[line] = []
    return found


HELD = quoted((Path(__file__).parent / "sentences.txt").read_text(encoding="utf-8"))


@cache
def functions(file: str) -> Mapping[str, bool]:
    """The tests of a file -> whether they run every day."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {
        node.name: not any("nightly" in ast.unparse(mark) for mark in node.decorator_list)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def unheld(held: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Sentences that no test holds which is there and runs every day."""
    for sentence, checks in held.items():
        if len(checks) == 1 and checks[0].startswith(NO_CLAIM) and checks[0].endswith(")"):
            continue
        known = [functions(file).get(name) for file, _, name in (check.partition("::") for check in checks)]
        if None in known or not any(known):
            yield sentence


def test_every_sentence_of_the_page_is_quoted() -> None:
    assert [sentence for sentence in sentences(PAGE) if sentence not in HELD] == []


def test_every_quoted_sentence_is_on_the_page() -> None:
    there = set(sentences(PAGE))
    assert [sentence for sentence in HELD if sentence not in there] == []


def test_every_quoted_sentence_is_held() -> None:
    assert list(unheld(HELD)) == []


@pytest.mark.parametrize(
    ("below", "held"),
    [
        ("tests/leaderboard_page/test_sentences.py::test_every_quoted_sentence_is_held", True),
        ("(no claim: a question)", True),
        ("tests/leaderboard_page/test_sentences.py::test_that_is_not_there", False),
        ("tests/leaderboard_page/test_sentences.py", False),
    ],
)
def test_a_sentence_without_a_test_is_seen(below: str, held: bool) -> None:
    assert (list(unheld(quoted(f"Every board is true.\n    {below}"))) == []) == held


def test_a_page_is_taken_apart_into_sentences() -> None:
    page = (
        "# Head\n\n![A. B.](c.svg)\n\nOne (Cao et al., 2019). **Two.** Three:\n\n```\nno. no.\n```\n\n"
        "* four.\n* five\n  six\n\n"
        "| head | x |\n|---|---|\n| a. b. | c |\n"
    )
    assert sentences(page) == [
        "One (Cao et al., 2019).", "**Two.**", "Three:", "four.", "five six", "| a. b. | c |",
    ]  # fmt: skip
