"""A few steps of a trial, timed: its real data, method and model, but nothing is tested or kept."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import torch

from ltbench.errors import UserError, last_line
from ltbench.planning.forecast import MEASURED, SECONDS, WARM_UP, WARM_UP_ON_GPU, Pace, as_pace, pace_of
from ltbench.spec import Record, TrialSpec
from ltbench.system.process import one_thread
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.device.provenance import peak_memory
from ltbench.training.site import Site
from ltbench.training.trial import run_trial


class _Ticks:
    """Asked after every step whether to stop: notes when, and says so in the end. A GPU, which does what the host has
    begun, is waited for where the measurement begins and where it ends, and not in between, as a training does not."""

    def __init__(self, device: torch.device) -> None:
        self._times: list[float] = []
        self._on_gpu, self._device = device.type == "cuda", device
        self._warm_up = WARM_UP_ON_GPU if self._on_gpu else WARM_UP

    def __call__(self) -> bool:
        if len(self._times) + 1 == self._warm_up:
            self._wait()
        self._times.append(time.perf_counter())
        counted = self.counted
        over = len(counted) > MEASURED and counted[-1] - counted[0] >= SECONDS
        if over:
            self._wait()
            self._times[-1] = time.perf_counter()
        return over

    @property
    def counted(self) -> list[float]:
        """When the measurement began, and when each of its steps ended."""
        return self._times[self._warm_up - 1 :]

    def _wait(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize(self._device)


def measure_steps(spec: TrialSpec, site: Site) -> tuple[list[float], int] | Record:
    """Seconds of ten steps (of quick ones more, for half a second) after three that are not counted, twenty on a GPU,
    and the peak memory in bytes; or the trial's record, if it was over before.

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
        return [b - a for a, b in pairwise(ticks.counted)], peak_memory(device)
    if record.status == "failed":
        raise UserError(f"--measure: {spec.name} failed: {last_line(record.error)}")
    return record


def measured_pace(spec: TrialSpec, site: Site) -> Pace | None:
    """The pace of a few steps, or of the whole trial if it has no more. Raises UserError as `measure_steps` does."""
    found = measure_steps(spec, site)
    return pace_of(found) if isinstance(found, Record) else as_pace(found[0], spec.recipe["batch_size"])
