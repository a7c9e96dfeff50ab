"""`ltbench run`: plan minus what is finished, every record to the journal first, then to MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ltbench.data.longtail import select_cell
from ltbench.errors import NotWritten, UserError
from ltbench.execution.display import file
from ltbench.execution.here.inline import run_inline
from ltbench.execution.progress import Display, Show, show_nothing
from ltbench.execution.resources import Listener, Resources
from ltbench.execution.sharing import Sharing, sharing_text, trainers
from ltbench.metrics import summarise
from ltbench.planning.resolve import Inputs
from ltbench.results.folders import Folders
from ltbench.results.journal import Journal
from ltbench.spec import Plan, Record, TrialSpec
from ltbench.suite import Suite
from ltbench.system.files import write_atomically
from ltbench.system.interrupt import Interrupt
from ltbench.system.remote import Remote
from ltbench.training.checkpoints.files import discard, keys_in
from ltbench.training.site import Site


class Sink(Protocol):
    """Where records go after the journal (MLflow)."""

    def send(self, record: Record) -> None:
        """Take a record that the journal has."""


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
            record = replace(record, spec=spec, metrics=metrics, predictions=journal.predictions(spec.key, needed=True))
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
    interrupt: Interrupt | None = None,
    show: Show = show_nothing,
) -> list[Record]:
    """Run every trial of the plan, or as many as there are until `interrupt` asks to stop. Those that ran out of the
    GPU's memory run once more after the others, with a larger share of it.

    Args:
        inputs: the sources of the trials' data, which are made ready first.
        sink: given every record once the journal has it.
        show: makes what shows progress; the default shows nothing.

    Returns:
        The records, in the order in which they came.
    """
    _prepare_checkpoints(site.checkpoints, journal)
    if not plan.trials:
        return []
    interrupt = interrupt or Interrupt()
    for name in sorted({t.cell.dataset for t in plan.trials}):
        inputs.sources[name].decoded_cache = site.decoded_cache
        inputs.sources[name].prepare()
    run_trials: Runner = run_inline
    if resources.streams > 1:
        from ltbench.execution.here.streams import run_on_streams as run_trials
    elif not resources.inline:
        from ltbench.execution.tune import run_on_ray as run_trials
    progress_file = journal.folder.parent / file.NAME
    with (
        show(plan.trials, plan.protocol["primary"]) as shown,
        file.ProgressFile(shown, plan.trials, progress_file, plan.stage) as display,
        interrupt.gently(),
    ):
        display.phase("starting" if resources.inline else "starting Ray ...")
        display.images(_images_of(plan.trials, inputs))
        interrupt.at_once.append(display.restore)
        sharing = Sharing(plan.trials if resources.share_training else [], site)
        if taken := trainers(plan.trials, sharing.groups):
            display.note(sharing_text(plan.trials, taken))
        keeper = Keeper(replace(site, shared=sharing.groups), journal, sink, display, sharing)
        run_trials(plan.trials, keeper.site, resources, keeper, interrupt)
        if keeper.again and not interrupt.asked:
            larger = resources.again(keeper.again)
            trials = keeper.start_again()
            run_trials(trials, keeper.site, larger, keeper, interrupt)
    return keeper.records


def _images_of(trials: Sequence[TrialSpec], inputs: Inputs) -> dict[str, int]:
    """Manifest -> training images of an epoch."""
    found = {}
    for cell in {trial.cell.manifest: trial.cell for trial in trials}.values():
        train, _ = select_cell(cell, inputs.sources[cell.dataset].facts().train_counts)
        found[cell.manifest] = sum(map(len, train))
    return found


class Runner(Protocol):
    """A way of running trials: `run_inline`, on streams, or through Ray."""

    def __call__(
        self, trials: Sequence[TrialSpec], site: Site, resources: Resources, listener: Listener, interrupt: Interrupt
    ) -> None: ...


class Keeper:
    """Each record goes to the journal first, before anyone else hears of it and before its checkpoints are removed;
    then to MLflow and the screen. In `again`: records of the trials that ran out of memory for the first time."""

    def __init__(self, site: Site, journal: Journal, sink: Sink, display: Display, sharing: Sharing) -> None:
        self.site = replace(site, provenance={**site.provenance, "out_of_memory_retries": 0})
        self.records: list[Record] = []
        self.again: list[Record] = []
        self._journal, self._sink, self._display, self._sharing = journal, sink, display, sharing

    def started(self, spec: TrialSpec) -> None:
        """A trial began."""
        self._display.started(spec)

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None:
        """A trial has come so far, from 0 to 1, and its training loss, if it was told."""
        self._display.progressed(spec, fraction, loss)

    def noted(self, message: str) -> None:
        """Something to know about the whole run."""
        self._display.note(message)

    def finished(self, record: Record) -> None:
        """Keep the record, then pass it on; or, once, put the trial aside for a larger share of a GPU."""
        facts = record.environment
        if facts.get("out_of_memory") and not facts.get("out_of_memory_retries"):
            self.again.append(record)
            self._display.waits(record, "the GPU's memory did not suffice; runs again after the other trials")
            return
        self._journal.write(record)
        if not keeps_checkpoints(record):
            discard(self.site.checkpoints, record.key)
        self._sharing.finished(record.key)
        self._sink.send(record)
        self.records.append(record)
        self._display.finished(record)

    def start_again(self) -> list[TrialSpec]:
        """The trials of `again`, whose next record is their last."""
        self.site = replace(self.site, provenance={**self.site.provenance, "out_of_memory_retries": 1})
        trials, self.again = [record.spec for record in self.again], []
        return trials


def keeps_checkpoints(record: Record) -> bool:
    """Nothing was wrong with a trial whose worker was lost, that passed a limit, or, it may be, that met a fault of the
    GPU: `--retry-failed` goes on where it was."""
    kept = ("workers_lost", "timed_out", "over_memory", "gpu_lost")
    return record.status == "failed" and any(record.environment.get(kind) for kind in kept)


def _prepare_checkpoints(place: Path | Remote | None, journal: Journal) -> None:
    """Make the folder, or see that the URI can be used, and sweep out of it what a driver left that was killed between
    a record and its checkpoints.

    Raises:
        UserError: nothing can be left at the URI.
    """
    if isinstance(place, Remote) and (problem := place.problem()) is not None:
        raise UserError(f"--checkpoints {problem}")
    if place is None:
        return
    with suppress(OSError):  # the trials find out, and say so
        if isinstance(place, Path):
            place.mkdir(parents=True, exist_ok=True)
        for key in keys_in(place):
            record = journal.read(key)
            if record is not None and not keeps_checkpoints(record):
                discard(place, key)


def write_plan(folders: Folders, plan: Plan, suite: Suite) -> None:
    """Keep beside the records what a complete set looks like, and the suite as it was run: `extends` and `--set`
    merged in."""
    try:
        folders.suite_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWritten(error, folders.suite_folder) from error
    write_atomically(folders.plan_file, json.dumps(plan.expectation().to_json(), indent=1).encode())
    write_atomically(folders.suite_folder / "suite.json", suite.model_dump_json(indent=1, by_alias=True).encode())
