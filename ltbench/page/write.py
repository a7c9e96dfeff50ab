"""Writes the report of a suite: the page, and its figures as SVG and PNG."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from ltbench.errors import UserError
from ltbench.page import plots_gain, plots_runs
from ltbench.page.drawing import Picture, png, style, svg
from ltbench.page.evidence import gather
from ltbench.page.html import page
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
) -> list[Path]:
    """Write report.html, figures/*.svg and *.png and the tables into `folder`; the same input gives the same bytes.

    Args:
        records: all of the suite. records_folder: where they lie, for links from the page.

    Returns:
        The files, the page first.

    Raises:
        UserError: the folder cannot be written.
    """
    evidence = gather(records, board, expectation, predictions)
    shown = [table for table in board.tables if table.rows]
    with style():
        drawn = [
            (
                _named(list(plots_gain.pictures(board, table)), i),
                _named(list(plots_runs.pictures(board, table, evidence)), i),
            )
            for i, table in enumerate(shown)
        ]
        link = None if records_folder is None else quote(Path(os.path.relpath(records_folder, folder)).as_posix())
        started = [float(s) for r in records if isinstance(s := r.environment.get("started"), int | float)]
        html = page(board, evidence, drawn, papers, max(started, default=None), link)
        written = {Path(PAGE): html.encode()}
        for picture in (p for gains, behind in drawn for p in (*gains, *behind)):
            written[Path("figures") / f"{picture.name}.svg"] = svg(picture.figure).encode()
            written[Path("figures") / f"{picture.name}.png"] = png(picture.figure)
    for name, format_ in OTHER_FILES.items():
        written[Path(name)] = FORMATS[format_](board).encode()
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for file, content in written.items():
            write_atomically(folder / file, content)
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written ({error.strerror})") from error
    return [folder / file for file in written]


def _named(pictures: list[Picture], number: int) -> list[Picture]:
    """Names that are different for every table."""
    return pictures if number == 0 else [replace(p, name=f"{p.name}-{number + 1}") for p in pictures]
