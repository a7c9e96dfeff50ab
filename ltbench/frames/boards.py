"""`ltbench.leaderboard`, `ltbench.report`: results ranked, with what may be claimed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltbench.errors import UserError, did_you_mean
from ltbench.frames.words import (
    AnyPath,
    AnyPaths,
    AnySuite,
    Names,
    folder_of,
    frame_of,
    names_of,
    path_of,
    paths_of,
    selection_of,
    suite_of,
)
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import BoardOptions
from ltbench.ranking.formats import as_csv
from ltbench.ranking.formats.as_html import board_html
from ltbench.ranking.formats.latex.paper import Named, PaperStyle
from ltbench.ranking.formats.render import renderer
from ltbench.ranking.views.derived import primary_of_prior
from ltbench.system.extras import need
from ltbench.system.uris import store_uri
from ltbench.workflow.make_board import BoardRequest, RankedResults, make_board
from ltbench.workflow.tell import Tell, tell_nobody

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Board:
    """A leaderboard: who is better than whom, and how sure that is."""

    ranked: RankedResults

    @property
    def board(self) -> Leaderboard:
        """The board with all its parts."""
        return self.ranked.board

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.board.suite

    @property
    def methods(self) -> list[str]:
        """The rows, best first."""
        return [row.label for table in self.board.tables for row in table.rows]

    def to_frame(self) -> pd.DataFrame:
        """One line per method, data set and metric, in full precision: the columns of `scores.csv`."""
        table = as_csv.scores(self.board)
        return frame_of(table.lines, table.columns)

    def pairs(self) -> pd.DataFrame:
        """One line per pair of methods: difference, interval, p, p_holm, verdict: the columns of `pairs.csv`."""
        table = as_csv.pairs(self.board)
        return frame_of(table.lines, table.columns)

    def render(
        self,
        format_: str = "text",
        *,
        wide: bool = False,
        names: Mapping[str, str | tuple[str, str]] | None = None,
        intervals: bool = False,
    ) -> str:
        """The board as `text`, `markdown`, `latex`, `paper` (a two-column LaTeX table), `csv`, `pairs` or `json`.
        `wide`: more columns, for text. For `paper`: `names` of rows, or name and citation key; `intervals` beside the
        values.

        Raises:
            ltbench.errors.UserError: no such format.
        """
        from ltbench.ranking.formats.render import FORMATS

        if format_ not in FORMATS:
            raise UserError(f"format {format_!r}: unknown. {did_you_mean(format_, FORMATS)}")
        named = {row: Named(*([x] if isinstance(x, str) else x)) for row, x in (names or {}).items()}
        return renderer(format_, wide=wide, style=PaperStyle(named, intervals))(self.board)

    @cached_property
    def plot(self) -> Plots:
        """The figures of the report, by name: `board.plot.trade_off()`."""
        return Plots(self.ranked)

    def __str__(self) -> str:
        return self.render()

    def __repr__(self) -> str:
        return self.render()

    def _repr_html_(self) -> str:
        return board_html(self.board)


class Plots:
    """The figures that a board's results allow, each as a function that returns a matplotlib Figure, drawn when it is
    first called. `dir(board.plot)` lists them."""

    def __init__(self, ranked: RankedResults) -> None:
        self._ranked = ranked

    @cached_property
    def _figures(self) -> dict[str, Any]:
        need("board.plot", "report")
        from ltbench.page.evidence import gather
        from ltbench.page.write import figures_of

        board, journal, expectation = self._ranked.board, self._ranked.journal, self._ranked.expectation
        records = [] if journal is None else list(journal.records().values())
        evidence = gather(records, board, expectation, journal.predictions if journal is not None else None)
        found = [f for table in figures_of(board, evidence) for f in (*table.claims, *table.behind)]
        return {figure.name.replace("-", "_"): figure for figure in found}

    def __dir__(self) -> list[str]:
        return sorted(self._figures)

    def __getattr__(self, name: str) -> Callable[[], Figure]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._figures:
            raise AttributeError(f"no figure {name!r} of these results. {did_you_mean(name, self._figures)}")
        return lambda: self._figures[name].drawing

    def caption(self, name: str) -> str:
        """How to read a figure, and what it must not be taken for."""
        return str(self._figures[name].caption)


def leaderboard(
    suite: AnySuite | None = None,
    *,
    results: AnyPath = "results",
    tracking_uri: str | None = None,
    from_: AnyPath | pd.DataFrame | None = None,
    methods: AnyPath | None = None,
    plugins: AnyPaths = (),
    only: Names = None,
    datasets: Names = None,
    seeds: int | Iterable[int] | None = None,
    primary: str | None = None,
    reference: str | None = None,
    rope: float | None = None,
    lower_is_better: Names = None,
    higher_is_better: Names = None,
    columns: Names = None,
    prior: str | None = None,
    seeds_only: bool = False,
    tell: Tell = tell_nobody,
) -> Board:
    """Rank the methods of a suite, with intervals and tests.

    Args:
        suite: its name, file or contents; default: the last used.
        results: the folder in which runs wrote.
        tracking_uri: MLflow's store; default: `mlflow.db` in `results`.
        from_: read this instead of MLflow: a folder of records, a CSV of scores, or a frame with the same columns
            (method, dataset, imbalance_factor, seed, metric, value).
        methods: a folder with methods of your own, to tell rows that were trained with other code than theirs.
        plugins: a folder with methods of your own, or several, beside those that the suite's file names, to tell rows
            that were trained with other code; their code is run.
        only: the rows (methods, by label) to look at; default: all.
        datasets: the data sets to look at; default: all.
        seeds: the training seeds to look at; default: all.
        primary: rank by this metric; default: the suite's.
        reference: gains over this row; default: the suite's.
        rope: differences below this, in the metric's unit, are practically none; default: the suite's.
        lower_is_better: metrics of your own in scores of which a lower value is better. Names such as `error_rate` or
            `test_loss` say it themselves.
        higher_is_better: those of which a higher value is better.
        columns: the metrics to show beside the one that ranks, also such as follow from the records: `forward50`,
            `geometric_mean`, `few_thirds`, `ece_few`; default: the suite's.
        prior: rank by accuracy under this test distribution: `forward50` ... `backward50`, `uniform`, or a file with a
            weight for every class.
        seeds_only: leave the noise of the test images out of the intervals.
        tell: called with lines that the user should know; default: nobody is told.

    Returns:
        The board: `to_frame()`, `pairs()`, `plot`; printed, it is the text; a notebook shows it as a table.

    Raises:
        ltbench.errors.UserError: no such suite, no results, or an unknown row, data set, metric or reference.

    Examples:
        >>> import ltbench
        >>> board = ltbench.leaderboard(from_="results/reference/quickstart")
        >>> len(board.methods), board.pairs().shape[0] >= 10
        (5, True)
        >>> sorted(dir(board.plot))[:2]
        ['answer', 'by_imbalance']
    """
    primary, priors = primary_of_prior(primary, prior)
    shown = names_of(columns)
    request = BoardRequest(
        suite=suite_of(suite, plugins),
        results=folder_of(results),
        tracking_uri=tracking_uri,
        source=path_of(from_) if from_ is None or isinstance(from_, str | Path) else from_,
        methods=path_of(methods),
        plugins=paths_of(plugins),
        chosen=selection_of(only, datasets, seeds),
        options=BoardOptions(primary=primary, reference=reference, rope=rope),
        lower_is_better=tuple(names_of(lower_is_better) or ()),
        higher_is_better=tuple(names_of(higher_is_better) or ()),
        columns=None if shown is None else tuple(shown),
        priors=priors,
        seeds_only=seeds_only,
        tell=tell,
    )
    return Board(make_board(request))


@dataclass(frozen=True)
class Report:
    """A report on the disk."""

    page: Path
    """The page; it opens from disk."""
    files: list[Path]
    """All files, the page first."""

    def __repr__(self) -> str:
        return f"Report: {self.page}"


def report(
    suite: AnySuite | None = None,
    *,
    results: AnyPath = "results",
    from_: AnyPath | None = None,
    out: AnyPath | None = None,
    plugins: AnyPaths = (),
    only: Names = None,
    datasets: Names = None,
    seeds: int | Iterable[int] | None = None,
    tracking_uri: str | None = None,
    mlflow: bool = False,
    tell: Tell = tell_nobody,
) -> Report:
    """Write a suite's report: one page that opens from disk, figures as SVG and PNG, tables as CSV, JSON and LaTeX.

    Args:
        suite: its name, file or contents; default: the last used.
        results: the folder in which runs wrote.
        from_: a suite's folder of results, or of records, instead of `results`.
        out: the folder to write; default: `results`/SUITE/report.
        plugins: a folder with methods of your own, or several, beside those that the suite's file names, to tell rows
            that were trained with other code; their code is run.
        only: the rows (methods, by label) to show; default: all.
        datasets: the data sets to show; default: all.
        seeds: the training seeds to use; default: all.
        tracking_uri: MLflow's store; default: `mlflow.db` in `results`.
        mlflow: also put the report and its numbers into MLflow.
        tell: called with lines that the user should know; default: nobody is told.

    Returns:
        The files, with `page` to open.

    Raises:
        ltbench.errors.UserError: no such suite, no results, or a folder that cannot be written.

    Examples:
        >>> import ltbench, tempfile
        >>> ltbench.report(from_="results/reference/quickstart", out=tempfile.mkdtemp()).page.name
        'report.html'
    """
    need("ltbench.report", "report")
    from ltbench.workflow.make_report import make_report

    folder = folder_of(results)
    chosen = selection_of(only, datasets, seeds)
    made = make_report(suite_of(suite, plugins), folder, path_of(from_), path_of(out), chosen, tell, tracking_uri,
                       paths_of(plugins))  # fmt: skip
    if mlflow:
        made.upload(store_uri(tracking_uri, folder), tell)
    return Report(made.page, list(made.files))
