"""`resources: {executor: streams}`: several trials at once in this process, each on a CUDA stream of its own.

A recorded step is begun in less time than the GPU takes for it, and the step of a small network does not fill a large
GPU. So one process keeps several trials in the making, and their kernels run side by side (benchmarks/README.md has the
figures). The trials take turns after every step (turns.py): what one computes does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch

from ltbench.errors import UserError
from ltbench.execution.here.turns import Lane, Turns
from ltbench.execution.resources import Listener, Resources, gpu_lost_words
from ltbench.spec import TrialSpec
from ltbench.system.interrupt import Interrupt
from ltbench.system.process import one_thread
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.site import Site
from ltbench.training.trial import run_trial


def run_on_streams(
    trials: Sequence[TrialSpec], site: Site, resources: Resources, listener: Listener, interrupt: Interrupt
) -> None:
    """All trials, `resources.streams` at once; those whose GPU's memory did not suffice one after the other.

    Raises:
        UserError: a trial has a limit of time or memory: only a process of its own can be ended there. Or the GPU
            fails, for all of them.
    """
    for spec in trials:
        limits = resources.of(spec).limits
        if limits.hours is not None or limits.memory_gb is not None:
            raise UserError("resources.executor: `streams` runs several trials in one process, which cannot end one of "
                            "them at a limit; leave out hours and memory_gb, or take `executor: ray`")  # fmt: skip
    device = torch.device(site.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type != "cuda":
        listener.noted("resources.executor: streams is for GPUs; on a CPU trials only take turns")
    many = 1 if resources.trials else min(resources.streams, len(trials))
    facts = {**site.provenance, "trials_at_once": many}
    if device.type == "cuda":
        facts["gpu_share"] = 1 / many
    lanes = _Lanes(trials, replace(site, provenance=facts), resources, listener, interrupt)
    with one_thread():
        Turns(device).run([lanes.work] * many)


class _Lanes:
    """What every lane does: one of the trials that are left after the other, and tells the listener of them.

    Args:
        trials: in the order in which they are begun. listener: called in the main thread alone.
    """

    def __init__(
        self, trials: Sequence[TrialSpec], site: Site, resources: Resources, listener: Listener, interrupt: Interrupt
    ) -> None:
        self._left = list(trials)
        self._site, self._resources, self._listener, self._interrupt = site, resources, listener, interrupt
        self._training: dict[Lane, str | None] = {}

    def work(self, lane: Lane) -> None:
        """Until no trial is left, somebody asks to stop, or the listener fails: then all stop, each with a
        checkpoint."""
        while not self._stopping(lane) and (spec := self._next(lane)) is not None:
            self._run(lane, spec)

    def _stopping(self, lane: Lane) -> bool:
        return self._interrupt.asked or lane.stopping

    def _next(self, lane: Lane) -> TrialSpec | None:
        """The first that would not take over, if it waited, what another trains now; else the first."""
        self._training.pop(lane, None)
        if not self._left:
            return None
        taken = set(self._training.values()) - {None}
        groups = self._site.shared
        spec = next((s for s in self._left if groups.get(s.key) not in taken), self._left[0])
        self._left.remove(spec)
        self._training[lane] = groups.get(spec.key)
        return spec

    def _run(self, lane: Lane, spec: TrialSpec) -> None:
        site = replace(self._site, threads=self._resources.of(spec).threads)
        lane.in_main_thread(lambda: self._listener.started(spec))

        def progress(fraction: float, loss: float) -> None:
            lane.in_main_thread(lambda: self._listener.progressed(spec, fraction, loss))

        def stop() -> bool:
            lane.hand_on()
            return self._stopping(lane)

        with suppress(Stopped):
            record = run_trial(spec, site, progress, stop)
            lost, alone = record.environment.get("gpu_lost"), len(self._training) == 1
            if alone or not lost:
                lane.in_main_thread(lambda: self._listener.finished(record))
            if lost and (self._left or not alone):
                raise UserError(gpu_lost_words(record, alone=alone))
