"""`ltbench check`."""

from __future__ import annotations

from typing import Annotated

import typer

from ltbench.cli.options import Data, Plugins
from ltbench.cli.output import tell
from ltbench.system.extras import need


def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE|FOLDER|NAME",
            help="a method's, backbone's or data set's file or name, or a folder of plugins: everything in it",
        ),
    ],
    plugins: Plugins = [],  # noqa: B006 - typer copies defaults
    data: Data = None,
    path: Annotated[str | None, typer.Option(help="of a data set: what `path:` is in a suite")] = None,
    option: Annotated[
        list[str], typer.Option("--option", metavar="NAME=VALUE", help="of a data set: an option of its kind")
    ] = [],  # noqa: B006
) -> None:
    """Run the contract on a method, backbone or data set: what each must do, tried in seconds."""
    need("ltbench check", "train")
    from ltbench.checks.code import CheckRequest, check_code, holds
    from ltbench.cli.text.check import verdict_text
    from ltbench.data.sources.source import data_folder
    from ltbench.errors import harmless
    from ltbench.workflow.exchange.make_split import options_of

    request = CheckRequest(target=target, data=data_folder(data), plugins=plugins, path=path,
                           options=options_of(option), tell=tell)  # fmt: skip
    verdicts = []
    for verdict in check_code(request):
        verdicts.append(verdict)
        typer.echo(harmless(verdict_text(verdict)), nl=False)
    raise typer.Exit(0 if holds(verdicts) else 1)
