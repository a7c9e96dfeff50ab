"""A leaderboard on a screen: coloured, tables that are wider are split, and of many columns the summary comes last."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ltbench.ranking.board import Leaderboard
from ltbench.ranking.formats.render import PUBLISHED, WIDTH, closing, details, heading, plain, safe
from ltbench.ranking.formats.text_tables import MOST_COLUMNS, Line, beside, overview

_KEY = "method"
"""The head that every part of a table begins with."""
_GAIN = r"[+-]?\d+\.\d+ \[[^\]\n]*\] "
_STYLES = [
    (_GAIN + r"\^~?", "green"),
    (_GAIN + r"v~?(?=\s|$)", "red"),
    (_GAIN + r"=", "cyan"),
    (r"(?m)^(Not ranked|Undecided|Failed|Left out|No p-value|This board c|Stale|\*|Tables are apart)[^\n]*", "yellow"),
    (r"(?m)^-[- ]+$", "dim"),
]


def on_screen(board: Leaderboard, width: int, *, wide: bool = False, detailed: bool = False) -> str:
    """The text of a board for a terminal. Of more than three columns, those alone are shown if `detailed`, and before
    the summary: what is last stays in sight.

    Args:
        width: of the terminal, in characters.
        wide: more columns.
    """
    shown = [table for table in board.tables if table.rows]
    many = any(len(table.columns) > MOST_COLUMNS for table in shown)
    blocks: list[str] = []
    summaries: list[str] = []
    for table in shown:
        title = [heading(table, width)] if board.titled else []
        summary = fitted(overview(table, board.primary, wide=wide), width)
        parts = [f"{head}\n{fitted(lines, width)}" for head, lines in details(table, board)]
        if many:
            blocks += [*title, *parts] if detailed else []
            summaries += [*title, summary]
        else:
            blocks += [*title, summary, *parts]
    if (published := beside(board, every=wide)) and (detailed or not many):
        blocks.append(f"{PUBLISHED}\n{fitted(published, width)}")
    cells = sum(len(table.columns) for table in shown)
    told = f"Each of the {cells} columns has a table of its own: --columns few shows them; --out board.txt has all."
    more = [told] if many and not detailed else []
    first, last = closing(board, wide, min(width, WIDTH), more)
    return safe([*blocks, first, *summaries, last] if many else [first, *blocks, last])


def fitted(lines: Sequence[Line], width: int) -> str:
    """A table as text; one that is wider than the screen with heads of two lines, or else as several tables, each with
    the methods."""
    whole = plain(lines)
    if not lines or _KEY not in lines[0] or _broad(whole) <= width:
        return whole
    heads = {head: _in_two(head, max(len(line[head].text) for line in lines)) for head in lines[0]}
    lines = [{heads[head]: entry for head, entry in line.items()} for line in lines]
    parts: list[list[str]] = [[]]
    for head in reversed([head for head in lines[0] if head != _KEY]):  # the last ones, the data sets, stay together
        if parts[0] and _broad(plain(_chosen(lines, [head, *parts[0]]), two_lines=True)) > width:
            parts.insert(0, [head])
        else:
            parts[0].insert(0, head)
    while len(parts) > 1 and len(parts[0]) < 3 and parts[1]:  # a rank says nothing without numbers beside it
        if _broad(plain(_chosen(lines, [*parts[0], parts[1][0]]), two_lines=True)) > width:
            break
        parts[0].append(parts[1].pop(0))
    return "\n\n".join(plain(_chosen(lines, part), two_lines=True) for part in parts if part)


def _in_two(head: str, room: int) -> str:
    """A long head in two lines, broken nearest to its middle, where what stands below it is shorter."""
    head = " ".join(head.splitlines())
    breaks = [i for i, character in enumerate(head) if character in "_- " and i > 0]
    if len(head) <= room or not breaks:
        return head
    at = min(breaks, key=lambda i: abs(i - len(head) / 2))
    return f"{head[:at]}\n{head[at:].strip()}"


def _chosen(lines: Sequence[Line], heads: Sequence[str]) -> list[Line]:
    """In the table's order: the rank stays before the method."""
    return [{head: entry for head, entry in line.items() if head in heads or head == _KEY} for line in lines]


def _broad(text: str) -> int:
    return max(map(len, text.splitlines()), default=0)


def coloured(board: str) -> Text:
    """A text leaderboard with its verdicts coloured and what must not be overlooked in yellow."""
    text = Text(board)
    for pattern, style in _STYLES:
        text.highlight_regex(pattern, style)
    return text


def show(board: str, console: Console | None = None) -> None:
    """Print it, with colour where the console has it; lines are not re-wrapped."""
    (console or Console()).print(coloured(board), end="", soft_wrap=True, highlight=False)
