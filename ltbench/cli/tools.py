"""The commands around methods, data sets and single trials. What they import, they import when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ltbench.cli import completion
from ltbench.cli.options import (
    DEFAULT_RESULTS,
    Data,
    Datasets,
    LastSuite,
    Methods,
    Only,
    Plugins,
    Results,
    Seeds,
    Set,
    SuiteArg,
    TrackingUri,
    selection,
)
from ltbench.cli.output import tell
from ltbench.errors import UserError
from ltbench.system.extras import need


def methods_(
    name: Annotated[str | None, typer.Argument(help="one method, in full", autocompletion=completion.methods)] = None,
    methods: Methods = None,
    plugins: Plugins = [],  # noqa: B006 - typer copies defaults
    template: Annotated[bool, typer.Option("--template", help="print a method's file to start from")] = False,
) -> None:
    """List all methods, or show one in full. Hyper-parameters, defaults, search ranges, needs, paper."""
    need("ltbench methods", "train")
    from ltbench.cli.catalog import method_list, method_page
    from ltbench.plugins import use
    from ltbench.registry import Registry

    use(plugins)
    registry = Registry(methods)
    if template:
        typer.echo(registry.template, nl=False)
        return
    typer.echo(method_page(registry, name) if name else method_list(registry), nl=False)


def datasets_(plugins: Plugins = []) -> None:  # noqa: B006 - typer copies defaults
    """List the kinds of data set and their options."""
    from ltbench.cli.catalog import dataset_list
    from ltbench.plugins import use

    use(plugins)
    typer.echo(dataset_list(), nl=False)


def suites_(
    what: Annotated[str, typer.Argument(metavar="[list|show|copy]", help="what to do")] = "list",
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="a suite that comes with ltbench", autocompletion=completion.shipped_suites
        ),
    ] = None,
    target: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="of copy: what to write")] = None,
    merged: Annotated[bool, typer.Option("--merged", help="of show: with what it extends, in one")] = False,
) -> None:
    """List, show or copy the suites that come with ltbench."""
    from ltbench.cli.catalog import copied_suite, suite_list, suite_text

    if what == "list":
        typer.echo(suite_list(), nl=False)
    elif what not in ("show", "copy"):
        raise UserError(f"suites {what}: unknown. Known: list, show NAME, copy NAME")
    elif name is None:
        raise UserError(f"suites {what}: name a suite; `ltbench suites` lists them")
    elif what == "show":
        typer.echo(suite_text(name, merged=merged), nl=False)
    else:
        typer.echo(str(copied_suite(name, target)))


def features(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="cifar10, digits, imagenet_lt ..., folder or lists with --path")
    ],
    model: Annotated[str, typer.Option(help="open_clip architecture")] = "ViT-B-32",
    pretrained: Annotated[str, typer.Option(help="a tag of it, or a checkpoint's path")] = "openai",
    template: Annotated[str, typer.Option(help="prompt of a class name; {} is the name")] = "a photo of a {}",
    path: Annotated[Path | None, typer.Option(help="folder of images, for kinds that have one")] = None,
    size: Annotated[int, typer.Option(help="side that images of any size are brought to", min=4, max=1024)] = 224,
    out: Annotated[Path, typer.Option(help="the npz to write")] = Path("features.npz"),
    data: Data = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: the best there is")] = None,
) -> None:
    """Precompute the CLIP features of a data set. They are for the kind `features`. The same command continues."""
    need("ltbench features", "train")
    from ltbench.data.featurize import ClipTowers, features_of
    from ltbench.data.sources.source import data_folder
    from ltbench.training.site import checked_device

    on = checked_device(device)
    towers = ClipTowers(model, pretrained, template, on)
    written = features_of(dataset, towers, data=data_folder(data), out=out, path=path, size=size)
    typer.echo(f"Wrote {written}; use it with: ltbench run suites/clip_features.yaml --set datasets.0.path={written}")


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
        list[str],
        typer.Option("--option", metavar="NAME=VALUE", help="an option of the data set's kind, as in a suite"),
    ] = [],  # noqa: B006
) -> None:
    """Check a method, backbone or data set. What each must do, tried in seconds."""
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


def verify(
    suite: LastSuite = None,
    results: Results = DEFAULT_RESULTS,
    from_: Annotated[
        Path | None, typer.Option("--from", help="a suite's folder of results, or of records; default: in RESULTS")
    ] = None,
    trials: Annotated[int, typer.Option(help="how many trials to run again", min=1)] = 3,
    draw: Annotated[int, typer.Option(help="which ones: another number picks others", min=0)] = 0,
    data: Data = None,
    methods: Methods = None,
    plugins: Plugins = [],  # noqa: B006 - typer copies defaults
    set_: Set = [],  # noqa: B006 - typer copies defaults
    only: Only = None,
    datasets: Datasets = None,
    seeds: Seeds = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: the best there is")] = None,
    mark: Annotated[
        bool, typer.Option("--mark", help="with --from: leave the mark for boards there, too, as in RESULTS")
    ] = False,
) -> None:
    """Run some finished trials again: do their records hold here?"""
    need("ltbench verify", "train")
    from ltbench.checks.verify import checks_text
    from ltbench.workflow.prepare import Request
    from ltbench.workflow.verify_suite import suite_to_verify, verify_suite

    chosen = selection(only, datasets, seeds)
    given = suite_to_verify(suite, results, from_, tell)
    request = Request(suite=given, overrides=set_, chosen=chosen, results=results, data=data,
                      methods=methods, plugins=plugins, tell=tell)  # fmt: skip
    found = verify_suite(request, from_, trials, draw, device, mark)
    typer.echo(checks_text(found.checks, found.primary, found.finished))
    if found.marked is not None:
        tell(f"{found.marked}: boards of these records say so")
    raise typer.Exit(0 if found.holds else 1)


def doctor(
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="[SUITE]",
            help="also look at what this suite needs; default: the machine only",
            autocompletion=completion.suites,
        ),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    methods: Methods = None,
    plugins: Plugins = [],  # noqa: B006 - typer copies defaults
    set_: Set = [],  # noqa: B006 - typer copies defaults
    tracking_uri: TrackingUri = None,
) -> None:
    """Say what a machine has, what a suite lacks, and what to do. Exit code 1: something is in the way."""
    from ltbench.cli.text.doctor import doctor_text
    from ltbench.system.uris import store_uri
    from ltbench.workflow.doctor import Health, examine

    request = None
    if suite is not None:
        need("ltbench doctor SUITE", "train")
        from ltbench.workflow.prepare import Request

        request = Request(suite=suite, overrides=set_, results=results, data=data, methods=methods, plugins=plugins,
                          tell=tell)  # fmt: skip
    found = examine(request, results, data, store_uri(tracking_uri, results))
    typer.echo(doctor_text(found), nl=False)
    raise typer.Exit(1 if any(finding.health is Health.problem for finding in found) else 0)


def fetch(
    suite: SuiteArg,
    data: Data = None,
    methods: Methods = None,
    plugins: Plugins = [],  # noqa: B006 - typer copies defaults
    set_: Set = [],  # noqa: B006 - typer copies defaults
    only: Only = None,
    datasets: Datasets = None,
) -> None:
    """Get the data, weights and class-name vectors of a suite. For a machine without a network, copy the folder of
    --data there."""
    need("ltbench fetch", "train")
    from ltbench.workflow.doctor import fetch as fetch_all
    from ltbench.workflow.prepare import Request

    request = Request(suite=suite, overrides=set_, chosen=selection(only, datasets, None), data=data, methods=methods,
                      plugins=plugins, tell=tell)  # fmt: skip
    failed = 0
    for found in fetch_all(request):
        failed += found.problem is not None
        typer.echo(
            f"{found.what}: {found.where}" if found.problem is None else f"{found.what}: MISSING: {found.problem}"
        )
    raise typer.Exit(1 if failed else 0)


def trial(
    specs: Annotated[list[Path], typer.Argument(help="files written by `ltbench plan SUITE --export DIR`")],
    out: Annotated[Path, typer.Option(help="folder for the records")] = Path("results/trials"),
    data: Data = None,
    methods: Methods = None,
    plugins: Plugins = [],  # noqa: B006 - typer copies defaults
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: the best there is")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads", min=1)] = None,
) -> None:
    """Run exported trials in this process. For a debugger, or a machine without Ray. (python -m ltbench.trial does the
    same where only torch is installed.)"""
    need("ltbench trial", "train")
    from ltbench.data.sources.source import data_folder
    from ltbench.execution.exported import run_files
    from ltbench.plugins import in_use, read_sources, use
    from ltbench.training.site import Site, checked_device

    use(plugins)
    sent = tuple(read_sources(folder, "--plugins") for folder in in_use())
    site = Site(data_folder(data), methods=read_sources(methods) if methods else {}, plugins=sent,
                device=checked_device(device), threads=threads)  # fmt: skip
    records = run_files(specs, out, site)
    raise typer.Exit(1 if any(r.status == "failed" for r in records) else 0)
