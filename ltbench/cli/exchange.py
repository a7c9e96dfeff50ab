"""`ltbench split` and `ltbench diff`: the images for other repositories, and two sets of results side by side."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ltbench.cli.options import Data, LastSuite, OldSuite
from ltbench.system.extras import need


class Profile(StrEnum):
    """Shapes of a long tail."""

    exp = "exp"
    step = "step"


def split_(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="cifar100, digits, imagenet_lt ..., folder or lists with --path")
    ],
    out: Annotated[Path, typer.Option(help="the file to write: .json, .npz, or .txt for lists of `path label` lines")],
    imbalance: Annotated[float | None, typer.Option(help="imbalance factor; default: the data set as it is")] = None,
    profile: Annotated[Profile, typer.Option(help="shape of the tail")] = Profile.exp,
    subset_seed: Annotated[int, typer.Option(help="which images are kept", min=0)] = 0,
    class_order: Annotated[str, typer.Option(help="label, frequency, or the seed of a permutation")] = "label",
    holdout_per_class: Annotated[int, typer.Option(help="training images per class that are left out", min=0)] = 0,
    path: Annotated[Path | None, typer.Option(help="the data set's own place, for kinds that have one")] = None,
    option: Annotated[
        list[str],
        typer.Option("--option", metavar="NAME=VALUE", help="an option of the data set's kind, as in a suite"),
    ] = [],  # noqa: B006 - typer copies defaults
    data: Data = None,
) -> None:
    """Write which images ltbench trains and tests on. For any other repository: indices, class counts, manifest."""
    need("ltbench split", "train")
    from ltbench.data.sources.source import data_folder
    from ltbench.results.splits import write_split
    from ltbench.workflow.exchange.make_split import SplitRequest, make_split, options_of

    request = SplitRequest(
        dataset=dataset,
        data=data_folder(data),
        path=None if path is None else str(path),
        imbalance=imbalance,
        profile=profile.value,
        subset_seed=subset_seed,
        class_order=class_order,
        holdout_per_class=holdout_per_class,
        options=options_of(option),
    )
    split = make_split(request)
    written = write_split(split, out)
    typer.echo(split.summary)
    typer.echo(f"Wrote {', '.join(map(str, written))}")


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="a folder of results or of records, or an MLflow store's URI")],
    b: Annotated[str, typer.Argument(metavar="B", help="the same; differences are B - A")],
    suite: LastSuite = None,
    primary: Annotated[str | None, typer.Option(help="the metric; default: that of A's suite")] = None,
    rope: Annotated[float | None, typer.Option(help="differences below this are practically none", min=0.0)] = None,
    out: Annotated[Path | None, typer.Option(help="write the cells to a CSV, too")] = None,
    old_suite: OldSuite = None,
) -> None:
    """Compare two sets of results, cell by cell. Which moved, by how much, and which trials are not the same. Exit code
    1: some cell moved."""
    from ltbench.cli.output import tell
    from ltbench.errors import UserError, harmless
    from ltbench.ranking.formats.as_csv import csv_text
    from ltbench.ranking.formats.moves_text import moves_table, moves_text
    from ltbench.workflow.exchange.diff import diff as find

    found = find(a, b, suite or old_suite, primary, rope, tell)
    typer.echo(harmless(moves_text(found.moves, found.a, found.b)), nl=False)
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(csv_text(moves_table(found.moves)), encoding="utf-8", newline="")
        except OSError as error:
            raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    raise typer.Exit(1 if found.moves.moved else 0)
