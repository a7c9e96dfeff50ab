"""What a user asks of a suite, and the suite made ready for it: read, checked and planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltbench.data.sources.source import data_folder
from ltbench.errors import Problems, UserErrors, clipped
from ltbench.execution.resources import Resources, resources_of
from ltbench.models.towers import weights_of
from ltbench.planning.planner import make_plan, part_of
from ltbench.planning.resolve import Inputs, Resolved, resolve
from ltbench.planning.rows import rows_of
from ltbench.planning.search import Read
from ltbench.planning.towers import refuse_without_weights
from ltbench.plugins import in_use, read_sources
from ltbench.plugins.sources import unnamed_files
from ltbench.registry import Registry
from ltbench.registry.compose import JOIN
from ltbench.results.folders import Folders, folders_of
from ltbench.spec import Plan, Selection, search_suite
from ltbench.suite import Suite
from ltbench.suite.load import BadSuite, load_suite
from ltbench.suite.places import Overrides
from ltbench.system.remote import Remote
from ltbench.system.uris import store_uri
from ltbench.training.device.provenance import git_commit
from ltbench.training.site import Site
from ltbench.workflow.tell import Tell, tell_nobody, warner


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks of a suite.

    Attributes:
        suite: a suite's file, the name of one that comes with ltbench, or its contents.
        overrides: what replaces the suite's values: `KEY.PATH=VALUE` as on the command line, or key path -> value.
        chosen: the part of the suite to look at.
        results: where runs write.
        data: where data sets and caches lie; None: the user's cache.
        methods: a folder with methods of the user's own; their code is run.
        plugins: folders with methods, backbones and data sets of the user's own, beside those that the suite names.
        tracking_uri: MLflow's store; None: `mlflow.db` in `results`.
        tell: told what goes on.
    """

    suite: str | Path | Mapping[str, Any]
    overrides: Overrides = ()
    chosen: Selection = field(default_factory=Selection)
    results: Path = Path("results")
    data: Path | None = None
    methods: Path | None = None
    plugins: Sequence[Path] = ()
    tracking_uri: str | None = None
    tell: Tell = tell_nobody

    def warn(self, message: str) -> None:
        """Tell what the user should know though nothing stops."""
        warner(self.tell)(message)

    @property
    def store(self) -> str:
        """MLflow's tracking URI."""
        return store_uri(self.tracking_uri, self.results)


@dataclass(frozen=True)
class Prepared:
    """A suite that is read, checked and planned.

    Attributes:
        data: where data sets and caches lie.
        resolved: what the suite's names stand for: `whole` is planned from it.
        plan: the trials of the part that is asked for. whole: of all of the suite.
        inputs: what the trials need beside their specs.
        plugins: the folders whose code the suite uses.
    """

    request: Request
    suite: Suite
    registry: Registry
    data: Path
    resolved: Resolved
    plan: Plan
    whole: Plan
    inputs: Inputs
    plugins: tuple[Path, ...] = ()

    @property
    def folders(self) -> Folders:
        """Where the suite's results lie."""
        return folders_of(self.request.results, self.suite.suite)

    @property
    def search_folders(self) -> Folders:
        """Where the results of its search lie."""
        return folders_of(self.request.results, search_suite(self.suite.suite))

    @property
    def resources(self) -> Resources:
        """What the suite gives its trials."""
        return resources_of(self.suite)

    def planned_again(self) -> Prepared:
        """The same, with the hyper-parameters that a search has chosen meanwhile."""
        whole, inputs = make_plan(self.resolved, searched_in(self.request, self.suite))
        return replace(self, whole=whole, plan=part_of(whole, self.suite, self.request.chosen), inputs=inputs)

    def site(self, to_run: Plan, checkpoints: Path | Remote | None) -> Site:
        """Where some of the trials run.

        Raises:
            UserError: a tower's weights or an encoder cannot be had.
        """
        towers = {weights_of(t.recipe[key]): t.recipe[key] for t in to_run.trials for key in ("tower", "weights")
                  if key in t.recipe}  # fmt: skip
        refuse_without_weights(towers, self.inputs.paths)
        methods, protocol, given = self.request.methods, self.suite.protocol, self.suite.resources
        return Site(
            data=self.data,
            paths=self.inputs.paths,
            texts={name: self.inputs.texts[name] for name in {t.text for t in to_run.trials} if name is not None},
            towers=towers,
            methods=read_sources(methods) if methods else {},
            plugins=tuple(read_sources(folder, "--plugins") for folder in self.plugins),
            decoded_cache=given.decoded_cache,
            data_workers=given.data_workers,
            step=given.step,
            keep_logits=protocol.save_logits,
            provenance=git_commit(_folder_of(self.request.suite)),
            checkpoints=checkpoints,
            checkpoint_seconds=given.checkpoint_seconds,
        )


def prepare(request: Request, *, whole: bool = False) -> Prepared:
    """Read, check and plan a suite.

    Args:
        whole: also plan what was not asked for; else `whole` is the part that was.

    Raises:
        UserError: anything wrong with the suite, its methods, its data or the selection.
    """
    suite = _loaded(request)
    registry, data = Registry(request.methods), data_folder(request.data)
    chosen = None if whole else request.chosen
    resolved = resolve(suite, registry, data, chosen)
    plan, inputs = make_plan(resolved, searched_in(request, suite))
    if request.methods is not None:
        _tell_unnamed(request.methods, "--methods", request.warn)
        _tell_unused(request.methods, registry.own, suite, request.warn)
    for folder in in_use():
        _tell_unnamed(folder, "plugins", request.warn)
    for name, source in inputs.sources.items():
        for note in source.facts().notes:
            request.warn(f"data set {name!r}: {note}")
    part = part_of(plan, suite, request.chosen) if whole else plan
    return Prepared(request, suite, registry, data, resolved, part, plan, inputs, in_use())


def _loaded(request: Request) -> Suite:
    """The suite; what is wrong with its methods is told together with what is wrong with its keys."""
    try:
        return load_suite(request.suite, request.overrides, request.plugins)
    except BadSuite as bad:
        problems = Problems()
        problems.add(bad)
        if bad.rest is not None:
            with problems.kept():
                rows_of(bad.rest.methods, bad.rest.protocol.search, Registry(request.methods))
        raise UserErrors(problems.found) from bad


def _tell_unnamed(folder: Path, said: str, warn: Callable[[str], object]) -> None:
    if unnamed := unnamed_files(folder):
        shown = ", ".join(clipped(name) for name in unnamed[:4]) + (" ..." if len(unnamed) > 4 else "")
        warn(f"{said} {folder}: no code there names {shown}: if code reads such a file by a name that it puts "
             f"together, a change of the file is not noticed, and workers do not have it; write the whole name in the "
             f"code")  # fmt: skip


def _tell_unused(folder: Path, own: Sequence[str], suite: Suite, warn: Callable[[str], object]) -> None:
    """A folder of methods adds no row to a suite by itself."""
    used = {part for rows in suite.methods.values() for row in rows for part in row.method.split(JOIN)}
    if own and not used & set(own):
        shown = ", ".join(map(clipped, own[:4])) + (" ..." if len(own) > 4 else "")
        warn(f"--methods {folder}: the suite has no row of {shown}; name it in the suite under `methods`")


def searched_in(request: Request, suite: Suite) -> Read:
    """The records of a suite's search, by key."""
    if suite.protocol.search is None:
        return lambda key: None
    return folders_of(request.results, search_suite(suite.suite)).journal.read


def _folder_of(suite: str | Path | Mapping[str, Any]) -> Path:
    """Whose git commit is noted: that of the suite's file, else of the working folder."""
    if isinstance(suite, Mapping):
        return Path()
    file = Path(suite)
    return file.parent if file.exists() else Path()
