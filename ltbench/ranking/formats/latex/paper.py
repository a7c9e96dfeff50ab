r"""A leaderboard as a two-column table of a paper: all, many, medium and few on every column, names and citations."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ltbench.errors import UserError, did_you_mean
from ltbench.metric_names import BUCKETS, metric_of
from ltbench.ranking.board import Leaderboard, Row, Score, Table
from ltbench.ranking.formats.latex.board import caption, comment, escape, label_of
from ltbench.ranking.formats.notes import header, notes
from ltbench.spec import Column

MOST = 12
"""Numbers across a page; with intervals half as many. More stand in a second block below the first."""


class Named(NamedTuple):
    """How a row is called in a paper, and the key of its citation; empty: none."""

    name: str
    cite: str = ""


@dataclass(frozen=True)
class PaperStyle:
    """How the table looks.

    Attributes:
        names: row -> its name and citation; others are called by their labels.
        intervals: half-widths of 95 % intervals beside the values of the metric that ranks.
    """

    names: Mapping[str, Named] = field(default_factory=dict)
    intervals: bool = False


USUAL = PaperStyle()


def paper(board: Leaderboard, style: PaperStyle = USUAL) -> str:
    r"""One `table*` per recipe. Needs `\usepackage{booktabs}`. Bold: the rank interval on that column includes 1; many,
    medium and few are descriptive and never bold."""
    head = [r"% \usepackage[T1]{fontenc} \usepackage{booktabs,textcomp}", *map(comment, header(board))]
    tables = [_table(board, table, style) for table in board.tables if table.rows]
    return "\n".join([*head, *tables, *map(comment, notes(board))]) + "\n"


def read_names(file: Path) -> dict[str, Named]:
    """Names from a CSV with the columns method, name and, if you like, cite.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True, skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            for name in columns:
                if name not in ("method", *Named._fields):
                    hint = did_you_mean(name, ("method", *Named._fields))
                    raise UserError(f"{file}: unknown column {name!r}. {hint}")
            if not {"method", "name"} <= set(columns):
                raise UserError(f"{file}: needs a header with method,name and may have cite")
            reader.fieldnames = columns
            return {row["method"]: Named(row["name"] or row["method"], row.get("cite") or "") for row in reader}
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is no CSV in UTF-8 ({error})") from error


def _table(board: Leaderboard, table: Table, style: PaperStyle) -> str:
    shown = {column: _metrics(board, table, column) for column in table.columns}
    blocks = [_block(board, table, some, shown, style) for some in _in_blocks(table.columns, shown, style)]
    between = [r"\par\vspace{1ex}"]
    body = [line for i, block in enumerate(blocks) for line in [*(between if i else []), *block]]
    return "\n".join([
        r"\begin{table*}[t]", r"\centering", r"\small", r"\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{_caption(board, table, style)}}}", rf"\label{{{label_of(board, table)}}}", *body,
        r"\end{table*}", "",
    ])  # fmt: skip


def _metrics(board: Leaderboard, table: Table, column: Column) -> list[str]:
    """The metric that ranks, and the buckets that the column has."""
    scores = [row.scores[column] for row in table.rows]
    there = [b for b in BUCKETS if b != board.primary and any(s.metrics.get(b) is not None for s in scores)]
    return [board.primary, *there]


def _in_blocks(
    columns: Sequence[Column], shown: Mapping[Column, Sequence[str]], style: PaperStyle
) -> list[list[Column]]:
    """Columns that fit beside one another."""
    most = MOST // 2 if style.intervals else MOST
    blocks: list[list[Column]] = [[]]
    for column in columns:
        if blocks[-1] and sum(len(shown[c]) for c in (*blocks[-1], column)) > most:
            blocks.append([])
        blocks[-1].append(column)
    return blocks


def _block(
    board: Leaderboard,
    table: Table,
    columns: Sequence[Column],
    shown: Mapping[Column, Sequence[str]],
    style: PaperStyle,
) -> list[str]:
    groups, rules, heads, at = [""], [], ["Method"], 2
    for column in columns:
        n = len(shown[column])
        groups.append(rf"\multicolumn{{{n}}}{{c}}{{{escape(table.title(column))}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + n - 1}}}")
        heads += ["All" if m == board.primary else m.capitalize() for m in shown[column]]
        at += n
    rows = [
        " & ".join([_name(row, style), *(_number(board, row, c, m, style) for c in columns for m in shown[c])]) + r" \\"
        for row in table.rows
    ]
    return [
        rf"\begin{{tabular}}{{l{'r' * (at - 2)}}}", r"\toprule", " & ".join(groups) + r" \\", " ".join(rules),
        " & ".join(heads) + r" \\", r"\midrule", *rows, r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


def _name(row: Row, style: PaperStyle) -> str:
    named = style.names.get(row.label)
    if named is None:
        return escape(row.name)
    marks = row.name.removeprefix(row.label)  # stale, from elsewhere
    key = "".join(c for c in named.cite if c.isalnum() or c in ":-_./+,")
    return escape(named.name + marks) + (rf"~\cite{{{key}}}" if key else "")


def _number(board: Leaderboard, row: Row, column: Column, metric: str, style: PaperStyle) -> str:
    score = row.scores[column]
    interval = score.metrics.get(metric)
    if interval is None:
        return "--"
    digits = metric_of(metric).digits
    value = f"{interval.mean:z.{digits}f}"
    if metric != board.primary:
        return value
    if score.rank is not None and score.rank[0] == 1:
        value = rf"\textbf{{{value}}}"
    if style.intervals and interval.half is not None:
        value += rf"\,{{\scriptsize$\pm${interval.half:.{digits}f}}}"
    return value + _dagger(score)


def _dagger(score: Score) -> str:
    return r"\textsuperscript{\dag}" if score.failed or score.missing else ""


def _caption(board: Leaderboard, table: Table, style: PaperStyle) -> str:
    title = metric_of(board.primary).title
    said = [rf"All: {escape(title)}; many, medium and few: accuracy of these classes. Bold: the rank interval on that "
            rf"column includes 1 (Holm, 5\,\%)."]  # fmt: skip
    if style.intervals:
        said.append(r"$\pm$: half of the 95\,\% interval.")
    if any(s.failed or s.missing for row in table.rows for s in row.scores.values()):
        said.append(r"\dag: some seeds are missing or failed; nothing is imputed.")
    return " ".join([caption(board, table, marks=False), *said])
