"""The report: one self-contained page that opens from disk and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple

import ltbench
from ltbench.page import grids
from ltbench.page.drawing import Figure, inline_svg
from ltbench.page.evidence import Evidence
from ltbench.page.words import definitions, in_a_sentence, no_diagram, verdict
from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.formats.as_json import as_data, as_json
from ltbench.ranking.formats.latex.board import latex
from ltbench.ranking.formats.marks import legend
from ltbench.ranking.formats.notes import header, notes
from ltbench.ranking.formats.render import csv, pairs_csv

GROUPS = (("gains", "gains", "Claims"), ("matrix", "pairs", "Pairs"), ("runs", "behind", "Behind"))


class TableFigures(NamedTuple):
    """The figures of one table: of what may be claimed, and of what stands behind it."""

    claims: Sequence[Figure]
    behind: Sequence[Figure]


def page(
    board: Leaderboard,
    evidence: Evidence,
    figures: Sequence[TableFigures],
    papers: Mapping[str, str] | None = None,
    started: float | None = None,
    records: str | None = None,
) -> str:
    """The page's HTML.

    Args:
        figures: those of every table that has rows.
        papers: method -> citation. started: when the last trial started, seconds since 1970.
        records: where the records lie, relative to the page; None leaves runs without links.
    """
    from jinja2 import Environment

    folder = files("ltbench.page").joinpath("template")
    text = {name: folder.joinpath(f"report.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    script_hash = "sha256-" + base64.b64encode(hashlib.sha256(text["js"].encode()).digest()).decode()
    shown = [table for table in board.tables if table.rows]
    tables = [_table(board, table, evidence, drawn) for table, drawn in zip(shown, figures, strict=True)]
    return environment.from_string(text["html"]).render(
        board=board,
        version=ltbench.__version__,
        header=header(board),
        legend=legend(board),
        warnings=notes(board),
        finished=datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d %H:%M") if started else "",
        downloads=_downloads(board),
        sections=_sections(board, tables),
        tables=tables,
        views=[view for i, table in enumerate(shown) for view in grids.views(board, table, i)],
        published=grids.published(board, evidence) if board.published else None,
        runs=grids.runs(board, evidence, records),
        how=definitions(board),
        versions=", ".join(f"{k} {v}" for k, v in as_data(board)["versions"].items()),
        papers=sorted((papers or {}).items()),
        latex=latex(board),
        sentence=in_a_sentence(board),
        css=text["css"],
        script=text["js"],
        script_hash=script_hash,
    )


def _table(board: Leaderboard, table: Table, evidence: Evidence, drawn: TableFigures) -> dict[str, Any]:
    """One table's sections, by the names that the template has."""
    return {
        "recipe": table.recipe_name,
        "start": table.start,
        "verdict": verdict(board, table),
        "gains": [_figure(f) for f in drawn.claims],
        "runs": [_figure(f) for f in drawn.behind],
        "no_diagram": no_diagram(table),
        "matrix": grids.matrix(board, table, evidence) if len(table.rows) > 1 else None,
        "matrix_cut": grids.MATRIX if len(table.rows) > grids.MATRIX else None,
        "pairs": len(table.pairs),
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {"name": figure.name, "title": figure.title, "caption": figure.caption,
            "svg": inline_svg(figure), "rows": grids.of_frame(figure.data)}  # fmt: skip


def _sections(board: Leaderboard, tables: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    found = [("verdict", "Verdict"), ("leaderboard", "Leaderboard")]
    first = tables[0] if tables else {}
    found += [(anchor, title) for key, anchor, title in GROUPS if first.get(key)]
    if board.published:
        found.append(("published", "Published"))
    return [*found, ("runs", "Runs"), ("how", "How"), ("cite", "Cite")]


def _downloads(board: Leaderboard) -> list[dict[str, str]]:
    wanted = {"scores.csv": ("scores", csv), "pairs.csv": ("pairs", pairs_csv), "leaderboard.json": ("JSON", as_json),
              "leaderboard.tex": ("LaTeX", latex)}  # fmt: skip
    kinds = {"csv": "text/csv", "json": "application/json", "tex": "application/x-tex"}
    return [
        {
            "name": f"{board.suite}-{name}",
            "label": label,
            "href": f"data:{kinds[name.rsplit('.', 1)[1]]};base64,{base64.b64encode(make(board).encode()).decode()}",
        }
        for name, (label, make) in wanted.items()
    ]
