"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ltbench.cli import completion
from ltbench.errors import UserError

if TYPE_CHECKING:
    from ltbench.spec import Selection

SuiteArg = Annotated[
    str,
    typer.Argument(
        metavar="SUITE",
        help="a suite's file, or the name of one that comes with ltbench",
        autocompletion=completion.suites,
    ),
]
LastSuite = Annotated[
    str | None,
    typer.Argument(
        metavar="[SUITE]",
        help="a suite's file or name; default: the last used",
        autocompletion=completion.suites_run,
    ),
]
OldSuite = Annotated[str | None, typer.Option("--suite", hidden=True, help="SUITE, as it was written before")]
Results = Annotated[Path, typer.Option("--results", help="where runs write", envvar="LTBENCH_RESULTS")]
TrackingUri = Annotated[
    str | None,
    typer.Option("--tracking-uri", help="MLflow's store; default: RESULTS/mlflow.db", envvar="MLFLOW_TRACKING_URI"),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="where data sets and caches live; default: the user's cache", envvar="LTBENCH_DATA"),
]
Methods = Annotated[
    Path | None, typer.Option("--methods", help="a folder with methods of your own (their code is run)")
]
Plugins = Annotated[
    list[Path],
    typer.Option(
        "--plugins",
        help="a folder with methods, backbones and data sets of your own (their code is run); may be given again",
    ),
]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY.PATH=VALUE", help="override a value of the suite")]
Only = Annotated[
    str | None,
    typer.Option(
        "--only", help="only these rows, comma-separated", autocompletion=completion.listed(completion.methods)
    ),
]
Datasets = Annotated[str | None, typer.Option("--datasets", help="only these data sets, comma-separated")]
Seeds = Annotated[str | None, typer.Option("--seeds", help="these seeds instead of the suite's, comma-separated")]
DEFAULT_RESULTS = Path("results")


def selection(only: str | None, datasets: str | None, seeds: str | None) -> Selection:
    """`--only`, `--datasets` and `--seeds` as one value.

    Raises:
        UserError: seeds that are not different whole numbers from 0 up.
    """
    from ltbench.spec import Selection

    try:
        numbers = None if seeds is None else [int(s) for s in seeds.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds {seeds}: expected whole numbers separated by commas, for example 0,1,2") from error
    if numbers is not None and (min(numbers) < 0 or len(set(numbers)) < len(numbers)):
        raise UserError(f"--seeds {seeds}: seeds are different whole numbers from 0 up")
    return Selection(only.split(",") if only else None, datasets.split(",") if datasets else None, numbers)
