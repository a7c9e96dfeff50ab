"""One leaderboard, four formats: text, Markdown, CSV, JSON. All carry the same numbers."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from dataclasses import asdict

import pandas as pd
import tabulate as tabulate_module
from tabulate import tabulate

import ltbench
from ltbench.report.board import Column, Leaderboard, Table
from ltbench.report.tables import detail, flat, header, legend, notes, overview

SCHEMA = 1
WIDTH = 100
"""Columns of a terminal that the text format keeps to."""


def text(board: Leaderboard) -> str:
    """For a terminal: plain characters, at most 100 columns for the usual suites."""
    blocks = ["\n".join(header(board))]
    for table in board.tables:
        if not table.rows:
            continue
        if len(board.tables) > 1:
            blocks.append(f"== recipe {table.recipe_name} ({table.recipe_id}) ==")
        blocks.append(_plain(overview(table, board.primary)))
        blocks += [f"{_heading(table, c)}\n{_plain(detail(table, c, board))}" for c in table.columns]
    wrapped = [textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in [legend(board), *notes(board)]]
    blocks.append("\n".join(wrapped))
    return "\n\n".join(blocks) + "\n"


def markdown(board: Leaderboard) -> str:
    """For a README or an issue: names are escaped, so no row can break the table."""
    first, second = header(board)
    blocks = [f"**{_escape(first)}**  \n{_escape(second)}"]
    for table in board.tables:
        if not table.rows:
            continue
        if len(board.tables) > 1:
            blocks.append(f"## Recipe {_escape(table.recipe_name)} ({table.recipe_id})")
        blocks.append(_pipes(overview(table, board.primary)))
        blocks += [f"### {_escape(_heading(table, c))}\n\n{_pipes(detail(table, c, board))}" for c in table.columns]
    blocks.append("  \n".join(_escape(line) for line in [legend(board), *notes(board)]))
    return "\n\n".join(blocks) + "\n"


def _heading(table: Table, column: Column) -> str:
    """A column's title with the size of its family of tests."""
    return table.title(column) + (f" (Holm over {table.comparisons})" if table.comparisons > 1 else "")


def csv(board: Leaderboard) -> str:
    """One line per method, column and metric; full precision, empty where undefined."""
    return flat(board).to_csv(index=False, lineterminator="\n")


def as_json(board: Leaderboard) -> str:
    """Everything, with a schema version; null where undefined, with the reason beside it."""
    data = asdict(board)
    for table, source in zip(data["tables"], board.tables, strict=True):
        table["columns"] = [{"dataset": d, "imbalance": i, "manifest": m} for d, i, m in source.columns]
        for row, original in zip(table["rows"], source.rows, strict=True):
            scores = (original.scores[c] for c in source.columns)
            row["scores"] = [{**asdict(score), "verdict": score.verdict} for score in scores]
    whole = {"schema": SCHEMA, "ltbench": ltbench.__version__, **data}
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Leaderboard], str]] = {"text": text, "markdown": markdown, "csv": csv, "json": as_json}


def _plain(frame: pd.DataFrame) -> str:
    return _tabulate(frame, "simple", _align(frame))


def _pipes(frame: pd.DataFrame) -> str:
    return _tabulate(frame.map(_escape).rename(columns=_escape), "pipe", _align(frame))


def _tabulate(frame: pd.DataFrame, style: str, align: list[str]) -> str:
    rows = frame.to_numpy().tolist()
    padding, tabulate_module.MIN_PADDING = tabulate_module.MIN_PADDING, 0  # or nine columns are wider than a terminal
    try:
        return tabulate(rows, headers=list(frame.columns), tablefmt=style, disable_numparse=True, colalign=align)
    finally:
        tabulate_module.MIN_PADDING = padding


def _align(frame: pd.DataFrame) -> list[str]:
    """Numbers to the right, names and what carries a mark to the left."""
    left = {"rank", "method", "gain [95% CI]"}
    return ["left" if name in left or _marked(frame[name]) else "right" for name in frame.columns]


def _marked(column: pd.Series[str]) -> bool:
    return any(str(value).endswith((" ^", " v", " ?", " ^~", " v~", " =")) for value in column)


def _escape(value: object) -> str:
    r"""Text that Markdown shows as it is."""
    out = " ".join(str(value).splitlines()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for character in "|*_`[]#^~$":
        out = out.replace(character, f"\\{character}")
    return out
