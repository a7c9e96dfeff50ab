"""Two one-thread trials side by side against one two-thread trial, by the wall clock: why one thread is the default."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.timing import Rate

NAMES = ("resnet32, fp32", "resnet32, bf16", "cnn_small", "mlp")
"""ResNet-32 as the engine trains it, order, crops and all; of the small networks the step alone."""


def measure(rounds: int = 5, seconds: float = 6.0) -> dict[str, Rate]:
    """For each network, medians over rounds of: two one-thread processes over one two-thread process; and what bounds
    it, two one-thread processes over one alone (2: neighbours cost nothing) and two threads over one (2: threads cost
    nothing)."""
    found = {}
    for name in NAMES:
        turns = [_turn(name, seconds) for _ in range(rounds)]
        for what in turns[0]:
            ratios = [turn[what] for turn in turns]
            found[f"{what}, {name}"] = Rate(statistics.median(ratios), min(ratios), max(ratios))
    return found


def _turn(name: str, seconds: float) -> dict[str, float]:
    alone, threaded = (sum(_rates(name, processes=1, threads=threads, seconds=seconds)) for threads in (1, 2))
    together = sum(_rates(name, processes=2, threads=1, seconds=seconds))
    return {
        "two 1-thread trials / one 2-thread trial": together / threaded,
        "two 1-thread trials / one 1-thread trial": together / alone,
        "one 2-thread trial / one 1-thread trial": threaded / alone,
    }


def _rates(name: str, processes: int, threads: int, seconds: float) -> list[float]:
    """Images per second of each process; they start together."""
    command = [sys.executable, "-m", "benchmarks.packing", name, str(threads), str(seconds)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    time.sleep(0.2)
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    return [float(worker.communicate()[0]) for worker in workers]


def variant(name: str) -> Callable[[], int]:
    """Some training of one network, on the CPU and as a trial does it; gives how many images that was."""
    from benchmarks import training
    from benchmarks.together import SIZES, step_of

    if name.startswith("resnet32"):
        return training.variant(f"engine ce, {name.removeprefix('resnet32, ')}", 4)
    step = step_of(name, 0)

    def work() -> int:
        for _ in range(20):
            step()
        return 20 * SIZES[name][1]

    return work


def _main(name: str, threads: str, seconds: str) -> None:
    import torch

    from ltbench.training.device.allocator import keep_memory

    torch.set_num_threads(int(threads))
    keep_memory()
    work = variant(name)
    work()
    print("ready", flush=True)
    sys.stdin.readline()
    began, images = time.perf_counter(), 0
    while time.perf_counter() - began < float(seconds):
        images += work()
    print(images / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
