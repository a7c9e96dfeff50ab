"""`ltbench split`: what other repositories need to train on the same images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ltbench.cli.options import Data


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
        list[str], typer.Option("--option", metavar="NAME=VALUE", help="an option of the kind, as in a suite")
    ] = [],  # noqa: B006 - typer copies defaults
    data: Data = None,
) -> None:
    """Write the images that ltbench trains and tests on, for any other repository: indices, class counts, manifest."""
    from ltbench.results.splits import write_split
    from ltbench.workflow.exchange.make_split import SplitRequest, make_split, options_of
    from ltbench.workflow.prepare import data_folder

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
