"""The report: one self-contained page that opens from disk and asks the network for nothing."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple

import ltbench
from ltbench.page import grids
from ltbench.page.conventions import conventions
from ltbench.page.drawing import Figure, inline_narrow, inline_svg, looks_of
from ltbench.page.evidence import Evidence
from ltbench.page.setup import Setup
from ltbench.page.words import definitions, in_a_sentence, no_diagram, verdict
from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.formats.as_json import as_data, as_json
from ltbench.ranking.formats.latex.board import latex
from ltbench.ranking.formats.marks import legend
from ltbench.ranking.formats.notes import header, notes
from ltbench.ranking.formats.render import csv, pairs_csv

GROUPS = (("gains", "gains", "Gains"), ("matrix", "pairs", "Every pair"), ("runs", "behind", "Classes and cost"))
APART = ("answer", "class-counts")
"""Figures with a place of their own on the page; the names of those of a second table end with its number."""
ZIPPED = 100_000
"""Bytes from which a download is compressed, so that the page stays small."""
SHAPES = {
    "o": '<circle cx="8" cy="8" r="5"/>',
    "s": '<path d="M3 3h10v10h-10z"/>',
    "^": '<path d="M8 2l6 11h-12z"/>',
    "D": '<path d="M8 1l7 7-7 7-7-7z"/>',
    "v": '<path d="M8 14l6-11h-12z"/>',
    "P": '<path d="M6 2h4v4h4v4h-4v4h-4v-4h-4v-4h4z"/>',
    "X": '<path d="M2 5l3-3 3 3 3-3 3 3-3 3 3 3-3 3-3-3-3 3-3-3 3-3z"/>',
    "*": '<path d="M8 1l2 5h5l-4 3.5 1.500 5-4.500-3-4.500 3 1.500-5-4-3.500h5z"/>',
}
"""Matplotlib's markers for a list of methods."""


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
    setup: Setup | None = None,
) -> str:
    """The page's HTML.

    Args:
        figures: those of every table that has rows.
        papers: method -> citation. started: when the last trial started, seconds since 1970.
        records: where the records lie, relative to the page; None leaves runs without links.
        setup: how the trials were set up; None where nothing is known of it.
    """
    from jinja2 import Environment

    folder = files("ltbench.page").joinpath("template")
    text = {name: folder.joinpath(f"report.{name}").read_text(encoding="utf-8") for name in ("html", "css", "js")}
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    script_hash = "sha256-" + base64.b64encode(hashlib.sha256(text["js"].encode()).digest()).decode()
    shown = [table for table in board.tables if table.rows]
    tables = [_table(board, table, evidence, drawn) for table, drawn in zip(shown, figures, strict=True)]
    looks = looks_of(board)
    return environment.from_string(text["html"]).render(
        board=board,
        version=ltbench.__version__,
        header=header(board),
        legend=legend(board),
        warnings=notes(board),
        finished=datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d %H:%M") if started else "",
        downloads=_downloads(board),
        sections=_sections(board, tables, setup, evidence),
        methods=[{"label": m, "colour": c, "shape": SHAPES[s]} for m, (c, s) in looks.items()],
        numbers={label: number for number, label in enumerate(looks)},
        setup=setup,
        tables=tables,
        views=[view for i, table in enumerate(shown) for view in grids.views(board, table, i)],
        published=grids.published(board, evidence) if board.published else None,
        runs=grids.runs(board, evidence, records) if evidence.runs else None,
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
        "answer": next((_figure(f) for f in drawn.claims if _apart(f) == "answer"), None),
        "counts": next((_figure(f) for f in drawn.behind if _apart(f) == "class-counts"), None),
        "gains": [_figure(f) for f in drawn.claims if not _apart(f)],
        "runs": [_figure(f) for f in drawn.behind if not _apart(f)],
        "no_diagram": no_diagram(table),
        "matrix": grids.matrix(board, table, evidence) if len(table.rows) > 1 else None,
        "matrix_cut": grids.MATRIX if len(table.rows) > grids.MATRIX else None,
        "pairs": len(table.pairs),
        "conventions": conventions(board, table, evidence),
    }


def _apart(figure: Figure) -> str:
    """The name of a figure with a place of its own; empty for the others."""
    return next((name for name in APART if figure.name.startswith(name)), "")


def _figure(figure: Figure) -> dict[str, Any]:
    return {"name": figure.name, "title": figure.title, "caption": figure.caption, "svg": inline_svg(figure),
            "narrow": inline_narrow(figure), "wide": figure.draw_narrow is not None,
            "rows": grids.of_frame(figure.data)}  # fmt: skip


def _sections(
    board: Leaderboard, tables: Sequence[Mapping[str, Any]], setup: Setup | None, evidence: Evidence
) -> list[tuple[str, str]]:
    found = [("verdict", "Answer"), ("leaderboard", "Table")]
    first = tables[0] if tables else {}
    found += [(anchor, title) for key, anchor, title in GROUPS if first.get(key)]
    found += [("published", "Published numbers")] if board.published else []
    found += [("setup", "Set-up")] if setup is not None else []
    found += [("runs", "Runs")] if evidence.runs else []
    return [*found, ("how", "How it was computed"), ("cite", "Cite")]


def _downloads(board: Leaderboard) -> list[dict[str, str]]:
    wanted = {"scores.csv": ("scores", csv), "pairs.csv": ("pairs", pairs_csv), "leaderboard.json": ("JSON", as_json),
              "leaderboard.tex": ("LaTeX", latex)}  # fmt: skip
    kinds = {"csv": "text/csv", "json": "application/json", "tex": "application/x-tex"}
    return [_download(board, name, label, make(board).encode(), kinds[name.rsplit(".", 1)[1]])
            for name, (label, make) in wanted.items()]  # fmt: skip


def _download(board: Leaderboard, name: str, label: str, content: bytes, kind: str) -> dict[str, str]:
    if len(content) > ZIPPED:
        name, label, kind, content = (
            f"{name}.gz",
            f"{label} (gzip)",
            "application/gzip",
            gzip.compress(content, mtime=0),
        )
    href = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return {"name": f"{board.suite}-{name}", "label": label, "href": href}
