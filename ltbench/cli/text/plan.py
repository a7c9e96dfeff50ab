"""A plan as text: what would run, what is finished, what is skipped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from ltbench.execution.placement import GB, Machine, Room
from ltbench.planning.forecast import total
from ltbench.planning.sizes import factor_notes
from ltbench.ranking.formats.choices import choice_text
from ltbench.spec import Plan
from ltbench.spec.cell import HELD_OUT
from ltbench.stats.looks import ROPE, SPREAD

if TYPE_CHECKING:
    from ltbench.execution.run_plan import State
    from ltbench.planning.sizes import Sizes
    from ltbench.workflow.plan_suite import Estimate, Outlook, Placement, SeedsToCome


def plan_text(outlook: Outlook) -> str:
    """One line per method, one column per cell: `to run` / finished / failed counts over seeds, or `skip`; then what
    the cells hold, where the trials would run, and how long."""
    plan, state, searched = outlook.plan, outlook.state, outlook.search_state
    waiting = {t.label for t in plan.later}
    cells = list(dict.fromkeys([t.cell.label for t in plan.trials] + [s.cell.label for s in plan.skips]))
    labels = list(dict.fromkeys([t.label for t in plan.trials] + [s.label for s in plan.skips]))
    counts: dict[tuple[str, str], list[int]] = {}
    for t in plan.trials:
        done = counts.setdefault((t.label, t.cell.label), [0, 0, 0])
        done[1 if t.key in state.finished else 2 if t.key in state.failed else 0] += 1
    later = Counter((t.label, t.cell.label) for t in plan.later)
    rows = [[label, *(_entry(counts.get((label, cell)), later[label, cell]) for cell in cells)] for label in labels]
    left = len(plan.trials) - len(state.finished) - len(state.failed)
    counted = f"{left} to run, {len(state.finished)} finished, {len(state.failed)} failed"
    counted += f", {len(plan.later)} after the search" if plan.later else ""
    counted += f", suite {outlook.digest}" if outlook.digest else ""
    blocks = [] if plan.search is None or searched is None else [_search_text(plan, plan.search, searched)]
    blocks += [
        f"{plan.suite}: {len(plan.trials) + len(plan.later)} trials: {counted}",
        tabulate(rows, headers=["trials to run", *cells], disable_numparse=True),
    ]
    if outlook.sizes:
        blocks.append(_data_text(outlook.sizes, (*plan.trials, *plan.later)[0].shots))
        if off := factor_notes(plan, outlook.sizes):
            blocks.append("\n".join(off))
    recipes = {t.recipe_name: t.recipe for t in (*(plan.search.trials if plan.search else ()), *plan.trials)}
    for name, recipe in recipes.items():
        blocks.append(
            f"recipe {name}: {recipe['backbone']}, {recipe['epochs']:g} epochs, batch {recipe['batch_size']}, "
            f"{recipe['optimizer']['name']} {recipe['optimizer']['lr']:g}, {recipe['schedule']['name']}, "
            f"{recipe['augment']}, {recipe['precision']}"
            + (f", pre-trained: {recipe['pretraining']}" if "pretraining" in recipe else "")
            + (", only its last block trains" if recipe.get("weights", {}).get("trainable") == "last_block" else "")
        )
    by_reason: dict[str, list[str]] = {}
    for skip in plan.skips:
        if skip.label in waiting:
            continue
        by_reason.setdefault(skip.reason, []).append(f"{skip.label} on {skip.cell.label}")
    blocks += [f"skipped: {', '.join(where)}: {reason}" for reason, where in by_reason.items()]
    hours = "" if outlook.estimate is None else hours_text(outlook.estimate)
    seeds = "" if outlook.seeds is None else seeds_text(outlook, outlook.seeds)
    blocks += [block for block in (outlook.sharing, placement_text(outlook.placement), hours, seeds) if block]
    return "\n\n".join(blocks) + "\n"


def _search_text(plan: Plan, search: Plan, state: State) -> str:
    """What is tried for which row, and what was chosen."""
    how = plan.protocol["search"]
    cells = list(dict.fromkeys(t.cell.label for t in search.trials))
    rows = []
    for label in dict.fromkeys(t.row for t in search.trials):
        own = [t for t in search.trials if t.row == label]
        counts = {cell: [0, 0, 0] for cell in cells if any(t.cell.label == cell for t in own)}
        for t in own:
            counts[t.cell.label][1 if t.key in state.finished else 2 if t.key in state.failed else 0] += 1
        choice = how["chosen"].get(label)
        rows.append([label, len({t.label for t in own}), *(_entry(counts.get(cell)) for cell in cells),
                     choice_text(choice, how["select"]) if choice else "later"])  # fmt: skip
    left = len(search.trials) - len(state.finished) - len(state.failed)
    head = (f"search: {len(search.trials)} trials: {left} to run, {len(state.finished)} finished, "
            f"{len(state.failed)} failed; scored on {how['holdout_per_class']} training images per class that are held "
            f"out")  # fmt: skip
    columns = [cell.removesuffix(HELD_OUT) for cell in cells]  # the head has said it
    table = tabulate(rows, headers=["trials to run", "settings", *columns, "chosen"], disable_numparse=True,
                     maxcolwidths=[None] * (2 + len(cells)) + [60])  # fmt: skip
    return f"{head}\n\n{table}"


def _data_text(data: Mapping[str, Sizes], shots: Mapping[str, int]) -> str:
    """What the long tails came out as: a wrong class order or factor shows here."""
    rows = [
        [label, f"{len(s.train):,}", f"{sum(s.train):,}", f"{max(s.train):,}", f"{min(s.train):,}",
         *map(str, s.buckets(shots)), f"{s.test:,}"]
        for label, s in data.items()
    ]  # fmt: skip
    heads = ["data", "classes", "training images", "largest", "smallest", f"many (> {shots['many']})", "medium",
             f"few (< {shots['few']})", "test images"]  # fmt: skip
    return tabulate(rows, headers=heads, disable_numparse=True, colalign=["left", *["right"] * 8])


def placement_text(placement: Placement) -> str:
    """What trials are given and how many run at once."""
    address = placement.address
    match placement.where:
        case "inline" if placement.streams > 1:
            return f"placement: in this process, {placement.streams} trials in turns, each on a CUDA stream of its own"
        case "inline":
            return "placement: in this process, one trial after the other"
        case "packed":
            return "placement on this machine: measured when the suite runs (resources.pack: auto)"
        case "not asked":
            return (f"placement: on the cluster at {address} (RAY_ADDRESS), which was not asked; --address {address} "
                    f"asks it")  # fmt: skip
        case "cluster":
            return _rooms_text(f"placement on the cluster at {address}", placement.rooms, placement.machines)
        case "here":
            return _rooms_text("placement on this machine", placement.rooms, placement.machines)


def _rooms_text(where: str, rooms: Sequence[Room], machines: Sequence[Machine]) -> str:
    have = Counter(_has(m) for m in machines)
    each = "; ".join(f"{n} x {what}" if n > 1 else what for what, n in have.items())
    rows = [
        [", ".join(room.labels), _given(room), sum(room.at_once.values()) if room.placed else "none: see below"]
        for room in rooms
    ]
    blocks = [
        f"{where}: {each}",
        tabulate(
            rows, headers=["trials of", "are given", "at once"], disable_numparse=True, maxcolwidths=[60, None, None]
        ),
        *(f"cannot run: {', '.join(room.labels)}: {room.reason}" for room in rooms if room.reason),
    ]
    apart = [room for room in rooms if room.placed and len(machines) > 1]
    for room in apart:
        there = ", ".join(f"{n} on {name}" for name, n in room.at_once.items())
        blocks.append(f"{', '.join(room.labels)}: {there}")
    return "\n\n".join(blocks)


def hours_text(estimate: Estimate) -> str:
    """How long the trials that are to run will take, by row, and in all."""
    lines, device = estimate.lines, estimate.device
    if not lines:
        return ""
    rows = [
        [line.label, line.cell, line.trials, _duration(line.seconds),
         "?" if line.seconds is None else _duration(line.seconds * line.trials), line.basis]
        for line in lines
    ]  # fmt: skip
    found = total(lines)
    threads = f"{device.threads} thread{'s' * (device.threads != 1)} each"
    known = sum(line.trials for line in lines) - found.unknown
    said = (
        f"about {_duration(found.wall_hours * 3600)} by the clock for {known} trials"
        f" ({_duration(found.trial_hours * 3600)} one after the other) on {device.name}, {threads}, if nothing else"
        " runs there"
    )
    blocks = [
        tabulate(rows, headers=["time of", "on", "trials", "each", "all", "from"], disable_numparse=True,
                 colalign=("left", "left", "right", "right", "right", "left"))
    ]  # fmt: skip
    blocks += [said] if known else []
    if found.unknown:
        cure = (
            ""
            if estimate.measured
            else "; --measure takes ten steps of each of their rows and tells how long they would take"
        )
        blocks.append(f"{found.unknown} trials: no earlier records of their recipe and data on this device{cure}")
    return "\n\n".join(blocks if known else blocks[1:])


def seeds_text(outlook: Outlook, seeds: SeedsToCome) -> str:
    """Trials and time if comparisons are decided at once, on average, and if they never are."""
    whole = outlook.prepared.plan
    cells = Counter(t.label for t in (*whole.trials, *whole.later) if t.seed == 0)
    ways = {"at least": seeds.due, "expected": seeds.expected, "at most": seeds.most}
    trials = {way: sum(n * cells[label] for label, n in of.items()) for way, of in ways.items()}
    aim = "all pairs are" if seeds.named == "all" else "all gains over the reference are"
    at = ", ".join(map(str, seeds.looks))
    lines = [
        f"seeds until {aim} decided: looks at {at} seeds. Trials in all: {trials['at least']:.0f} at least, "
        f"about {trials['expected']:.0f} expected, {trials['at most']:.0f} at most"
    ]
    estimate = outlook.estimate
    if estimate is not None and estimate.lines and all(line.seconds is not None for line in estimate.lines):
        hours = {way: _duration(_time_to_come(estimate, seeds.due, of)) for way, of in ways.items()}
        lines.append(
            f"time to come, one trial after the other: {hours['at least']} at least, about {hours['expected']} "
            f"expected, {hours['at most']} at most"
        )
    lines.append(
        f"(expected, if true means of rows are spread {SPREAD:g} times as widely as a method's seeds, and differences "
        f"below {ROPE:g} standard deviation of the seeds are practically none)"
    )
    return "\n".join(lines)


def _time_to_come(estimate: Estimate, due: Mapping[str, int], ends: Mapping[str, float]) -> float:
    """Seconds of the trials that are to run, and of further seeds up to those given."""
    return sum(
        line.seconds * (line.trials + ends.get(line.label, 0.0) - due.get(line.label, 0))
        for line in estimate.lines
        if line.seconds is not None
    )


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _has(machine: Machine) -> str:
    memory = f" of {machine.gpu_memory / GB:.1f} GB" if machine.gpu_memory else ""
    return f"{machine.cpus:g} CPU{'s' * (machine.cpus != 1)}, {machine.gpus:g} GPU{'s' * (machine.gpus != 1)}{memory}"


def _given(room: Room) -> str:
    cpus = f"{room.need.cpus:g} CPU{'s' * (room.need.cpus != 1)}"
    wanted = f"{room.need.gpu_memory_gb:g} GB of a GPU" if room.need.gpu_memory_gb is not None else ""
    if room.placed is None:
        gpus = wanted or (f"{room.need.gpus:g} GPU" if room.need.gpus else "")
    elif not room.placed.gpus:
        gpus = "no GPU"
    elif room.placed.gpus < 1:
        gpus = f"{room.placed.gpus:g} of a GPU"
    else:
        gpus = f"{room.placed.gpus:g} GPU{'s' * (room.placed.gpus != 1)}"
    of_gpu = f" (for {room.need.gpu_memory_gb:g} GB)" if wanted and room.placed else ""
    memory = f"at most {room.need.memory_gb:g} GB" if room.need.memory_gb is not None else ""
    hours = f"at most {_duration(3600 * room.need.hours)}" if room.need.hours is not None else ""
    return ", ".join(part for part in (cpus, f"{gpus}{of_gpu}", memory, hours) if part)


def _entry(counts: list[int] | None, later: int = 0) -> str:
    if counts is None:
        return f"{later} after its search" if later else "skip"
    to_run, finished, failed = counts
    parts = [str(to_run)] if to_run else []
    parts += [f"{finished} done"] if finished else []
    parts += [f"{failed} failed"] if failed else []
    return ", ".join(parts)
