"""One trial after the other, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from ltbench.errors import UserError
from ltbench.execution.resources import Listener, Resources, gpu_lost_words
from ltbench.spec import Record, TrialSpec
from ltbench.system.interrupt import Interrupt
from ltbench.training.attempt import Progress
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.limited import NONE, Limits, Lost, run_limited
from ltbench.training.site import Site


def run_inline(
    trials: Sequence[TrialSpec], site: Site, resources: Resources, listener: Listener, interrupt: Interrupt
) -> None:
    """One trial after the other, in this process, for a debugger; where there are limits, in one beside it.

    Raises:
        UserError: the GPU fails, and there are trials left.
    """
    for number, spec in enumerate(trials, start=1):
        if interrupt.asked:
            return
        site = replace(site, threads=resources.of(spec).threads)
        listener.started(spec)

        def progress(fraction: float, loss: float, spec: TrialSpec = spec) -> None:
            listener.progressed(spec, fraction, loss)

        with suppress(Stopped):
            record = _run_here(spec, site, resources.of(spec).limits, progress, interrupt)
            listener.finished(record)
            here = resources.of(spec).limits == NONE
            if here and record.environment.get("gpu_lost") and number < len(trials):
                raise UserError(gpu_lost_words(record, alone=True))


def _run_here(spec: TrialSpec, site: Site, limits: Limits, progress: Progress, interrupt: Interrupt) -> Record:
    try:
        return run_limited(spec, site, limits, progress, lambda: interrupt.asked)
    except Lost as lost:
        facts = {**site.provenance, "workers_lost": 1}
        return Record(spec=spec, status="failed", error=str(lost), environment=facts)
