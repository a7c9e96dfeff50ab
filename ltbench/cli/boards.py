"""The commands that show results: leaderboard, report, compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ltbench.cli import completion
from ltbench.cli.options import (
    DEFAULT_RESULTS,
    Datasets,
    LastSuite,
    Methods,
    OldSuite,
    Only,
    Plugins,
    Results,
    Seeds,
    TrackingUri,
    selection,
)
from ltbench.cli.output import format_of, print_board, tell
from ltbench.errors import UserError, harmless
from ltbench.system.extras import need


def leaderboard(
    suite: LastSuite = None,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: TrackingUri = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", help="read a folder of records, a CSV of scores, or another harness's files, not MLflow"
        ),
    ] = None,
    methods: Methods = None,
    plugins: Plugins = [],  # noqa: B006 - typer copies defaults
    format_: Annotated[
        str | None,
        typer.Option(
            "--format", help="text, markdown, latex, paper, csv, pairs, json or every_eval_ever; default: by --out"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="write to a file instead of the screen")] = None,
    wide: Annotated[bool, typer.Option("--wide", help="more columns: ranks, IQM, gains in all metrics")] = False,
    names: Annotated[
        Path | None, typer.Option(help="for --format paper: a CSV with method,name,cite: how rows are called and cited")
    ] = None,
    intervals: Annotated[bool, typer.Option("--intervals", help="for --format paper: with 95 % intervals")] = False,
    only: Only = None,
    datasets: Datasets = None,
    seeds: Seeds = None,
    primary: Annotated[
        str | None,
        typer.Option(help="rank by this metric instead of the suite's", autocompletion=completion.metrics),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="gains over this row instead of the suite's", autocompletion=completion.methods),
    ] = None,
    rope: Annotated[float | None, typer.Option(help="differences below this are practically none", min=0.0)] = None,
    lower_is_better: Annotated[
        list[str],
        typer.Option("--lower-is-better", metavar="METRIC", help="a metric of your own in a CSV of scores"),
    ] = [],  # noqa: B006 - typer copies defaults
    higher_is_better: Annotated[
        list[str], typer.Option("--higher-is-better", metavar="METRIC", help="the same, the other way")
    ] = [],  # noqa: B006
    columns: Annotated[
        str | None,
        typer.Option(
            help="metrics to show of every column: few,many, forward50, worst_class, few_thirds, ece_few ...",
            autocompletion=completion.listed(completion.metrics),
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="rank by accuracy under a test prior: forward50, uniform, backward50 ..., or a file"),
    ] = None,
    seeds_only: Annotated[
        bool, typer.Option("--seeds-only", help="leave the noise of the test images out of the intervals")
    ] = False,
) -> None:
    """Rank the methods of a suite, with intervals and tests. Says what is missing."""
    from ltbench.ranking.build import BoardOptions
    from ltbench.ranking.formats.latex.paper import PaperStyle, read_names
    from ltbench.ranking.views.derived import primary_of_prior
    from ltbench.workflow.make_board import BoardRequest, make_board

    format_ = format_of(format_, out)
    if (names is not None or intervals) and format_ != "paper":
        raise UserError("--names and --intervals are for --format paper")
    style = PaperStyle(read_names(names) if names is not None else {}, intervals)
    primary, priors = primary_of_prior(primary, prior)
    told: list[str] = []
    request = BoardRequest(
        suite=suite,
        results=results,
        tracking_uri=tracking_uri,
        source=from_,
        methods=methods,
        plugins=plugins,
        chosen=selection(only, datasets, seeds),
        options=BoardOptions(primary=primary, reference=reference, rope=rope),
        lower_is_better=tuple(lower_is_better),
        higher_is_better=tuple(higher_is_better),
        columns=tuple(columns.split(",")) if columns else None,
        priors=priors,
        seeds_only=seeds_only,
        tell=told.append,
    )
    try:
        print_board(make_board(request).board, format_, out, wide=wide, style=style, detailed=columns is not None)
    finally:  # after the table, which would push them out of sight, and also where there is none
        sys.stdout.flush()
        for line in told:
            tell(line)


def report(
    suite: LastSuite = None,
    results: Results = DEFAULT_RESULTS,
    from_: Annotated[
        Path | None, typer.Option("--from", help="a folder of results or of records, or a CSV of scores")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the folder to write; default: RESULTS/SUITE/report")] = None,
    tracking_uri: TrackingUri = None,
    plugins: Plugins = [],  # noqa: B006 - typer copies defaults
    upload: Annotated[
        bool, typer.Option("--mlflow/--no-mlflow", help="also put it and its numbers into MLflow")
    ] = True,
    only: Only = None,
    datasets: Datasets = None,
    seeds: Seeds = None,
) -> None:
    """Write a suite's report, a page that opens from disk. Figures are SVG and PNG as well, tables CSV, JSON and
    LaTeX."""
    need("ltbench report", "report")
    from ltbench.system.uris import store_uri
    from ltbench.workflow.make_report import make_report

    made = make_report(suite, results, from_, out, selection(only, datasets, seeds), tell, tracking_uri, plugins)
    typer.echo(str(made.page))
    if upload and from_ is None:
        made.upload(store_uri(tracking_uri, results), tell)


def compare(
    a: Annotated[str, typer.Argument(help="a row of the table", autocompletion=completion.methods)],
    b: Annotated[str, typer.Argument(help="the row it is compared with", autocompletion=completion.methods)],
    suite: LastSuite = None,
    results: Results = DEFAULT_RESULTS,
    from_: Annotated[Path | None, typer.Option("--from", help="a suite's folder of results, or of records")] = None,
    datasets: Datasets = None,
    old_suite: OldSuite = None,
) -> None:
    """Compare two methods in full, as one planned comparison. By column, metric and class, and how far seeds can
    tell."""
    from ltbench.ranking.formats.compare_text import comparison_text
    from ltbench.workflow.make_board import compare_rows

    found = compare_rows(a, b, suite or old_suite, results, from_, selection(None, datasets, None), tell)
    typer.echo(harmless(comparison_text(found)), nl=False)
