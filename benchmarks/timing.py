"""Fair timing on shared machines: variants take turns, the median of several rounds counts, ratios are within a run."""

from __future__ import annotations

import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch


class Rate(NamedTuple):
    """Items per second: median, and the smallest and largest round."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> str:
        return f"{self.low:,.0f} to {self.high:,.0f}"


def interleaved(variants: Mapping[str, Callable[[], int]], rounds: int = 5, *, wall: bool = False) -> dict[str, Rate]:
    """Rate of each variant; a variant does some work and returns how many items that was.

    By default per second of CPU time, of this process and of those it has started and waited for, which other programs
    on the machine disturb least; on a GPU, or across processes, by the clock on the wall.
    """
    clock = time.perf_counter if wall else cpu_seconds
    for work in variants.values():
        work()
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            began = clock()
            items = work()
            rates[name].append(items / (clock() - began))
    return {name: Rate(statistics.median(r), min(r), max(r)) for name, r in rates.items()}


def cpu_seconds() -> float:
    """Of this process and of those it has started and waited for."""
    of_children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + of_children.ru_utime + of_children.ru_stime


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    try:
        with open("/proc/cpuinfo") as stream:
            names = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
    except OSError:
        names = []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    cpu = names[0] if names else platform.machine()
    return {
        "cpu": f"{cpu}, {len(names) or 1} threads",
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
