"""`resources: {pack: auto}`: how many trials share a device, chosen by a short measurement on this machine."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ltbench.errors import UserError, last_line
from ltbench.execution.placement import GB, Machine
from ltbench.execution.resources import Resources
from ltbench.planning.forecast import WARM_UP, WARM_UP_ON_GPU
from ltbench.spec import Plan, TrialSpec
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.device.provenance import peak_memory
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

COPIES = (1, 2, 4, 8)
"""How many copies of a trial are tried side by side on a GPU, until more of them are no faster."""
SECONDS = 2.0
"""How long copies run side by side."""
WORTH = 1.05
"""More trials at once only for so many times the steps: each of them ends later."""
FILL = 0.9
"""Of the memory that is free: trials differ."""
_PATIENCE = 300.0


@dataclass(frozen=True)
class Measured:
    """Copies of a trial side by side: steps per second of all together, and the memory of one in bytes."""

    copies: int
    steps_per_second: float
    memory: float


@dataclass(frozen=True)
class Choice:
    """How many trials at once, and why."""

    copies: int
    reason: str


def choose(measured: Sequence[Measured], memory: float, most: int) -> Choice:
    """On one GPU: the fewest copies that are as good as the best, among those that fit.

    Args:
        measured: by growing number of copies, beginning with one alone. memory: free bytes. most: copies that there
            are CPUs for.
    """
    fit = [m for m in measured if m.copies * m.memory <= FILL * memory and m.copies <= max(1, most)] or measured[:1]
    best = max(m.steps_per_second for m in fit)
    chosen = next(m for m in fit if m.steps_per_second * WORTH >= best)
    alone = measured[0].steps_per_second
    rates = ", ".join(f"{m.copies}: {m.steps_per_second / alone:.2f}" for m in measured)
    each = max(m.memory for m in measured)
    limit = "" if fit[-1] is measured[-1] else f"; {measured[len(fit)].copies} do not fit"
    return Choice(
        chosen.copies,
        f"{chosen.copies} at once on a GPU: steps per second of all, in those of one alone, by copies: {rates}; "
        f"{each / GB:.1f} GB each of {memory / GB:.1f} GB that are free{limit}",
    )


def choose_on_cpu(trial_memory: float, memory: float, cpus: int) -> Choice:
    """One trial of one thread per CPU (benchmarks/README.md says why), or as many as the free memory holds."""
    copies = max(1, int(min(cpus, FILL * memory / trial_memory)))
    said = f"{trial_memory / GB:.1f} GB each of {memory / GB:.1f} GB that are free"
    if copies == cpus:
        return Choice(copies, f"{copies} at once, one per CPU: {said}")
    return Choice(copies, f"{copies} at once, not one for each of {cpus} CPUs, as memory is short: {said}")


def packed(resources: Resources, plan: Plan, site: Site, machine: Machine) -> tuple[Resources, str]:
    """What trials are given so that as many share the device as serve best, and the reason in words. One row of every
    recipe is measured, and the most cautious choice serves all.

    Raises:
        UserError: no row could be measured.
    """
    rows: dict[str, TrialSpec] = {}
    for spec in plan.trials:
        rows.setdefault(spec.recipe_name, spec)
    on_gpu = machine.gpus >= 1
    choices = [_on_gpu(spec, site, machine) if on_gpu else _on_cpu(spec, site, machine) for spec in rows.values()]
    choice = min(choices, key=lambda c: c.copies)
    if on_gpu:
        return replace(resources, gpus=1 / choice.copies), choice.reason
    cpus = 1.0 if choice.copies == machine.cpus else machine.cpus / choice.copies
    return replace(resources, cpus=cpus, gpus=0.0), choice.reason


def _on_cpu(spec: TrialSpec, site: Site, machine: Machine) -> Choice:
    alone = side_by_side(spec, replace(site, device="cpu", threads=1), 1)
    return choose_on_cpu(alone.memory, free_memory(), int(machine.cpus))


def _on_gpu(spec: TrialSpec, site: Site, machine: Machine) -> Choice:
    """More copies are tried as long as they serve."""
    site = replace(site, device="cuda", threads=1)
    free, measured = float(torch.cuda.mem_get_info()[0]), [side_by_side(spec, site, 1)]
    for copies in COPIES[1:]:
        if copies > machine.cpus or copies * measured[0].memory > FILL * free:
            break
        try:
            measured.append(side_by_side(spec, site, copies))
        except UserError:  # together they found no room
            break
        if measured[-1].steps_per_second < WORTH * measured[-2].steps_per_second:
            break
    return choose(measured, free, int(machine.cpus))


def free_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that programs can still have on this machine, or in this container; infinite where the system does not
    tell."""
    free = float("inf")
    with suppress(OSError, ValueError, StopIteration):
        line = next(x for x in meminfo.read_text(encoding="ascii").splitlines() if x.startswith("MemAvailable:"))
        free = 1024.0 * int(line.split()[1])
    with suppress(OSError, ValueError):  # memory.max is "max" without a limit
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))
        free = min(free, limit - int((cgroup / "memory.current").read_text(encoding="ascii")))
    return max(0.0, free)


def side_by_side(spec: TrialSpec, site: Site, copies: int) -> Measured:
    """Run the first steps of a trial in so many processes at once.

    Raises:
        UserError: one of them failed.
    """
    context = multiprocessing.get_context("spawn")
    answers, barrier = context.Queue(), context.Barrier(copies)
    arguments = (spec, replace(site, checkpoints=None), barrier, answers)
    workers = [context.Process(target=_copy, args=arguments, daemon=True) for _ in range(copies)]
    for worker in workers:
        worker.start()
    try:
        found = [answers.get(timeout=_PATIENCE) for _ in workers]
    except Exception as error:
        raise UserError(f"resources.pack: {spec.name} could not be measured: it gave no answer") from error
    finally:
        for worker in workers:
            worker.join(5)
            worker.kill()
    failures = [answer for answer in found if isinstance(answer, str)]
    if failures:
        raise UserError(f"resources.pack: {spec.name} could not be measured: {last_line(failures[0])}")
    return Measured(copies, sum(rate for rate, _ in found), max(memory for _, memory in found))


def _copy(spec: TrialSpec, site: Site, barrier: Any, answers: Any) -> None:
    """In a process of its own: steps per second from the moment all copies are warm, and the memory; or what failed."""
    device = torch.device(site.device or "cpu")
    steps, began = 0, 0.0
    on_gpu = device.type == "cuda"
    warm_up = WARM_UP_ON_GPU if on_gpu else WARM_UP

    def ticks() -> bool:
        """A GPU is waited for at the beginning and the end only: in between the host may be ahead of it."""
        nonlocal steps, began
        steps += 1
        if steps < warm_up:
            return False
        if on_gpu and steps == warm_up:
            torch.cuda.synchronize(device)
        if steps == warm_up:
            barrier.wait(_PATIENCE)
            began = time.perf_counter()
        over = time.perf_counter() - began >= SECONDS and steps > warm_up
        if on_gpu and over:
            torch.cuda.synchronize(device)
        return over

    try:
        record = run_trial(spec, site, stop=ticks)
        if record.status == "failed":
            barrier.abort()
            answers.put(record.error or "failed")
            return
        barrier.abort()  # over before it was warm; the others need not wait
    except Stopped:
        pass
    seconds = time.perf_counter() - began
    answers.put(((steps - warm_up) / seconds if began else float(steps), _memory(device)))


def _memory(device: torch.device) -> float:
    """Of this process; on a GPU with what CUDA itself takes there, about half a GB."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_reserved(device)) + 0.5 * GB
    return float(peak_memory(device))
