"""What the commands write: boards in their formats, lines for a person on stderr."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ltbench.cli.streams import say
from ltbench.errors import UserError

if TYPE_CHECKING:
    from ltbench.ranking.board import Leaderboard
    from ltbench.ranking.formats.latex.paper import PaperStyle


def tell(line: str) -> None:
    """A line for a person, on stderr."""
    say(line)


def warn(message: str) -> None:
    """A warning, on stderr."""
    tell(f"warning: {message}")


def format_of(chosen: str | None, out: Path | None) -> str:
    """The format asked for; else the one that the file's name asks for; else text.

    Raises:
        UserError: there is no such format.
    """
    from ltbench.errors import did_you_mean
    from ltbench.ranking.formats.render import FORMATS, SUFFIXES

    if chosen is None:
        if out is None or not out.suffix:
            return "text"
        if out.suffix.lower() not in SUFFIXES:
            raise UserError(f"--out {out}: no format goes by {out.suffix}. Known: {', '.join(SUFFIXES)}; or choose one "
                            f"with --format")  # fmt: skip
        return SUFFIXES[out.suffix.lower()]
    if chosen not in FORMATS:
        raise UserError(f"--format {chosen}: unknown. {did_you_mean(chosen, FORMATS)}")
    return chosen


def print_board(
    board: Leaderboard,
    format_: str = "text",
    out: Path | None = None,
    *,
    wide: bool = False,
    style: PaperStyle | None = None,
    detailed: bool = False,
) -> None:
    """Write a board to the screen or into a file.

    Args:
        wide: more columns. style: of a paper's table; None: the usual.
        detailed: on a screen, a table of every column, too, where these are many.

    Raises:
        UserError: the file cannot be written.
    """
    from ltbench.ranking.formats.latex.paper import USUAL
    from ltbench.ranking.formats.render import renderer

    if out is None and format_ == "text" and sys.stdout.isatty():
        _show(board, wide, detailed)
        return
    rendered = renderer(format_, wide=wide, style=style or USUAL)(board)
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(rendered, encoding="utf-8")
        except OSError as error:
            raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    else:
        sys.stdout.write(rendered)


def _show(board: Leaderboard, wide: bool, detailed: bool) -> None:
    """On a terminal, as wide as that is, in colour."""
    from rich.console import Console

    from ltbench.ranking.formats.screen import on_screen, show

    console = Console()
    text = on_screen(board, console.width, wide=wide, detailed=detailed)
    if "NO_COLOR" in os.environ:
        sys.stdout.write(text)
    else:
        show(text, console)
