"""The command line. Imports lazily, so that `ltbench --help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ltbench.cli import completion
from ltbench.cli.boards import compare, leaderboard, report
from ltbench.cli.exchange import diff, split_
from ltbench.cli.options import (
    DEFAULT_RESULTS,
    Data,
    Datasets,
    Methods,
    OldSuite,
    Only,
    Plugins,
    Results,
    Seeds,
    Set,
    SuiteArg,
    TrackingUri,
    selection,
)
from ltbench.cli.output import print_board, tell, warn
from ltbench.cli.shipped import cluster, docs
from ltbench.cli.sites import site, submit
from ltbench.cli.streams import careful_output, say, waiting
from ltbench.cli.tools import check, datasets_, doctor, features, fetch, methods_, suites_, trial, verify
from ltbench.cli.watch import ui, watch
from ltbench.errors import UserError, harmless, on_a_screen
from ltbench.system.extras import need
from ltbench.system.interrupt import Interrupt, Interrupted
from ltbench.system.messages import show_on_stderr

app = typer.Typer(
    help="A benchmark harness for long-tailed recognition: one suite file, one command, a leaderboard that says which "
    "differences are real.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from ltbench import __version__

        typer.echo(f"ltbench {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def run(
    suite: SuiteArg,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: TrackingUri = None,
    data: Data = None,
    methods: Methods = None,
    plugins: Plugins = [],  # noqa: B006 - typer copies defaults
    set_: Set = [],  # noqa: B006 - typer copies defaults
    only: Only = None,
    datasets: Datasets = None,
    seeds: Seeds = None,
    inline: Annotated[bool, typer.Option("--inline", help="run in this process, one trial at a time")] = False,
    address: Annotated[str | None, typer.Option(help="an existing Ray cluster: auto or HOST:PORT")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="run only the trials that failed")] = False,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="where running trials leave checkpoints: a folder, or a URI (s3://, gs://) that every node "
            "reaches; default: in RESULTS",
            envvar="LTBENCH_CHECKPOINTS",
        ),
    ] = None,
) -> None:
    """Run what is missing of a suite, then print its leaderboard. The same command always continues."""
    with Interrupt() as interrupt, waiting(f"reading {suite} ...") as told:  # from before the imports that take seconds
        need("ltbench run", "train", *([] if inline else ["ray"]))
        from ltbench.cli.text.run import failure_lines, stopped_line
        from ltbench.execution.progress import RunDisplay
        from ltbench.workflow.run_suite import RunRequest, run_suite

        request = RunRequest(
            suite=suite,
            overrides=set_,
            chosen=selection(only, datasets, seeds),
            results=results,
            data=data,
            methods=methods,
            plugins=plugins,
            tracking_uri=tracking_uri,
            tell=told,
            inline=inline,
            address=address,
            retry_failed=retry_failed,
            checkpoints=checkpoints,
            show=RunDisplay,
        )
        outcome = run_suite(request, interrupt)
        if outcome.stopped:
            tell(stopped_line(outcome))
            raise typer.Exit(interrupt.code)
        if outcome.board is not None:
            print_board(outcome.board)
        if outcome.left:
            warn(f"{len(outcome.left)} trials did not run; the same command continues")
        for line in failure_lines(outcome.failures, request):
            warn(line)
    raise typer.Exit(0 if outcome.complete else 1)


@app.command()
def plan(
    suite: SuiteArg,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    methods: Methods = None,
    plugins: Plugins = [],  # noqa: B006 - typer copies defaults
    set_: Set = [],  # noqa: B006
    only: Only = None,
    datasets: Datasets = None,
    seeds: Seeds = None,
    export: Annotated[Path | None, typer.Option(help="write the trials here, for `ltbench trial` elsewhere")] = None,
    address: Annotated[str | None, typer.Option(help="ask this Ray cluster what it has: auto or HOST:PORT")] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="take ten steps of each row that no earlier records tell the time of")
    ] = False,
    tracking_uri: Annotated[
        str | None, typer.Option("--tracking-uri", hidden=True, envvar="MLFLOW_TRACKING_URI")
    ] = None,
) -> None:
    """Print what would run, where, and for how long. Also what is finished already, what is skipped and why."""
    need("ltbench plan", "train", *([] if address is None else ["ray"]))
    from ltbench.cli.text.plan import plan_text
    from ltbench.planning.bundle import export as write_bundle
    from ltbench.planning.bundle import export_plugins
    from ltbench.workflow.plan_suite import plan_suite
    from ltbench.workflow.prepare import Request

    request = Request(
        suite=suite,
        overrides=set_,
        chosen=selection(only, datasets, seeds),
        results=results,
        data=data,
        methods=methods,
        plugins=plugins,
        tracking_uri=tracking_uri,
        tell=tell,
    )
    outlook = plan_suite(request, address=address, measure=measure)
    typer.echo(harmless(plan_text(outlook)), nl=False)
    if export is not None:
        files = write_bundle(outlook.all_trials, outlook.prepared.inputs, export)
        more = "".join(f" --plugins {folder}" for folder in export_plugins(outlook.prepared.plugins, export))
        typer.echo(f"\nWrote {len(files)} trials to {export}; on another machine: python -m ltbench.trial "
                   f"{export}/*.json{more}")  # fmt: skip


app.command()(leaderboard)
app.command()(report)
app.command()(compare)
app.command()(site)
app.command()(submit)
app.command()(watch)
app.command(name="methods")(methods_)
app.command(name="suites")(suites_)
app.command(name="datasets")(datasets_)
app.command()(cluster)
app.command()(docs)
app.command()(features)
app.command()(check)
app.command()(doctor)
app.command()(fetch)
app.command()(trial)
app.command(name="split")(split_)
app.command()(diff)
app.command()(verify)


@app.command(name="import")
def import_(
    source: Annotated[Path, typer.Argument(help="a folder of records, or a .csv or .npz of predictions for a split")],
    suite: Annotated[
        str | None, typer.Argument(metavar="[SUITE]", help="of predictions: the suite whose board they go on")
    ] = None,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: TrackingUri = None,
    split: Annotated[
        Path | None, typer.Option(help="of predictions: the file of `ltbench split` that the models were trained on")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="of predictions: rank them with this recipe of the suite; default: in a table of their own"),
    ] = None,
    old_suite: OldSuite = None,
) -> None:
    """Take over records, or predictions of models from elsewhere. Records of another machine; predictions on a
    split that `ltbench split` wrote."""
    suite = suite or old_suite
    if source.suffix.lower() in (".csv", ".npz"):
        from ltbench.workflow.exchange.take_over import import_predictions

        if split is None or suite is None:
            raise UserError(f"{source}: predictions need SUITE and --split FILE (of `ltbench split`)")
        done = import_predictions(source, split, suite, results, recipe, tell)
        for method, models in done.rows.items():
            typer.echo(f"{suite}: {method}: {models} model{'s' * (models > 1)}, in the table of recipe {done.recipe}")
        return
    from ltbench.workflow.import_records import import_records

    if split or suite or recipe:
        raise UserError(f"{source}: SUITE, --split and --recipe are for predictions, a .csv or .npz file")
    for name, count in import_records(source, results, tracking_uri, tell).items():
        typer.echo(f"{name}: {count} new records")


@app.command()
def sync(
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="[SUITE]",
            help="a suite's file or name; default: all under --results",
            autocompletion=completion.suites_run,
        ),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: TrackingUri = None,
) -> None:
    """Send MLflow what it lacks of the records. Runs do so by themselves; this is for a store that was away, or new."""
    need("ltbench sync", "mlflow")
    from ltbench.workflow.sync import sync as sync_suites

    left = 0
    for name, done in sync_suites(suite, results, tracking_uri, tell):
        typer.echo(f"{name}: {done.sent} sent, {done.before} there before, {done.left} not sent")
        left += done.left
    raise typer.Exit(1 if left else 0)


app.command()(ui)


def main() -> None:
    """Entry point: a UserError is one message on stderr and exit code 2, never a traceback."""
    show_on_stderr()
    with careful_output():
        try:
            app()
        except UserError as error:
            say(on_a_screen(f"error: {error}"))
            sys.exit(2)
        except Interrupted as stop:
            say("stopped; the same command continues")
            sys.exit(stop.code)
