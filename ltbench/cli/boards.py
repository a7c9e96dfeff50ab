"""The commands that show results: leaderboard, report, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ltbench.cli.options import DEFAULT_RESULTS, Datasets, Only, Results, Seeds, TrackingUri
from ltbench.cli.output import format_of, print_board
from ltbench.workflow.find_results import find_results, journal_of
from ltbench.workflow.prepare import selection, tracking_store


def leaderboard(
    suite: Annotated[
        str | None, typer.Argument(metavar="[SUITE]", help="a suite's file or name; default: the last used")
    ] = None,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: TrackingUri = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help="read a folder of records, or a CSV of scores, instead of MLflow")
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="text, markdown, latex, csv, pairs or json; default: by the name of --out"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="write to a file instead of the screen")] = None,
    wide: Annotated[bool, typer.Option("--wide", help="more columns: ranks, IQM, gains in all metrics")] = False,
    only: Only = None,
    datasets: Datasets = None,
    seeds: Seeds = None,
    primary: Annotated[str | None, typer.Option(help="rank by this metric instead of the suite's")] = None,
    reference: Annotated[str | None, typer.Option(help="gains over this row instead of the suite's")] = None,
    rope: Annotated[float | None, typer.Option(help="differences below this are practically none", min=0.0)] = None,
    seeds_only: Annotated[
        bool, typer.Option("--seeds-only", help="leave the noise of the test images out of the intervals")
    ] = False,
) -> None:
    """Rank the methods of a suite, with intervals and tests; say what is missing."""
    from ltbench.ranking.build import BoardOptions, build
    from ltbench.ranking.images import left_out

    format_ = format_of(format_, out)
    found = find_results(suite, results, tracking_uri, from_)
    board = build(
        found.results,
        found.expectation,
        selection(only, datasets, seeds),
        BoardOptions(primary=primary, reference=reference, rope=rope),
        predictions=left_out if seeds_only else found.predictions,
    )
    print_board(board, format_, out, wide=wide)


def report(
    suite: Annotated[
        str | None, typer.Argument(metavar="[SUITE]", help="a suite's file or name; default: the only one there is")
    ] = None,
    results: Results = DEFAULT_RESULTS,
    from_: Annotated[Path | None, typer.Option("--from", help="a suite's folder of results, or of records")] = None,
    out: Annotated[Path | None, typer.Option(help="the folder to write; default: RESULTS/SUITE/report")] = None,
    tracking_uri: TrackingUri = None,
    upload: Annotated[
        bool, typer.Option("--mlflow/--no-mlflow", help="also put it and its numbers into MLflow")
    ] = True,
    only: Only = None,
    datasets: Datasets = None,
    seeds: Seeds = None,
) -> None:
    """Write a suite's report: one page that opens from disk; figures as SVG and PNG; tables as CSV, JSON and LaTeX."""
    from ltbench.workflow.make_report import make_report

    made = make_report(suite, results, from_, out, selection(only, datasets, seeds))
    typer.echo(str(made.page))
    if upload and from_ is None:
        made.upload(tracking_store(tracking_uri, results))


def compare(
    a: Annotated[str, typer.Argument(help="a row of the table")],
    b: Annotated[str, typer.Argument(help="the row it is compared with")],
    suite: Annotated[str | None, typer.Option(help="the suite's name; default: the only one there is")] = None,
    results: Results = DEFAULT_RESULTS,
    from_: Annotated[Path | None, typer.Option("--from", help="a suite's folder of results, or of records")] = None,
    datasets: Datasets = None,
) -> None:
    """Two methods in full, as one planned comparison: by column, metric and class, and how far seeds can tell."""
    from ltbench.ranking.compare import compare as compare_methods
    from ltbench.ranking.formats.compare_text import comparison_text

    journal, expectation = journal_of(results, suite, from_)
    chosen = selection(None, datasets, None)
    records = list(journal.records().values())
    found = compare_methods(records, journal.predictions, a, b, expectation, chosen.datasets)
    typer.echo(comparison_text(found), nl=False)
