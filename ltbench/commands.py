"""What the commands share: from options to suites, plans, results and boards. Imports lazily, like `cli`."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from ltbench.errors import UserError

if TYPE_CHECKING:
    from ltbench.plan import Inputs
    from ltbench.records import Journal
    from ltbench.registry import Registry
    from ltbench.remote import Remote
    from ltbench.report.board import Leaderboard
    from ltbench.report.images import Predictions
    from ltbench.resources import Resources
    from ltbench.run import Folders
    from ltbench.spec import Plan, Result, Selection
    from ltbench.suite import Suite


def load(suite: str, overrides: list[str], methods: Path | None, data: Path | None) -> tuple[Suite, Registry, Path]:
    from ltbench.suiteload import load_suite

    loaded = load_suite(suite, overrides)
    from ltbench.registry import Registry

    return loaded, Registry(methods), data_folder(data)


def lay_out(suite: Suite, registry: Registry, data: Path, chosen: Selection | None) -> tuple[Plan, Inputs]:
    from ltbench.plan import make_plan

    return make_plan(suite, registry, data, chosen)


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
    from ltbench.uris import default_uri

    return chosen or default_uri(results)


def folders_of(results: Path, suite: str) -> Folders:
    from ltbench.remote import is_uri
    from ltbench.run import Folders

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
    from ltbench.remote import Remote, is_uri

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
    from ltbench.provenance import git_commit
    from ltbench.registry import read_sources
    from ltbench.site import Site
    from ltbench.towerplan import refuse_without_weights

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
    from ltbench.resources import Need, Resources

    whole = suite.resources.per_trial
    methods = {}
    for name, own in suite.resources.methods.items():
        gpu = whole if own.gpus is None and own.gpu_memory_gb is None else own
        cpus = whole.cpus if own.cpus is None else own.cpus
        methods[name] = Need(cpus, gpu.gpus, gpu.gpu_memory_gb)
    return Resources(whole.cpus, whole.gpus, whole.gpu_memory_gb, suite.resources.retries, methods)


def placement(suite: Suite, plan: Plan, address: str | None) -> str:
    """What each trial would be given, and how many would run at once: here, or on the cluster that is named."""
    from ltbench.placement import survey
    from ltbench.report.plan_text import placement_text

    resources = resources_of(suite)
    if suite.resources.executor == "inline":
        return "placement: in this process, one trial after the other"
    if suite.resources.pack is not None:
        return "placement on this machine: measured when the suite runs (resources.pack: auto)"
    if address is not None:
        os.environ["RAY_ADDRESS"] = address  # read when ray is imported
        from ltbench.cluster import machines_there

        found = machines_there(resources, plan.trials)
        return placement_text(survey(plan.trials, resources, found), f"placement on the cluster at {address}", found)
    if "RAY_ADDRESS" in os.environ:
        there = os.environ["RAY_ADDRESS"]
        return f"placement: on the cluster at {there} (RAY_ADDRESS), which was not asked; --address {there} asks it"
    from ltbench.nodes import this_machine

    found = [this_machine(any(resources.of(spec).gpu_memory_gb is not None for spec in plan.trials))]
    return placement_text(survey(plan.trials, resources, found), "placement on this machine", found)


def announce(plan: Plan, to_run: Plan, finished: int, failed: int) -> None:
    skipped = f", {len(plan.skips)} cells skipped (ltbench plan says why)" if plan.skips else ""
    before = f", {finished} finished before" if finished else ""
    broken = f", {failed} failed before" if failed else ""
    typer.echo(f"{plan.suite}: {len(to_run.trials)} trials to run{before}{broken}{skipped}", err=True)


class Found(NamedTuple):
    """What a leaderboard is made of: results, the plan kept with them, and where predictions are."""

    results: list[Result]
    expectation: Any
    predictions: Predictions | None


def find_results(suite: str | None, results: Path, uri: str | None, source: Path | None) -> Found:
    """From a folder of records, a file of scores, or MLflow. Predictions come from the journal beside the store."""
    if source is not None and source.suffix.lower() == ".csv":
        from ltbench.report.scores import read_scores

        if suite is not None:
            raise UserError(f"--from {source}: a file of scores belongs to no suite; leave {suite!r} out")
        return Found(read_scores(source), None, None)
    if source is not None:
        found, expectation = results_of_folder(source)
        predictions = journal_in(source)[0].predictions
        if suite is not None:
            found, expectation = of_suite(found, expectation, suite_name(suite), source)
        return Found(found, expectation, predictions)
    from ltbench import sqlitestore
    from ltbench.records import Journal
    from ltbench.uris import shown_uri

    store = tracking_store(uri, results)
    if suite is None:
        if store.startswith("sqlite:///") and not Path(store.removeprefix("sqlite:///")).exists():
            raise UserError(f"nothing has been run yet: there is no {store}. Run a suite first: ltbench run quickstart")
        names = sqlitestore.suites(store)
        if names is None:
            names = _mlflow().suites(store)
        if not names:
            raise UserError(f"the MLflow store {shown_uri(store)} holds no suite; run one: ltbench run quickstart")
        suite = names[0]
        if len(names) > 1:
            typer.echo(f"{len(names)} suites are there ({', '.join(names)}); showing the last used", err=True)
    name = checked_name(suite_name(suite))  # and not `folders_of`, which brings torch: seconds for a mere reader
    found, plan = sqlitestore.read(store, name) or _mlflow().read(store, name)
    return Found(found, plan, Journal(results / name / "records").predictions)


def _mlflow() -> ModuleType:
    """Two seconds and more to import, a third of it for the garbage collector if that is left on."""
    from ltbench.records import without_collecting

    with without_collecting():
        from ltbench import track
    return track


def suite_name(suite: str) -> str:
    """The name inside a suite's file, or the argument itself where it is a name already."""
    if Path(suite).suffix in (".yaml", ".yml"):
        from ltbench.suiteload import load_suite

        return load_suite(suite).suite
    return suite


def results_of_folder(folder: Path) -> tuple[Any, Any]:
    """The results in a folder of records, and the plan beside it; damaged files are named and left out."""
    from ltbench.records import Unreadable
    from ltbench.spec import Result

    journal, expectation = journal_in(folder)
    found = []
    for record in journal:
        if isinstance(record, Unreadable):
            warn(f"{record.file}: left out: {record.reason}")
        else:
            found.append(Result.of(record))
    return found, expectation


def of_suite(found: Any, expectation: Any, suite: str, folder: Path) -> tuple[Any, Any]:
    """The part of a folder's results that is of one suite."""
    chosen = [r for r in found if r.suite == suite]
    if not chosen:
        known = ", ".join(sorted({r.suite for r in found})) or "none"
        raise UserError(f"--from {folder}: no results of the suite {suite!r}; it has: {known}")
    return chosen, expectation if expectation and expectation["suite"] == suite else None


def journal_in(folder: Path) -> tuple[Journal, Any]:
    """The journal in a suite's folder of results, or in a bare folder of records; and the plan kept with the former."""
    from ltbench.records import Journal

    inner = folder / "records"
    records = inner if inner.is_dir() else folder
    if not records.is_dir():
        raise UserError(f"--from {folder}: no such folder")
    return Journal(records), read_plan(records.parent / "plan.json") if records.name == "records" else None


def journal_of(results: Path, suite: str | None, folder: Path | None) -> tuple[Journal, Any]:
    """The journal to read: of a folder, of a suite by name, or of the only suite there is."""
    if folder is not None:
        return journal_in(folder)
    there = sorted(p.parent.name for p in results.glob("*/records") if p.is_dir())
    if suite is None and len(there) == 1:
        suite = there[0]
    if suite not in there:
        known = ", ".join(there) or "none yet; run one: ltbench run quickstart"
        raise UserError(f"--suite: name one of the suites under {results}: {known}")
    return journal_in(results / suite)


def read_plan(file: Path) -> Any:
    """What `ltbench run` kept of the plan, or None."""
    import json

    from ltbench.expectation import checked

    if not file.exists():
        return None
    try:
        return checked(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: damaged ({error}); remove it; the next run writes it anew") from error


def board_of_records(folders: Folders, chosen: Selection, plan: Plan) -> Leaderboard | None:
    from ltbench.report.leaderboard import build
    from ltbench.spec import Result

    records = folders.journal.records().values()
    if not any(r.status == "ok" for r in records):
        return None
    results = [Result.of(r) for r in records]
    return build(
        results,
        plan.expectation(),
        methods=chosen.methods,
        datasets=chosen.datasets,
        seeds=chosen.seeds,
        predictions=folders.journal.predictions,
    )


def format_of(chosen: str | None, out: Path | None) -> str:
    """The format asked for; else the one that the file's name asks for; else text."""
    from ltbench.errors import did_you_mean
    from ltbench.report.formats import FORMATS, SUFFIXES

    if chosen is None:
        return SUFFIXES.get(out.suffix.lower(), "text") if out is not None else "text"
    if chosen not in FORMATS:
        raise UserError(f"--format {chosen}: unknown. {did_you_mean(chosen, FORMATS)}")
    return chosen


def print_board(board: Leaderboard, format_: str = "text", out: Path | None = None, *, wide: bool = False) -> None:
    from ltbench.report.formats import renderer

    rendered = renderer(format_, wide=wide)(board)
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(rendered, encoding="utf-8")
        except OSError as error:
            raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    elif format_ == "text" and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        from ltbench.report.colour import show

        show(rendered)
    else:
        sys.stdout.write(rendered)


def warn(message: str) -> None:
    typer.echo(f"warning: {message}", err=True)


def take_over(folder: Path, results: Path, uri: str | None) -> dict[str, int]:
    """Records made elsewhere into the journals of their suites and into MLflow: suite -> how many are new. A finished
    record replaces one that failed, nothing else is overwritten."""
    from dataclasses import replace

    from ltbench.delivery import Tracker
    from ltbench.lock import SuiteLock
    from ltbench.records import Journal, Unreadable

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    source, taken = Journal(folder), dict[str, int]()
    with ExitStack() as locks:
        for record in source:
            if isinstance(record, Unreadable):
                warn(f"{record.file}: left out: {record.reason}")
                continue
            suite = record.spec.suite
            if suite not in taken:
                locks.enter_context(SuiteLock(folders_of(results, suite).suite_folder, warn))
            journal = folders_of(results, suite).journal
            known = journal.read(record.key)
            new = known is None or (known.status == "failed" and record.status == "ok")
            if new:
                journal.write(replace(record, predictions=source.predictions(record.key)))
            taken[suite] = taken.get(suite, 0) + new
        if not taken:
            raise UserError(f"{folder}: holds no records")
        for suite in taken:
            folders = folders_of(results, suite)
            tracker = Tracker(tracking_store(uri, results), suite, folders.journal, read_plan(folders.plan_file), warn)
            tracker.deliver_backlog()
            tracker.close()
    return taken
