"""`ltbench run`, without a terminal: one driver per suite, what is left to do, what came of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ltbench.errors import UserError
from ltbench.execution.nodes import this_machine
from ltbench.execution.packing import packed
from ltbench.execution.progress import Show, show_nothing
from ltbench.execution.resources import Resources
from ltbench.execution.run_plan import State, bring_up_to_date, run_plan, state_of, write_plan
from ltbench.planning.search import diverged
from ltbench.ranking.formats.choices import choice_text
from ltbench.ranking.formats.looks_text import looks_notes
from ltbench.results.folders import Folders, checkpoints_of
from ltbench.results.journal import Journal
from ltbench.spec import Plan, Record, Selection, TrialSpec
from ltbench.system.interrupt import Interrupt
from ltbench.system.lock import SuiteLock
from ltbench.system.remote import Remote
from ltbench.tracking.untracked import tracker_of
from ltbench.training.site import Site
from ltbench.workflow.make_board import board_of_records, due_now
from ltbench.workflow.prepare import Prepared, Request, prepare
from ltbench.workflow.sync import summarise, whole_board

if TYPE_CHECKING:
    from ltbench.ranking.board import Leaderboard


@dataclass(frozen=True, kw_only=True)
class RunRequest(Request):
    """What a user asks of `ltbench run`.

    Attributes:
        inline: run in this process, one trial after the other.
        address: an existing Ray cluster: `auto` or HOST:PORT.
        retry_failed: run only the trials that failed.
        checkpoints: where running trials leave checkpoints: a folder, or a URI; None: in `results`.
        show: makes what shows progress.
    """

    inline: bool = False
    address: str | None = None
    retry_failed: bool = False
    checkpoints: str | None = None
    show: Show = show_nothing


@dataclass(frozen=True)
class RunOutcome:
    """How far a suite, or the search that comes before it, has come.

    Attributes:
        plan: the trials that were asked for. state: which of them are finished, which failed.
        stopped: the user asked it to stop before it was through.
        search_failures: trials of the search that failed, other than by divergence.
        journal: where its records are. checkpoints: where its trials leave them.
        board: None where nothing is finished.
        sent: MLflow was sent records, and has all of them.
    """

    plan: Plan
    state: State
    journal: Journal
    checkpoints: Path | Remote | None
    stopped: bool = False
    search_failures: Sequence[Record] = field(default_factory=list)
    board: Leaderboard | None = None
    sent: bool = False

    @property
    def left(self) -> list[TrialSpec]:
        """Trials that neither finished nor failed."""
        return [t for t in self.plan.trials if t.key not in self.state.finished and t.key not in self.state.failed]

    @property
    def with_checkpoint(self) -> int:
        """How many of those that are left have a checkpoint to go on from."""
        return sum(_has_checkpoint(self.checkpoints, t.key) for t in self.left)

    @property
    def failures(self) -> list[Record]:
        """All trials that failed, those of the search first."""
        return [*self.search_failures, *self.state.failed.values()]

    @property
    def complete(self) -> bool:
        """Every trial finished."""
        return not (self.left or self.state.failed or self.plan.later)


def run_suite(request: RunRequest, interrupt: Interrupt) -> RunOutcome:
    """Run what is missing of a suite, the search of hyper-parameters before what follows from it.

    Raises:
        UserError: anything the user can mend. Interrupted: by a signal while there was nothing to wait for.
    """
    _ = request.store  # an address that is none is refused before anything is made ready
    prepared = prepare(request, whole=True)
    if request.address is not None:
        os.environ["RAY_ADDRESS"] = request.address
    with SuiteLock(prepared.folders.suite_folder, request.warn) as lock:
        interrupt.at_once.append(lock.release)
        broken: list[Record] = []
        if prepared.plan.search is not None and prepared.whole.search is not None:
            first = _Job(prepared.plan.search, prepared.whole.search, prepared.search_folders)
            with SuiteLock(first.folders.suite_folder, request.warn) as second:
                interrupt.at_once.append(second.release)
                before = _carry_out(first, prepared, request, interrupt, second)
            if before.stopped:
                return before
            broken = [record for record in before.state.failed.values() if not diverged(record)]
            prepared = prepared.planned_again()
            _tell_choices(prepared.plan, request)
        job = _Job(prepared.plan, prepared.whole, prepared.folders)
        done = _look_by_look(job, prepared, request, interrupt, lock)
        if done.stopped:
            return done
        board = board_of_records(prepared.folders, request.chosen, prepared.whole.expectation())
        if done.sent:
            part = request.chosen != Selection()
            summarise(
                whole_board(prepared.suite.suite, request.results) if part else board, request.store, request.tell
            )
        return replace(done, search_failures=broken, board=board)


@dataclass(frozen=True)
class _Job:
    """A plan to carry out: the suite's, or that of its search. `whole` is the plan without the user's selection, which
    is kept beside the records."""

    plan: Plan
    whole: Plan
    folders: Folders


def _look_by_look(
    job: _Job, prepared: Prepared, request: RunRequest, interrupt: Interrupt, lock: SuiteLock
) -> RunOutcome:
    """Run what is due, look at the records, and go on with what is then due; once, where seeds are fixed. What is due
    follows from the records alone, so a command that was ended finds itself at the same look."""
    due, _ = due_now(job.plan, job.folders, request.chosen)
    sent = False
    while True:
        outcome = _carry_out(replace(job, plan=due), prepared, request, interrupt, lock)
        sent = sent or outcome.sent
        outcome = replace(outcome, sent=sent)
        if outcome.stopped or outcome.left or request.retry_failed:
            return outcome
        due, board = due_now(job.plan, job.folders, request.chosen)
        for line in [] if board is None else [line for table in board.tables for line in looks_notes(table)[:1]]:
            request.tell(line)
        if all(spec.key in outcome.state.finished or spec.key in outcome.state.failed for spec in due.trials):
            return outcome


def _carry_out(job: _Job, prepared: Prepared, request: RunRequest, interrupt: Interrupt, lock: SuiteLock) -> RunOutcome:
    """Run what is missing of a plan, into its folder and its experiment."""
    lock.check()  # before a search, hours may have gone by
    plan, journal = job.plan, Journal(job.folders.journal.folder, lock.check)
    write_plan(job.folders, job.whole, prepared.suite)
    tracker = tracker_of(request.store, plan.suite, journal, job.whole.expectation(), request.warn)
    try:
        state = state_of(plan, journal)
        bring_up_to_date(plan, state, journal, tracker)
        backlog = tracker.deliver_backlog()
        to_run = state.to_run(plan, request.retry_failed)
        request.tell(_announcement(plan, to_run, state))
        resources = replace(prepared.resources, inline=True, streams=1) if request.inline else prepared.resources
        site = prepared.site(to_run, checkpoints_of(request.checkpoints, job.folders))
        if prepared.suite.resources.pack is not None and not resources.inline:
            resources = packed_resources(resources, to_run, prepared, site)
        run_plan(to_run, prepared.inputs, site, journal, tracker, resources, interrupt=interrupt, show=request.show)
    finally:
        unsent = tracker.close()
    if unsent:
        request.warn(f"{unsent} records wait to be sent to MLflow")
    sent = not unsent and bool(backlog or to_run.trials)
    outcome = RunOutcome(plan, state_of(plan, journal), journal, site.checkpoints, sent=sent)
    return replace(outcome, stopped=interrupt.asked and bool(outcome.left))


def _announcement(plan: Plan, to_run: Plan, state: State) -> str:
    skipped = f", {len(plan.skips)} cells skipped (ltbench plan says why)" if plan.skips else ""
    before = f", {len(state.finished)} finished before" if state.finished else ""
    broken = f", {len(state.failed)} failed before" if state.failed else ""
    look = f"{plan.stage}, " * bool(plan.stage)
    return f"{plan.suite}: {look}{len(to_run.trials)} trials to run{before}{broken}{skipped}"


def _tell_choices(plan: Plan, request: Request) -> None:
    """What the search chose, and what could not be chosen."""
    search = plan.protocol["search"]
    for label, choice in search["chosen"].items():
        request.tell(f"search: {label}: {choice_text(choice, search['select'])}")
    reasons = {skip.label: skip.reason for skip in plan.skips}
    for label in dict.fromkeys(spec.label for spec in plan.later):
        request.warn(f"{label} does not run: {reasons[label]}")


def packed_resources(resources: Resources, to_run: Plan, prepared: Prepared, site: Site) -> Resources:
    """What a short measurement on this machine says that trials are to be given.

    Raises:
        UserError: the trials are to run on a cluster.
    """
    if "RAY_ADDRESS" in os.environ:
        raise UserError("resources.pack: auto measures this machine, not a cluster; say resources.per_trial instead")
    if not to_run.trials:
        return resources
    for name in sorted({spec.cell.dataset for spec in to_run.trials}):
        prepared.inputs.sources[name].prepare()
    prepared.request.tell("resources.pack: measuring how many trials serve best at once ...")
    chosen, reason = packed(resources, to_run, site, this_machine(ask_memory=False))
    prepared.request.tell(f"resources.pack: {reason}")
    return chosen


def _has_checkpoint(checkpoints: Path | Remote | None, key: str) -> bool:
    with suppress(OSError):
        if isinstance(checkpoints, Remote):
            return any(name.endswith(".ckpt") for name in (checkpoints / key).names())
        return checkpoints is not None and any((checkpoints / key).glob("*.ckpt"))
    return False
