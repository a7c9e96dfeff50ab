"""`ltbench plan`: what would run, where and how long, what is finished, what is skipped and why. Trains nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from ltbench.errors import UserError
from ltbench.execution.measure import measured_pace
from ltbench.execution.nodes import this_machine
from ltbench.execution.placement import Machine, Room, survey
from ltbench.execution.run_plan import State, state_of
from ltbench.execution.sharing import groups_of, sharing_text, trainers
from ltbench.planning.forecast import Device, Line, Pace, Size, forecast
from ltbench.planning.sizes import Sizes, size_of, sizes
from ltbench.results.folders import folders_of, suites_in
from ltbench.results.journal import Unreadable
from ltbench.spec import Plan, Record, Selection, TrialSpec
from ltbench.stats.looks import Looks, expected_seeds
from ltbench.system.process import one_thread
from ltbench.training.budget import images_per_example
from ltbench.training.device.provenance import device_name
from ltbench.training.madeup import task_for
from ltbench.training.site import Site
from ltbench.workflow.make_board import due_now
from ltbench.workflow.prepare import Prepared, Request, prepare

if TYPE_CHECKING:
    from ltbench.ranking.board import Leaderboard


@dataclass(frozen=True)
class Placement:
    """Where trials would run.

    Attributes:
        where: `inline`: in this process. `packed`: found out when the suite runs (resources.pack). `here`: on this
            machine. `cluster`: on the one at `address`. `not asked`: on the one at `address`, which was not asked.
        machines: what there is. rooms: what each row is given there. streams: trials at once in this process.
    """

    where: Literal["inline", "packed", "here", "cluster", "not asked"]
    address: str = ""
    machines: Sequence[Machine] = ()
    rooms: Sequence[Room] = ()
    streams: int = 1


@dataclass(frozen=True)
class Estimate:
    """How long the trials that are to run would take on this machine.

    Attributes:
        measured: rows of which no records tell were measured.
    """

    lines: Sequence[Line]
    device: Device
    measured: bool


@dataclass(frozen=True)
class SeedsToCome:
    """Of seeds that run until comparisons are decided: how many each row gets.

    Attributes:
        looks: seeds at each look. named: the comparisons that are to be decided.
        due: row -> seeds it gets for sure, those that have run included. most: at most. expected: on average, by the
            assumption of `stats.looks`.
    """

    looks: Sequence[int]
    named: str
    due: Mapping[str, int]
    most: Mapping[str, int]
    expected: Mapping[str, float]


@dataclass(frozen=True)
class Outlook:
    """Everything that `ltbench plan` says.

    Attributes:
        plan: the trials of the suite; of seeds that run until comparisons are decided, those that run for sure.
        seeds: how many seeds there may be; None where they are fixed.
        state: what the journal says of the plan; search_state: of its search.
        sizes: what the cells hold, by their label. sharing: what is trained once, in words.
        estimate: None where a cluster would run the trials.
    """

    prepared: Prepared
    plan: Plan
    state: State
    search_state: State | None
    placement: Placement
    estimate: Estimate | None
    sizes: Mapping[str, Sizes] = field(default_factory=dict)
    sharing: str = ""
    seeds: SeedsToCome | None = None

    @property
    def undecided(self) -> tuple[TrialSpec, ...]:
        """Trials that run only if comparisons are still undecided before them."""
        sure = {spec.key for spec in self.plan.trials}
        most = self.seeds.most if self.seeds is not None else {}
        return tuple(t for t in self.prepared.plan.trials if t.key not in sure and t.seed < most.get(t.label, 0))

    @property
    def digest(self) -> str:
        """The suite's, as boards of its results say it; empty of a part of it, and before its search has chosen."""
        whole = self.prepared.request.chosen == Selection() and not self.plan.later
        return self.prepared.whole.expectation().digest if whole else ""

    @property
    def all_trials(self) -> Plan:
        """The trials of the search, if there is one, and those of the suite."""
        return self.plan if self.plan.search is None else self.plan.after(self.plan.search)


def plan_suite(request: Request, *, address: str | None = None, measure: bool = False) -> Outlook:
    """What would run, where and how long.

    Args:
        address: a Ray cluster to ask what it has.
        measure: take ten steps of each row that no earlier records tell the time of.

    Raises:
        UserError: anything the user can mend.
    """
    prepared = prepare(request)
    plan, board = due_now(prepared.plan, prepared.folders, request.chosen)
    search_state = None
    state = state_of(plan, prepared.folders.journal)
    to_run = state.to_run(plan, retry_failed=False)
    if plan.search is not None:
        search_state = state_of(plan.search, prepared.search_folders.journal)
        to_run = to_run.after(search_state.to_run(plan.search, retry_failed=False))
    rest = replace(to_run, trials=(*to_run.trials, *plan.later))
    reused: dict[str, TrialSpec] = {}
    if prepared.suite.resources.share_training:
        reused = trainers(rest.trials, groups_of(rest.trials, lambda spec: prepared.registry.get(spec.method)))
    return Outlook(
        prepared,
        plan,
        state,
        search_state,
        placement=_placement(prepared, plan, address),
        estimate=_estimate(prepared, rest, reused, address, measure),
        sizes=sizes(plan, prepared.inputs),
        sharing=sharing_text(rest.trials, reused),
        seeds=_seeds_to_come(prepared, plan, board) if prepared.plan.looks and request.chosen.seeds is None else None,
    )


def _seeds_to_come(prepared: Prepared, plan: Plan, board: Leaderboard | None) -> SeedsToCome:
    """How many seeds the rows of every recipe may need, from where the records say that they stand."""
    whole, looks = prepared.plan, Looks(prepared.plan.looks)
    named, reference = whole.protocol["looks"]["pairs"], whole.protocol["reference"]
    recipes = {t.label: t.recipe_name for t in (*whole.trials, *whole.later)}
    standings = [table.standing for table in (board.tables if board else ()) if table.standing is not None]
    due = dict.fromkeys(recipes, looks.seeds[0]) | {m: n for s in standings for m, n in s.due.items() if m in recipes}
    stopped = {label for s in standings for label in s.at if label not in s.goes_on}
    expected = {}
    for label, recipe in recipes.items():
        rows = [other for other in recipes if recipes[other] == recipe]
        decided = label in stopped or len(rows) < 2
        expected[label] = float(due[label]) if decided else expected_seeds(
            looks, len(rows), due[label],
            all_pairs=named == "all" or reference not in rows, reference=label == reference,
        )  # fmt: skip
    most = {label: due[label] if label in stopped else looks.seeds[-1] for label in recipes}
    return SeedsToCome(looks.seeds, named, due, most, expected)


def _placement(prepared: Prepared, plan: Plan, address: str | None) -> Placement:
    """What each trial would be given, and how many would run at once: here, or on the cluster that is named."""
    resources = prepared.resources
    trials = (plan if plan.search is None else plan.after(plan.search)).trials
    if resources.inline:
        return Placement("inline", streams=resources.streams)
    if prepared.suite.resources.pack is not None:
        return Placement("packed")
    if address is not None:
        os.environ["RAY_ADDRESS"] = address  # read when ray is imported
        from ltbench.execution.cluster import machines_there

        found = machines_there(resources, trials)
        return Placement("cluster", address, found, survey(trials, resources, found))
    if "RAY_ADDRESS" in os.environ:
        return Placement("not asked", os.environ["RAY_ADDRESS"])
    found = [this_machine(any(resources.of(spec).gpu_memory_gb is not None for spec in trials))]
    return Placement("here", "", found, survey(trials, resources, found))


def _estimate(
    prepared: Prepared, rest: Plan, reused: Mapping[str, TrialSpec], address: str | None, measure: bool
) -> Estimate | None:
    """How long the rest of the trials would take here; None where a cluster would run them."""
    if address is not None or "RAY_ADDRESS" in os.environ:
        if measure:
            raise UserError("--measure: takes its steps on this machine, which says nothing of a cluster; leave it out")
        return None
    resources, results = prepared.resources, prepared.request.results
    rooms = survey(rest.trials, resources, [this_machine(ask_memory=True)])
    at_once = {
        label: resources.streams if resources.inline else sum(room.at_once.values())
        for room in rooms
        for label in room.labels
    }
    kind = "cuda" if any(room.placed and room.placed.gpus for room in rooms) else "cpu"
    device = Device(device_name(torch.device(kind)), resources.threads)
    here = {}
    for cell in {spec.cell.manifest: spec.cell for spec in rest.trials}.values():
        found = size_of(cell, prepared.inputs)
        here[cell.manifest] = Size(sum(found.train), found.test)

    def site() -> Site:
        return replace(prepared.site(rest, prepared.folders.checkpoints), device=kind, threads=device.threads)

    pace = _measurer(site, prepared.request) if measure else lambda spec: None
    records = _records_under(results)
    lines = forecast(rest.trials, here, records, device, at_once, pace, reused, _images_per_example(prepared))
    return Estimate(lines, device, measured=measure)


def _images_per_example(prepared: Prepared) -> Callable[[TrialSpec], float]:
    """How many images a row's `draw` reads for an example: asked on a made-up task, as the engine asks on the real
    one; 1 where it cannot say."""

    def each(spec: TrialSpec) -> float:
        cls = prepared.registry.get(spec.method)
        try:
            with one_thread():
                return images_per_example(cls(task_for(cls), **spec.hyperparameters), spec.recipe["batch_size"])
        except Exception:  # whatever a method of the user's may raise: the trial will say it
            return 1.0

    return each


def _measurer(site: Callable[[], Site], request: Request) -> Callable[[TrialSpec], Pace | None]:
    def measure(spec: TrialSpec) -> Pace | None:
        request.tell(f"measuring {spec.label} on {spec.cell.dataset} ...")
        return measured_pace(spec, site())

    return measure


def _records_under(results: Path) -> list[Record]:
    """Every readable record of every suite: what they took says how long others take."""
    journals = [folders_of(results, name).journal for name in suites_in(results)]
    return [record for journal in journals for record in journal if not isinstance(record, Unreadable)]
