"""Colour for a leaderboard on a terminal; the text stays the same."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

_GAIN = r"[+-]?\d+\.\d+ \[[^\]\n]*\] "
_STYLES = [
    (_GAIN + r"\^~?", "green"),
    (_GAIN + r"v~?(?=\s|$)", "red"),
    (_GAIN + r"=", "cyan"),
    (r"(?m)^(Not ranked|Undecided|Failed|Left out|No p-value|This board c|Stale|\*|Tables are apart)[^\n]*", "yellow"),
    (r"(?m)^-[- ]+$", "dim"),
]


def coloured(board: str) -> Text:
    """A text leaderboard with its verdicts coloured and what must not be overlooked in yellow."""
    text = Text(board)
    for pattern, style in _STYLES:
        text.highlight_regex(pattern, style)
    return text


def show(board: str, console: Console | None = None) -> None:
    """Print it, with colour where the console has it; lines are not re-wrapped."""
    (console or Console()).print(coloured(board), end="", soft_wrap=True, highlight=False)
