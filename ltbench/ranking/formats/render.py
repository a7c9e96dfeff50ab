"""One leaderboard, many formats: text, Markdown, LaTeX, CSV, JSON. All carry the same numbers."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import pandas as pd
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
from ltbench.ranking.formats.text_tables import GAIN, Line, beside, detail, frame, overview
from ltbench.spec import Column

PUBLISHED = "Published beside ours"
WIDTH = 100
"""Columns of a terminal that the text format keeps to."""
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""What could steer a terminal."""
_STEERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""The same without what ends a line, which a CSV may hold in quotes."""
_FORMULA = ("=", "+", "-", "@")
"""A spreadsheet computes what begins so; an apostrophe before it makes it a text."""


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
    return _csv(as_csv.scores(board))


def pairs_csv(board: Leaderboard) -> str:
    """One line per pair of methods: difference, interval, p, adjusted p, verdict, reason."""
    return _csv(as_csv.pairs(board))


def _csv(table: pd.DataFrame) -> str:
    """Python's csv quotes no lone carriage return, where readers end a line: then every text is quoted."""
    table = table.map(_in_a_sheet).rename(columns=_in_a_sheet)
    texts = table.select_dtypes(exclude="number")
    returns = any(texts[name].astype(str).str.contains("\r").any() for name in texts)
    quoting: Literal[0, 2] = 2 if returns else 0  # csv.QUOTE_NONNUMERIC, csv.QUOTE_MINIMAL
    return table.to_csv(index=False, lineterminator="\n", quoting=quoting)


def _in_a_sheet(value: Any) -> Any:
    """A text as a spreadsheet and a terminal may have it: without escape sequences, and no formula."""
    if not isinstance(value, str):
        return value
    text = _STEERS.sub(" ", value)
    return f"'{text}" if text.startswith(_FORMULA) else text


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
    table = frame(lines).map(_one_line).rename(columns=str if two_lines else _one_line)
    return _tabulate(table, "simple", _align(table))


def _pipes(lines: Sequence[Line]) -> str:
    table = frame(lines)
    return _tabulate(table.map(_escape).rename(columns=_escape), "pipe", _align(table))


def _tabulate(table: pd.DataFrame, style: str, align: list[str]) -> str:
    rows = table.to_numpy().tolist()
    padding, tabulate_module.MIN_PADDING = tabulate_module.MIN_PADDING, 0  # or nine columns are wider than a terminal
    try:
        return tabulate(rows, headers=list(table.columns), tablefmt=style, disable_numparse=True, colalign=align)
    finally:
        tabulate_module.MIN_PADDING = padding


def _align(table: pd.DataFrame) -> list[str]:
    """Numbers to the right, names and what carries a mark to the left."""
    left = {"rank", "method", GAIN, "column", "source", ""}
    return ["left" if name in left or _marked(table[name]) else "right" for name in table.columns]


def _marked(column: pd.Series[str]) -> bool:
    return any(str(value).endswith((" ^", " v", " ?", " ^~", " v~", " =")) for value in column)


def _one_line(value: object) -> str:
    return " ".join(str(value).splitlines())


def _escape(value: object) -> str:
    r"""Text that Markdown shows as it is."""
    out = " ".join(str(value).splitlines()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for character in "|*_`[]#^~$":
        out = out.replace(character, f"\\{character}")
    return out
