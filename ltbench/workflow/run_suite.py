"""`ltbench run`, from its options to its exit code: one driver per suite, what is left to do, what went wrong."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ltbench.cli.output import print_board
from ltbench.errors import UserError, reason_of
from ltbench.system.interrupt import Interrupt
from ltbench.workflow.prepare import (
    announce,
    board_of_records,
    checkpoints_of,
    folders_of,
    lay_out,
    load,
    resources_of,
    searched_in,
    selection,
    site_of,
    tracking_store,
    warn,
)

if TYPE_CHECKING:
    from ltbench.execution.resources import Resources
    from ltbench.execution.run_plan import State
    from ltbench.planning.inputs import Inputs
    from ltbench.results.folders import Folders
    from ltbench.spec import Plan, Record, TrialSpec
    from ltbench.suite import Suite
    from ltbench.system.remote import Remote
    from ltbench.training.site import Site

NAMED_FAILURES = 10
"""How many trials that failed are named at the end, beside their number."""


@dataclass(frozen=True)
class RunOptions:
    """What the user typed."""

    suite: str
    results: Path
    tracking_uri: str | None
    data: Path | None
    methods: Path | None
    overrides: list[str]
    only: str | None
    datasets: str | None
    seeds: str | None
    inline: bool
    address: str | None
    retry_failed: bool
    checkpoints: str | None = None

    def command(self, *more: str) -> str:
        """The same command for a shell, and more. Without the store: it may hold a password, and an environment
        variable names it as well."""
        named = {
            "--results": self.results if self.results != Path("results") else None,
            "--data": self.data,
            "--methods": self.methods,
            "--only": self.only,
            "--datasets": self.datasets,
            "--seeds": self.seeds,
            "--address": self.address,
            "--checkpoints": None if "@" in (self.checkpoints or "") else self.checkpoints,
        }
        words = ["ltbench", "run", self.suite]
        for name, value in named.items():
            words += [] if value is None else [name, str(value)]
        for override in self.overrides:
            words += ["--set", override]
        return shlex.join([*words, *(["--inline"] if self.inline else []), *more])


def run_suite(options: RunOptions, interrupt: Interrupt) -> int:
    """Run what is missing, the search of hyper-parameters before what follows from it, then show the leaderboard; the
    exit code.

    Raises:
        UserError: anything the user can mend. Interrupted: by a signal while there was nothing to wait for.
    """
    from ltbench.planning.search import diverged
    from ltbench.system.lock import SuiteLock

    loaded, registry, cache = load(options.suite, options.overrides, options.methods, options.data)
    chosen = selection(options.only, options.datasets, options.seeds)
    folders, searched = folders_of(options.results, loaded.suite), searched_in(options.results, loaded)
    whole, _ = lay_out(loaded, registry, cache, None, searched)
    plan, inputs = lay_out(loaded, registry, cache, chosen, searched)
    if options.address is not None:
        os.environ["RAY_ADDRESS"] = options.address
    broken: list[Record] = []
    with SuiteLock(folders.suite_folder, warn) as lock:
        interrupt.at_once.append(lock.release)
        if plan.search is not None and whole.search is not None:
            apart = folders_of(options.results, plan.search.suite)
            with SuiteLock(apart.suite_folder, warn) as second:
                interrupt.at_once.append(second.release)
                before = _carry_out(plan.search, whole.search, inputs, apart, loaded, options, cache, interrupt)
            if interrupt.asked and before.left:
                return before.stopped(interrupt)
            broken = [record for record in before.state.failed.values() if not diverged(record)]
            whole, _ = lay_out(loaded, registry, cache, None, searched)
            plan, inputs = lay_out(loaded, registry, cache, chosen, searched)
            tell_choices(plan)
        done = _carry_out(plan, whole, inputs, folders, loaded, options, cache, interrupt)
        if interrupt.asked and done.left:
            return done.stopped(interrupt)
        board = board_of_records(folders, chosen, plan)
        if board is not None:
            print_board(board)
        if done.left:
            warn(f"{len(done.left)} trials did not run; the same command continues")
        for line in failures([*broken, *done.state.failed.values()], options):
            warn(line)
        return 1 if done.left or done.state.failed or _waiting(plan) else 0


@dataclass(frozen=True)
class Done:
    """How far a plan has come."""

    plan: Plan
    state: State
    checkpoints: Path | Remote | None

    @property
    def left(self) -> list[TrialSpec]:
        return [t for t in self.plan.trials if t.key not in self.state.finished and t.key not in self.state.failed]

    def stopped(self, interrupt: Interrupt) -> int:
        """Say what is left; the exit code."""
        begun = sum(_has_checkpoint(self.checkpoints, t.key) for t in self.left)
        tell(f"stopped: {len(self.left)} of {len(self.plan.trials)} trials are left, {begun} of them with a "
             f"checkpoint; the same command continues")  # fmt: skip
        return interrupt.code


def _carry_out(plan: Plan, whole: Plan, inputs: Inputs, folders: Folders, loaded: Suite, options: RunOptions,
               cache: Path, interrupt: Interrupt) -> Done:  # fmt: skip
    """Run what is missing of a plan, into its folder and its experiment.

    Args:
        whole: the plan without `--only` and the like, as it is kept beside the records.
    """
    from ltbench.execution.run_plan import bring_up_to_date, run_plan, state_of, write_plan
    from ltbench.tracking.delivery import Tracker

    write_plan(folders, whole, loaded)
    journal = folders.journal
    store = tracking_store(options.tracking_uri, options.results)
    tracker = Tracker(store, plan.suite, journal, whole.expectation(), warn)
    try:
        state = state_of(plan, journal)
        bring_up_to_date(plan, state, journal, tracker)
        tracker.deliver_backlog()
        to_run = state.to_run(plan, options.retry_failed)
        announce(plan, to_run, len(state.finished), len(state.failed))
        given = resources_of(loaded)
        inline = options.inline or loaded.resources.executor == "inline"
        kept = checkpoints_of(options.checkpoints, folders)
        site = site_of(cache, inputs, options.methods, loaded, Path(options.suite), kept, to_run)
        if loaded.resources.pack is not None and not inline:
            given = _packed(given, to_run, inputs, site)
        run_plan(to_run, inputs, site, journal, tracker, given, inline=inline, interrupt=interrupt)
    finally:
        unsent = tracker.close()
    if unsent:
        warn(f"{unsent} records wait to be sent to MLflow")
    return Done(plan, state_of(plan, journal), site.checkpoints)


def tell_choices(plan: Plan) -> None:
    """What the search chose, and what could not be chosen."""
    from ltbench.ranking.formats.choices import choice_text

    how = plan.protocol["search"]
    for label, choice in how["chosen"].items():
        tell(f"search: {label}: {choice_text(choice, how['select'])}")
    reasons = {skip.label: skip.reason for skip in plan.skips}
    for label in _waiting(plan):
        warn(f"{label} does not run: {reasons[label]}")


def _waiting(plan: Plan) -> list[str]:
    """Rows that the search has not given hyper-parameters."""
    return list(dict.fromkeys(spec.label for spec in plan.later))


def _packed(given: Resources, to_run: Plan, inputs: Inputs, site: Site) -> Resources:
    """What a short measurement on this machine says that trials are to be given."""
    if "RAY_ADDRESS" in os.environ:
        raise UserError("resources.pack: auto measures this machine, not a cluster; say resources.per_trial instead")
    if not to_run.trials:
        return given
    from ltbench.execution.nodes import this_machine
    from ltbench.execution.packing import packed

    for name in sorted({spec.cell.dataset for spec in to_run.trials}):
        inputs.sources[name].prepare()
    tell("resources.pack: measuring how many trials serve best at once ...")
    chosen, reason = packed(given, to_run, site, this_machine(ask_memory=False))
    tell(f"resources.pack: {reason}")
    return chosen


def failures(failed: Sequence[Record], options: RunOptions) -> Iterator[str]:
    """The trials that failed, by name, with the last line of the reason and its place in the method's file; then how to
    run only these again."""
    for record in failed[:NAMED_FAILURES]:
        yield f"failed: {record.spec.name}: {reason_of(record.error, record.spec.method)}{_at_step(record)}"
    if len(failed) > NAMED_FAILURES:
        yield f"... and {len(failed) - NAMED_FAILURES} more"
    if failed:
        yield f"{len(failed)} trials failed; run only these again with: {options.command('--retry-failed')}"


def _at_step(record: Record) -> str:
    step = record.environment.get("failed_at_step")
    return "" if step is None else f" (in step {step})"


def _has_checkpoint(checkpoints: Path | Remote | None, key: str) -> bool:
    from ltbench.system.remote import Remote

    with suppress(OSError):
        if isinstance(checkpoints, Remote):
            return any(name.endswith(".ckpt") for name in (checkpoints / key).names())
        return checkpoints is not None and any((checkpoints / key).glob("*.ckpt"))
    return False


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
