"""Variants in processes of their own that take turns: one leaves the other neither its memory nor its settings."""

from __future__ import annotations

import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.timing import Rate, cpu_seconds


def in_turns(
    module: str,
    names: Sequence[str],
    size: int,
    rounds: int,
    *,
    wall: bool = False,
    tell: Callable[[dict[str, Rate]], None] = lambda found: None,
) -> dict[str, Rate]:
    """Items per second of each variant, like `timing.interleaved`, every one in its own process of one thread.

    Args:
        module: has `variant(name, size)`, which gives a function that does some work and returns how many items that
            was. size: handed on, how much work. wall: by the clock on the wall instead of CPU time.
        tell: told after every round what was found so far.
    """
    workers = {name: _start(module, name, size, wall) for name in names}
    found: dict[str, Rate] = {}
    try:
        rates: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(1 + rounds):  # the first one warms up
            for name, worker in workers.items():
                rate = _ask(worker)
                if turn:
                    rates[name].append(rate)
            if turn:
                found = {name: Rate(statistics.median(r), min(r), max(r)) for name, r in rates.items()}
                tell(found)
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()
    return found


def _start(module: str, name: str, size: int, wall: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.turns", module, name, str(size), "wall" if wall else "cpu"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ask(worker: subprocess.Popen[str]) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def _main(module: str, name: str, size: str, clock: str) -> None:
    import torch

    torch.set_num_threads(1)
    work = importlib.import_module(module).variant(name, int(size))
    now = time.perf_counter if clock == "wall" else cpu_seconds
    for _ in sys.stdin:
        began = now()
        items = work()
        print(items / (now() - began), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
