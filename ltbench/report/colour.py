"""Colour for a leaderboard on a terminal; the text stays the same."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def coloured(board: str) -> None:
    """Print a text leaderboard with its verdicts coloured and its notes dimmed."""
    text = Text(board)
    text.highlight_regex(r"\S+ \^", "green")
    text.highlight_regex(r"(?<=\] )\^", "bold green")
    text.highlight_regex(r"\S+ v(?=\s|$)", "red")
    text.highlight_regex(r"(?m)^(Not ranked|Failed|Left out|No p-value|\*).*$", "yellow")
    text.highlight_regex(r"(?m)^-[- ]+$", "dim")
    Console().print(text, end="", soft_wrap=True, highlight=False)
