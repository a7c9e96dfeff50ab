"""Colour changes nothing of the text, and marks verdicts as what they are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ltbench.ranking.build import build
from ltbench.ranking.formats.render import text
from ltbench.ranking.formats.screen import coloured, show
from tests.ranking.test_build import expectation, grid


@pytest.fixture
def board() -> str:
    results = grid({"ce": 50, "good": 60, "bad": 40}, {"a": ["IF10"]})
    return text(build(results, expectation(results)))


def test_without_colour_the_very_text_is_printed(board: str) -> None:
    stream = io.StringIO()
    show(board, Console(file=stream, no_color=True, width=60))
    assert stream.getvalue() == board


def test_gains_are_green_losses_red_whole_with_their_intervals(board: str) -> None:
    shown = coloured(board)
    by_style: dict[str, list[str]] = {"green": [], "red": []}
    for span in shown.spans:
        by_style.get(str(span.style), []).append(shown.plain[span.start : span.end])
    assert by_style["green"]
    assert by_style["red"]
    assert all(gain.startswith("+") and gain.endswith("] ^") for gain in by_style["green"])
    assert all(loss.startswith("-") and loss.endswith("] v") for loss in by_style["red"])
