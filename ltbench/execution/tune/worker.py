"""One trial on one of Ray's workers."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ltbench.execution.cluster import Home, node_id  # first: it prepares ray's import

import ray  # isort: skip
from ray import tune  # isort: skip

from ltbench.execution import nodes
from ltbench.spec import Record
from ltbench.system.messages import show_on_stderr
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.limited import NONE, run_limited
from ltbench.training.site import Site

REPORT_SECONDS = 2.0
"""How often at most a running trial reports how far it is."""
ASK_SECONDS = 1.0
"""How often at most a running trial asks whether it is to stop."""


def key_of(config: Mapping[str, Any]) -> str:
    """The key of the trial that Tune names by this configuration."""
    return str(config["trial"]["key"])


def run_one(config: dict[str, Any], parts: Sequence[Any], site: Site, home: Home, token: str) -> None:
    """One trial on a worker; reports how far it is, then its record."""
    global _gpu_lost
    if _gpu_lost:
        os._exit(1)  # Tune starts the trial in another worker, as after any loss of one
    show_on_stderr()
    last = time.monotonic()

    def progress(fraction: float, loss: float) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            tune.report({"fraction": fraction, "loss": loss})

    spec, placed = ray.get(parts[config["trial"]["part"]])[key_of(config)]
    stop = Asking(token)
    if stop():
        tune.report({"stopped": True})
        return
    site = nodes.on_this_node(placed.site(site), node_id() == home.node)
    unfit = None if node_id() in home.checked else nodes.check_late(home.versions, nodes.cells_of([spec]), site)
    if unfit is not None:
        tune.report({"record": Record(spec=spec, status="failed", error=f"UserError: {unfit}")})
        return
    try:
        record = run_limited(spec, site, placed.limits, progress, stop)
    except Stopped:
        tune.report({"stopped": True})
        return
    _gpu_lost = placed.limits == NONE and bool(record.environment.get("gpu_lost"))
    tune.report({"record": record})


_gpu_lost = False
"""A trial of this worker has met a fault of the GPU, which no other can use in the process."""


def flag_of(token: str) -> str:
    """The name of the actor that says that the trials of a run are to stop."""
    return f"ltbench-stop-{token}"


class Asking:
    """On a worker: is there a flag?"""

    def __init__(self, token: str) -> None:
        self._name, self._next = flag_of(token), 0.0

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + ASK_SECONDS
        try:
            ray.get_actor(self._name)
        except (ValueError, ray.exceptions.RayError):
            return False
        return True
