"""`ltbench site` and `ltbench submit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ltbench.cli.options import DEFAULT_RESULTS, LastSuite, Results
from ltbench.cli.output import tell
from ltbench.errors import UserError
from ltbench.system.extras import need


def site(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="folders of results, of one suite or of several")
    ],
    out: Annotated[Path, typer.Option(help="the folder to write")] = Path("site"),
    title: Annotated[str, typer.Option(help="the site's title")] = "Long-tailed recognition: results",
    repository: Annotated[str | None, typer.Option(help="address of the repository that takes records")] = None,
) -> None:
    """Write static pages over any number of suites. Boards, methods, data sets, downloads; they open from disk."""
    need("ltbench site", "report")
    from ltbench.workflow.exchange.make_site import make_site

    typer.echo(str(make_site(sources, out, title, repository, tell)[0]))


def submit(
    suite: LastSuite = None,
    results: Results = DEFAULT_RESULTS,
    from_: Annotated[Path | None, typer.Option("--from", help="a suite's folder of results")] = None,
    out: Annotated[Path, typer.Option(help="the folder that gets a folder for the suite")] = Path("submission"),
    check: Annotated[
        Path | None, typer.Option("--check", help="only say whether this folder can be taken; writes nothing")
    ] = None,
    board: Annotated[Path | None, typer.Option(help="with --check: the records that are there already")] = None,
) -> None:
    """Make a suite's records ready for a community's board. Complete, checked, without names of machines."""
    from ltbench.workflow.exchange.submission import check_submission, make_submission

    if check is None and board is not None:
        raise UserError("--board: goes with --check FOLDER")
    if check is not None:
        place, found = check, check_submission(check, board)
    else:
        place, found = make_submission(suite, results, from_, out, tell)
    for problem in found.problems:
        typer.echo(f"problem: {problem}")
    for note in found.notes:
        typer.echo(f"note: {note}")
    verdict = f"{len(found.problems)} problems" if found.problems else f"{found.trials} trials, ready to be sent"
    typer.echo(f"{place}: {verdict}")
    raise typer.Exit(1 if found.problems else 0)
