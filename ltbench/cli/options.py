"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SuiteArg = Annotated[
    str, typer.Argument(metavar="SUITE", help="a suite file, or the name of one that comes with ltbench")
]
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
Set = Annotated[list[str], typer.Option("--set", metavar="KEY.PATH=VALUE", help="override a value of the suite")]
Only = Annotated[str | None, typer.Option("--only", help="only these rows, comma-separated")]
Datasets = Annotated[str | None, typer.Option("--datasets", help="only these data sets, comma-separated")]
Seeds = Annotated[str | None, typer.Option("--seeds", help="these seeds instead of the suite's, comma-separated")]
DEFAULT_RESULTS = Path("results")
