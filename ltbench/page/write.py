"""Writes the report of a suite: the page, and its figures as SVG and PNG."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from ltbench.errors import UserError
from ltbench.page.drawing import Figure, png, svg
from ltbench.page.evidence import Evidence, gather
from ltbench.page.figures import gain, runs
from ltbench.page.html import TableFigures, page
from ltbench.page.setup import setup_of
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.formats.render import FORMATS
from ltbench.ranking.images import Predictions
from ltbench.spec import Expectation, Record
from ltbench.system.files import write_atomically

PAGE = "report.html"
OTHER_FILES = {"scores.csv": "csv", "pairs.csv": "pairs", "leaderboard.json": "json", "leaderboard.tex": "latex",
               "leaderboard.md": "markdown"}  # fmt: skip


def write_report(
    board: Leaderboard,
    records: Sequence[Record],
    predictions: Predictions | None,
    expectation: Expectation | None,
    folder: Path,
    *,
    papers: Mapping[str, str] | None = None,
    records_folder: Path | None = None,
    suite: str = "",
) -> list[Path]:
    """Write report.html, figures/*.svg and *.png and the tables into `folder`; the same input gives the same bytes.

    Args:
        records: all of the suite. records_folder: where they lie, for links from the page.
        suite: the suite as YAML, for the page.

    Returns:
        The files, the page first.

    Raises:
        UserError: the folder cannot be written.
    """
    evidence = gather(records, board, expectation, predictions)
    figures = figures_of(board, evidence)
    link = None if records_folder is None else quote(Path(os.path.relpath(records_folder, folder)).as_posix())
    started = [float(s) for r in records if isinstance(s := r.environment.get("started"), int | float)]
    setup = setup_of(board, records, evidence, suite)
    html = page(board, evidence, figures, papers, max(started, default=None), link, setup)
    written = {Path(PAGE): html.encode()}
    for figure in (f for of_table in figures for f in (*of_table.claims, *of_table.behind)):
        written[Path("figures") / f"{figure.name}.svg"] = svg(figure.drawing).encode()
        written[Path("figures") / f"{figure.name}.png"] = png(figure.drawing)
    for name, format_ in OTHER_FILES.items():
        written[Path(name)] = FORMATS[format_](board).encode()
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for file, content in written.items():
            write_atomically(folder / file, content)
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written ({error.strerror})") from error
    return [folder / file for file in written]


def figures_of(board: Leaderboard, evidence: Evidence) -> list[TableFigures]:
    """The figures of every table that has rows; none is drawn yet."""
    return [
        TableFigures(
            _named(gain.figures(board, table), number),
            _named(runs.figures(board, table, evidence), number),
        )
        for number, table in enumerate(table for table in board.tables if table.rows)
    ]


def _named(figures: Iterable[Figure], number: int) -> list[Figure]:
    """Names that are different for every table."""
    return [f if number == 0 else replace(f, name=f"{f.name}-{number + 1}") for f in figures]
