"""`ltbench run`: plan minus what is finished, every record to the journal first, then to MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ltbench.checkpoint import discard
from ltbench.metrics import summarise
from ltbench.plan import Inputs
from ltbench.progress import RunDisplay
from ltbench.records import Journal, write_atomically
from ltbench.resources import Listener, Resources
from ltbench.spec import Plan, Record, TrialSpec
from ltbench.suite import Suite
from ltbench.trial import Site, run_trial


class Sink(Protocol):
    """Where records go after the journal (MLflow)."""

    def send(self, record: Record) -> None: ...


@dataclass(frozen=True)
class Folders:
    """Where a suite's results lie: records/ is the journal, plan.json what a complete set looks like, checkpoints/ what
    running trials leave for the case that they are interrupted."""

    results: Path
    suite: str

    @property
    def suite_folder(self) -> Path:
        return self.results / self.suite

    @property
    def journal(self) -> Journal:
        return Journal(self.suite_folder / "records")

    @property
    def checkpoints(self) -> Path:
        return self.suite_folder.absolute() / "checkpoints"

    @property
    def plan_file(self) -> Path:
        return self.suite_folder / "plan.json"


@dataclass(frozen=True)
class State:
    """What the journal says about a plan."""

    finished: Mapping[str, Record]
    failed: Mapping[str, Record]

    def to_run(self, plan: Plan, retry_failed: bool) -> Plan:
        """What is left; with `retry_failed`, only and all of the trials that failed."""
        if retry_failed:
            return replace(plan, trials=tuple(t for t in plan.trials if t.key in self.failed))
        return plan.without({*self.finished, *self.failed})


def state_of(plan: Plan, journal: Journal) -> State:
    """Which of the plan's trials are in the journal, finished or failed."""
    records = [r for t in plan.trials if (r := journal.read(t.key)) is not None]
    return State(
        finished={r.key: r for r in records if r.status == "ok"},
        failed={r.key: r for r in records if r.status == "failed"},
    )


def bring_up_to_date(plan: Plan, state: State, journal: Journal, sink: Sink) -> None:
    """Finished trials whose row has a new name, or whose shot thresholds changed, are told so without running again:
    buckets follow from the per-class table."""
    for spec in plan.trials:
        record = state.finished.get(spec.key)
        if record is not None and _described(record.spec) != _described(spec):
            metrics = {**record.metrics, **summarise(record.per_class, spec.shots)}
            record = replace(record, spec=spec, metrics=metrics, predictions=journal.predictions(spec.key))
            journal.write(record)
            sink.send(record)


def _described(spec: TrialSpec) -> list[Any]:
    return [spec.suite, spec.label, spec.cell.dataset, spec.recipe_name, dict(spec.shots), spec.text_origin]


def run_plan(
    plan: Plan,
    inputs: Inputs,
    site: Site,
    journal: Journal,
    sink: Sink,
    resources: Resources,
    *,
    inline: bool = False,
) -> list[Record]:
    """Run every trial of the plan; each record is in the journal before anyone else hears of it, and before the trial's
    checkpoints are removed."""
    _prepare_checkpoints(site.checkpoints, journal)
    if not plan.trials:
        return []
    used = {t.cell.dataset for t in plan.trials}
    for name in sorted(used):
        inputs.sources[name].prepare()
    records: list[Record] = []

    class Keeper:
        """Journal first, then MLflow and the screen."""

        def started(self, spec: TrialSpec) -> None:
            display.started(spec)

        def progressed(self, spec: TrialSpec, fraction: float) -> None:
            display.progressed(spec, fraction)

        def finished(self, record: Record) -> None:
            journal.write(record)
            discard(site.checkpoints, record.key)
            sink.send(record)
            records.append(record)
            display.finished(record)

    with ExitStack() as stack:
        display = stack.enter_context(RunDisplay(plan.trials, plan.protocol["primary"]))
        if inline:
            run_inline(plan.trials, site, resources, Keeper())
        else:
            from ltbench.schedule import run_on_ray

            run_on_ray(plan.trials, site, resources, Keeper())
    return records


def _prepare_checkpoints(folder: Path | None, journal: Journal) -> None:
    """Make the folder, and sweep out of it what a driver left that was killed between a record and its checkpoints."""
    if folder is None:
        return
    with suppress(OSError):  # the trials find out, and say so
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            if journal.read(left.name) is not None:
                discard(folder, left.name)


def run_inline(trials: Sequence[TrialSpec], site: Site, resources: Resources, listener: Listener) -> None:
    """One trial after the other in this process, for a debugger."""
    site = replace(site, threads=resources.threads)
    for spec in trials:
        listener.started(spec)

        def progress(fraction: float, loss: float, spec: TrialSpec = spec) -> None:
            listener.progressed(spec, fraction)

        listener.finished(run_trial(spec, site, progress))


def write_plan(folders: Folders, plan: Plan, suite: Suite) -> None:
    """Keep beside the records what a complete set looks like, and the suite as it was run: `extends` and `--set`
    merged in."""
    folders.suite_folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folders.plan_file, json.dumps(plan.expectation(), indent=1).encode())
    write_atomically(folders.suite_folder / "suite.json", suite.model_dump_json(indent=1).encode())
