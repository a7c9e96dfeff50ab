"""A few steps of a trial, timed: its real data, method and model, but nothing is tested or kept."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import torch

from ltbench.errors import UserError, last_line
from ltbench.planning.forecast import MEASURED, SECONDS, WARM_UP, Pace, as_pace, pace_of
from ltbench.spec import Record, TrialSpec
from ltbench.system.process import one_thread
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.device.provenance import peak_memory
from ltbench.training.site import Site
from ltbench.training.trial import run_trial


class _Ticks:
    """Asked after every step whether to stop: notes when, and says so in the end."""

    def __init__(self, device: torch.device) -> None:
        self.times: list[float] = []
        self._device = device

    def __call__(self) -> bool:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.times.append(time.perf_counter())
        counted = self.times[WARM_UP - 1 :]
        return len(counted) > MEASURED and counted[-1] - counted[0] >= SECONDS


def measure_steps(spec: TrialSpec, site: Site) -> tuple[list[float], int] | Record:
    """Seconds of ten steps (of quick ones more, for half a second) after three that are not counted, and the peak
    memory in bytes; or the trial's record, if it was over before.

    Raises:
        UserError: the trial fails within them.
    """
    device = torch.device(site.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    ticks = _Ticks(device)
    try:
        # Ten steps are no reason to decode a whole data set; where that has been done, it is read from there.
        with one_thread():
            record = run_trial(spec, replace(site, checkpoints=None, decoded_cache=False), stop=ticks)
    except Stopped:
        times = ticks.times[WARM_UP - 1 :]
        return [b - a for a, b in pairwise(times)], peak_memory(device)
    if record.status == "failed":
        raise UserError(f"--measure: {spec.name} failed: {last_line(record.error)}")
    return record


def measured_pace(spec: TrialSpec, site: Site) -> Pace | None:
    """The pace of a few steps, or of the whole trial if it has no more. Raises UserError as `measure_steps` does."""
    found = measure_steps(spec, site)
    return pace_of(found) if isinstance(found, Record) else as_pace(found[0], spec.recipe["batch_size"])
