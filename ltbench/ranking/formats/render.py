"""One leaderboard, many formats: text, Markdown, LaTeX, CSV, JSON. All carry the same numbers."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from functools import partial

import tabulate as tabulate_module
from tabulate import tabulate

from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.formats import as_csv
from ltbench.ranking.formats.as_json import as_json
from ltbench.ranking.formats.exchange.every_eval_ever import every_eval_ever
from ltbench.ranking.formats.latex.board import latex
from ltbench.ranking.formats.latex.paper import USUAL, PaperStyle, paper
from ltbench.ranking.formats.marks import legend
from ltbench.ranking.formats.notes import header, notes, wide_legend
from ltbench.ranking.formats.text_tables import GAIN, Line, beside, detail, overview
from ltbench.spec import Column

PUBLISHED = "Published beside ours"
WIDTH = 100
"""Columns of a terminal that the text format keeps to."""
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""What could steer a terminal."""


def text(board: Leaderboard, *, wide: bool = False) -> str:
    """For a terminal: plain characters, at most 100 columns for the usual suites; `wide` has more columns."""
    first, last = closing(board, wide)
    blocks = [first]
    for table in board.tables:
        if not table.rows:
            continue
        if board.titled:
            blocks.append(heading(table))
        blocks.append(plain(overview(table, board.primary, wide=wide)))
        blocks += [f"{head}\n{plain(lines)}" for head, lines in details(table, board)]
    if published := beside(board, every=wide):
        blocks.append(f"{PUBLISHED}\n{plain(published)}")
    return safe([*blocks, last])


def closing(board: Leaderboard, wide: bool, width: int = WIDTH, more: Sequence[str] = ()) -> tuple[str, str]:
    """What stands before the tables, and after them; `more`: notes to put first."""
    said = [_said(board, wide)[0], *more, *_said(board, wide)[1:]]
    first, last = ("\n".join(line for paragraph in part for line in _wrapped(paragraph, width))
                   for part in (header(board), said))  # fmt: skip
    return first, last


def heading(table: Table, width: int = WIDTH) -> str:
    """What stands above a table where there are several."""
    return "\n".join(_wrapped(f"== {_one_line(_title(table))} ==", width))


def details(table: Table, board: Leaderboard) -> list[tuple[str, list[Line]]]:
    """Every column by itself: its head, its table."""
    return [(_one_line(_heading(table, c)), detail(table, c, board)) for c in table.columns]


def safe(blocks: Sequence[str]) -> str:
    """Blocks of text, with nothing in them that could steer a terminal."""
    return _CONTROL.sub(" ", "\n\n".join(blocks)) + "\n"


def _said(board: Leaderboard, wide: bool) -> list[str]:
    return [legend(board), *(wide_legend(board) if wide else []), *notes(board)]


def _wrapped(paragraph: str, width: int = WIDTH) -> list[str]:
    return textwrap.wrap(paragraph, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def markdown(board: Leaderboard, *, wide: bool = False) -> str:
    """For a README or an issue: names are escaped, so no row can break the table."""
    first, *others = header(board)
    blocks = [f"**{_escape(first)}**  \n" + "  \n".join(map(_escape, others))]
    for table in board.tables:
        if not table.rows:
            continue
        if board.titled:
            blocks.append(f"## {_escape(_title(table))}")
        blocks.append(_pipes(overview(table, board.primary, wide=wide)))
        blocks += [f"### {_escape(_heading(table, c))}\n\n{_pipes(detail(table, c, board))}" for c in table.columns]
    if published := beside(board, every=wide):
        blocks.append(f"### {PUBLISHED}\n\n{_pipes(published)}")
    blocks.append("  \n".join(_escape(line) for line in _said(board, wide)))
    return _CONTROL.sub(" ", "\n\n".join(blocks)) + "\n"


def _title(table: Table) -> str:
    return table.heading_of_recipe


def _heading(table: Table, column: Column) -> str:
    """A column's title with the size of its family of tests."""
    return table.title(column) + (f" (Holm over {table.comparisons})" if table.comparisons > 1 else "")


def csv(board: Leaderboard) -> str:
    """One line per method, column and metric; full precision, empty where undefined."""
    return as_csv.csv_text(as_csv.scores(board))


def pairs_csv(board: Leaderboard) -> str:
    """One line per pair of methods: difference, interval, p, adjusted p, verdict, reason."""
    return as_csv.csv_text(as_csv.pairs(board))


FORMATS: dict[str, Callable[[Leaderboard], str]] = {
    "text": text,
    "markdown": markdown,
    "latex": latex,
    "paper": paper,
    "csv": csv,
    "pairs": pairs_csv,
    "json": as_json,
    "every_eval_ever": every_eval_ever,
}
SUFFIXES = {".txt": "text", ".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json",
            ".jsonl": "every_eval_ever"}  # fmt: skip


def renderer(name: str, *, wide: bool = False, style: PaperStyle = USUAL) -> Callable[[Leaderboard], str]:
    """The function of a format; `wide` matters for text and Markdown, `style` for the table of a paper."""
    if name == "paper":
        return partial(paper, style=style)
    return (
        partial({"text": text, "markdown": markdown}[name], wide=True)
        if wide and name in ("text", "markdown")
        else FORMATS[name]
    )


def plain(lines: Sequence[Line], *, two_lines: bool = False) -> str:
    """A table of plain characters; `two_lines`: a line break in a head is one."""
    return _tabulate(lines, "simple", _one_line, str if two_lines else _one_line)


def _pipes(lines: Sequence[Line]) -> str:
    return _tabulate(lines, "pipe", _escape, _escape)


def _tabulate(lines: Sequence[Line], style: str, shown: Callable[[str], str], shown_head: Callable[[str], str]) -> str:
    """A table in one of tabulate's styles, of texts and heads as they are to be shown."""
    heads = list(map(shown_head, lines[0])) if lines else []
    rows = [[shown(entry.text) for entry in line.values()] for line in lines]
    align = [_alignment(head, [row[i] for row in rows]) for i, head in enumerate(heads)]
    padding, tabulate_module.MIN_PADDING = tabulate_module.MIN_PADDING, 0  # or nine columns are wider than a terminal
    try:
        return tabulate(rows, headers=heads, tablefmt=style, disable_numparse=True, colalign=align)
    finally:
        tabulate_module.MIN_PADDING = padding


def _alignment(head: str, texts: Sequence[str]) -> str:
    """Numbers to the right, names and what carries a mark to the left."""
    marked = any(text.endswith((" ^", " v", " ?", " ^~", " v~", " =")) for text in texts)
    return "left" if marked or head in {"rank", "method", GAIN, "column", "source", ""} else "right"


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _escape(text: str) -> str:
    r"""Text that Markdown shows as it is."""
    out = " ".join(text.splitlines()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for character in "|*_`[]#^~$":
        out = out.replace(character, f"\\{character}")
    return out
