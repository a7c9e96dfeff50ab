"""What the commands share: from options to suites, plans, results and boards. Imports lazily, like `cli`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ltbench.errors import UserError

if TYPE_CHECKING:
    from ltbench.execution.resources import Resources
    from ltbench.planning.inputs import Inputs
    from ltbench.planning.search import Read
    from ltbench.ranking.board import Leaderboard
    from ltbench.registry import Registry
    from ltbench.results.folders import Folders
    from ltbench.spec import Plan, Selection
    from ltbench.suite import Suite
    from ltbench.system.remote import Remote


def load(suite: str, overrides: list[str], methods: Path | None, data: Path | None) -> tuple[Suite, Registry, Path]:
    from ltbench.suite.load import load_suite

    loaded = load_suite(suite, overrides)
    from ltbench.registry import Registry

    return loaded, Registry(methods), data_folder(data)


def lay_out(
    suite: Suite, registry: Registry, data: Path, chosen: Selection | None, searched: Read
) -> tuple[Plan, Inputs]:
    from ltbench.planning.planner import make_plan

    return make_plan(suite, registry, data, chosen, searched)


def searched_in(results: Path, suite: Suite) -> Read:
    """The records of a suite's search."""
    from ltbench.spec import search_suite

    if suite.protocol.search is None:
        return lambda key: None
    return folders_of(results, search_suite(suite.suite)).journal.read


def selection(only: str | None, datasets: str | None, seeds: str | None) -> Selection:
    from ltbench.spec import Selection

    try:
        numbers = None if seeds is None else [int(s) for s in seeds.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds {seeds}: expected whole numbers separated by commas, for example 0,1,2") from error
    if numbers is not None and (min(numbers) < 0 or len(set(numbers)) < len(numbers)):
        raise UserError(f"--seeds {seeds}: seeds are different whole numbers from 0 up")
    return Selection(only.split(",") if only else None, datasets.split(",") if datasets else None, numbers)


def data_folder(chosen: Path | None) -> Path:
    if chosen is not None:
        return chosen.expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("ltbench")


def tracking_store(chosen: str | None, results: Path) -> str:
    from ltbench.system.uris import default_uri

    return chosen or default_uri(results)


def folders_of(results: Path, suite: str) -> Folders:
    from ltbench.results.folders import Folders
    from ltbench.system.remote import is_uri

    if is_uri(results):
        raise UserError(f"--results {results}: records are kept in a folder, not at a URI; name one (a mounted bucket "
                        f"is one, too) and put the checkpoints at the URI: --checkpoints URI")  # fmt: skip
    return Folders(results, checked_name(suite))


def checked_name(suite: str) -> str:
    """Names come from suites, records, plan.json and MLflow: one that is none must not become a path."""
    from ltbench.spec import SAFE_NAME

    if not SAFE_NAME.fullmatch(suite):
        raise UserError(f"{suite!r} is not a usable name of a suite")
    return suite


def checkpoints_of(chosen: str | None, folders: Folders) -> Path | Remote:
    """Where running trials leave their checkpoints: beside the records, in another folder, or at a URI; each suite in a
    folder of its own."""
    from ltbench.system.remote import Remote, is_uri

    if chosen is None:
        return folders.checkpoints
    return Remote(chosen) / folders.suite if is_uri(chosen) else Path(chosen).expanduser().absolute() / folders.suite


def site_of(
    cache: Path,
    inputs: Inputs,
    methods: Path | None,
    suite: Suite,
    file: Path,
    checkpoints: Path | Remote,
    to_run: Plan,
) -> Any:
    """The site of the trials that are to run. Raises UserError where a tower's weights or an encoder cannot be had."""
    from ltbench.models.towers import weights_of
    from ltbench.planning.towers import refuse_without_weights
    from ltbench.registry import read_sources
    from ltbench.training.device.provenance import git_commit
    from ltbench.training.site import Site

    towers = {weights_of(t.recipe[key]): t.recipe[key] for t in to_run.trials for key in ("tower", "weights")
              if key in t.recipe}  # fmt: skip
    refuse_without_weights(towers, inputs.paths)
    return Site(
        data=cache,
        paths=inputs.paths,
        texts={name: inputs.texts[name] for name in {t.text for t in to_run.trials} if name is not None},
        towers=towers,
        methods=read_sources(methods) if methods else {},
        decoded_cache=suite.resources.decoded_cache,
        data_workers=suite.resources.data_workers,
        keep_logits=suite.protocol.save_logits,
        provenance=git_commit(file.parent if file.exists() else Path()),
        checkpoints=checkpoints,
        checkpoint_seconds=suite.resources.checkpoint_seconds,
    )


def resources_of(suite: Suite) -> Resources:
    """What the suite gives its trials; where it says nothing of a method's, what it gives all of them."""
    from ltbench.execution.resources import Need, Resources

    whole = suite.resources.per_trial
    methods = {}
    for name, own in suite.resources.methods.items():
        gpu = whole if own.gpus is None and own.gpu_memory_gb is None else own
        cpus = whole.cpus if own.cpus is None else own.cpus
        methods[name] = Need(cpus, gpu.gpus, gpu.gpu_memory_gb)
    given = suite.resources
    return Resources(whole.cpus, whole.gpus, whole.gpu_memory_gb, given.retries, given.share_training, methods)


def placement(suite: Suite, plan: Plan, address: str | None) -> str:
    """What each trial would be given, and how many would run at once: here, or on the cluster that is named."""
    from ltbench.cli.plan_text import placement_text
    from ltbench.execution.placement import survey

    resources = resources_of(suite)
    if suite.resources.executor == "inline":
        return "placement: in this process, one trial after the other"
    if suite.resources.pack is not None:
        return "placement on this machine: measured when the suite runs (resources.pack: auto)"
    if address is not None:
        os.environ["RAY_ADDRESS"] = address  # read when ray is imported
        from ltbench.execution.cluster import machines_there

        found = machines_there(resources, plan.trials)
        return placement_text(survey(plan.trials, resources, found), f"placement on the cluster at {address}", found)
    if "RAY_ADDRESS" in os.environ:
        there = os.environ["RAY_ADDRESS"]
        return f"placement: on the cluster at {there} (RAY_ADDRESS), which was not asked; --address {there} asks it"
    from ltbench.execution.nodes import this_machine

    found = [this_machine(any(resources.of(spec).gpu_memory_gb is not None for spec in plan.trials))]
    return placement_text(survey(plan.trials, resources, found), "placement on this machine", found)


def announce(plan: Plan, to_run: Plan, finished: int, failed: int) -> None:
    skipped = f", {len(plan.skips)} cells skipped (ltbench plan says why)" if plan.skips else ""
    before = f", {finished} finished before" if finished else ""
    broken = f", {failed} failed before" if failed else ""
    typer.echo(f"{plan.suite}: {len(to_run.trials)} trials to run{before}{broken}{skipped}", err=True)


def board_of_records(folders: Folders, chosen: Selection, plan: Plan) -> Leaderboard | None:
    from ltbench.ranking.build import build
    from ltbench.spec import Result

    records = folders.journal.records().values()
    if not any(r.status == "ok" for r in records):
        return None
    results = [Result.of(r) for r in records]
    return build(results, plan.expectation(), chosen, predictions=folders.journal.predictions)


def warn(message: str) -> None:
    typer.echo(f"warning: {message}", err=True)
