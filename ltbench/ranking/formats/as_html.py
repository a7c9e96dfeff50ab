"""A leaderboard as a fragment of HTML, for notebooks: its main table with a style of its own, and no scripts."""

from __future__ import annotations

import re
from collections.abc import Collection
from html import escape

from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.formats.marks import legend
from ltbench.ranking.formats.notes import header, not_ranked, seeds_text
from ltbench.ranking.formats.text_tables import GAIN, Entry, overview
from ltbench.stats.fixed_datasets import Verdict

_STYLE = """
.ltbench-board figure { margin: .5em 0 1.5em; overflow-x: auto; color: inherit; }
.ltbench-board figcaption { max-width: 66em; font-size: .9em; padding: .3em .6em; }
.ltbench-board figcaption span { display: block; white-space: pre-wrap; }
.ltbench-board .lacking { background: rgba(230, 159, 0, .25); }
.ltbench-board table { border-collapse: collapse; margin: 0; font-size: .9em; font-variant-numeric: tabular-nums; }
.ltbench-board table th, .ltbench-board table td { padding: .25em .6em; text-align: left; white-space: nowrap;
  border: 0 solid rgba(128, 128, 128, .4); border-bottom-width: 1px; background: none; }
.ltbench-board table .number { text-align: right; }
.ltbench-board table .better { background: rgba(0, 158, 115, .25); }
.ltbench-board table .same { background: rgba(86, 180, 233, .25); }
.ltbench-board table .worse { background: rgba(213, 94, 0, .25); }
"""
"""Half-transparent colours and the notebook's own ink: legible on white and on black."""
_TONES = {Verdict.better: "better", Verdict.worse: "worse", Verdict.undecided: ""}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def board_html(board: Leaderboard) -> str:
    """The main table of every recipe: rank interval, method, mean with its interval, gain over the reference with its
    interval and verdict, and the primary metric on every column or data set. Captions say what is ranked, over how many
    seeds, and what is missing."""
    shown = [f"<figure>{_caption(board, table)}\n{_table(board, table)}</figure>\n" for table in board.tables]
    return f'<div class="ltbench-board"><style>{_STYLE}</style>\n{"".join(shown)}</div>\n'


def _table(board: Leaderboard, table: Table) -> str:
    """Nothing where no row is ranked."""
    if not table.rows:
        return ""
    lines = overview(table, board.primary)
    numbers = lines[0].keys() - {"rank", "method", GAIN}
    heads = "".join(f'<th scope="col"{_class(head in numbers)}>{_text(head)}</th>' for head in lines[0])
    tones = {row.name: _TONES.get(row.gain.verdict, "same") if row.gain else "" for row in table.rows}
    rows = []
    for line in lines:
        tone = tones[line["method"].text]
        cells = [_cell(head, entry, numbers, tone) for head, entry in line.items()]
        rows.append(f"<tr>{''.join(cells)}</tr>\n")
    return f"<table><thead><tr>{heads}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table>"


def _cell(head: str, entry: Entry, numbers: Collection[str], tone: str) -> str:
    if head == "method":
        return f'<th scope="row">{_text(entry.text)}</th>'
    return f"<td{_class(head in numbers, tone if head == GAIN else '')}>{_text(entry.text)}</td>"


def _class(number: bool, tone: str = "") -> str:
    name = "number" if number else tone
    return f' class="{name}"' if name else ""


def _caption(board: Leaderboard, table: Table) -> str:
    """What is ranked; the recipe, where it must be said; trials and seeds; how it is tested; what is not ranked."""
    ranked, trials, tested = header(board)
    trials += f", {seeds_text(table)} seeds" if table.rows else ""
    lines = [f"<span><b>{_text(ranked)}</b></span>"]
    if board.titled:
        lines.append(_line(table.heading_of_recipe))
    lines.append(_line(trials, lacking=bool(board.failed or board.missing)))
    lines.append(_line(tested))
    lines += [_line(line, lacking=True) for line in not_ranked(table)]
    lines += [_line(legend(board))] if table.rows else []
    return f"<figcaption>{''.join(lines)}</figcaption>"


def _line(text: str, *, lacking: bool = False) -> str:
    """lacking: it says that something is missing, and must not be overlooked."""
    return f"<span{_class(False, 'lacking' * lacking)}>{_text(text)}</span>"


def _text(text: str) -> str:
    return escape(_CONTROL.sub(" ", text))
