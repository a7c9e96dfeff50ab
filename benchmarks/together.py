"""Several seeds of one method on one device, by the wall clock: a process each, a thread each, or one vmapped model.

`pack` packs processes. This is what says whether that is the right way on a device.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.timing import Rate
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.training.device.allocator import keep_memory

SIZES = {"resnet32": ((32, 32, 3), 128), "cnn_small": ((8, 8, 1), 32), "mlp": ((8, 8, 1), 32)}
"""Backbones with their images and batches."""
WAYS = ("processes", "threads", "vmapped")


def measure(rounds: int = 3, seconds: float = 4.0) -> dict[str, Rate]:
    """Images per second of all seeds together, per backbone and way: on a CPU one seed per core, on a GPU eight.
    Median round."""
    gpu = torch.cuda.is_available()
    seeds = 8 if gpu else min(os.cpu_count() or 1, 4)
    found = {}
    for name in SIZES:
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                rates[way].append(_rate(name, way, seeds, seconds))
        for way, r in rates.items():
            found[f"{seeds} seeds of {name}, {way}"] = Rate(statistics.median(r), min(r), max(r))
    return found


def _rate(name: str, way: str, seeds: int, seconds: float) -> float:
    """In fresh processes, which start together; the sum of their images per second."""
    each = 1 if way == "processes" else seeds
    command = [sys.executable, "-m", "benchmarks.together", name, way, str(each), str(seconds)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for _ in range(seeds // each)]  # fmt: skip
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    answers = [_go(worker) for worker in workers]  # all of them, before the first is waited for
    return sum(float(answer()) for answer in answers)


def _go(worker: subprocess.Popen[str]) -> Callable[[], str]:
    """Start a worker that is ready; how to get its answer."""
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return lambda: worker.communicate()[0]


def step_of(name: str, seed: int) -> Callable[[], Tensor]:
    """A training step of one seed on a ready batch; gives its loss."""
    model = network(name, seed)
    x, y = batch_of(name, seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    stream = torch.cuda.stream(torch.cuda.Stream()) if torch.cuda.is_available() else nullcontext()  # type: ignore[no-untyped-call]

    def step() -> Tensor:
        with stream:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return loss.detach()

    return step


def vmapped_step_of(name: str, seeds: int) -> Callable[[], Tensor]:
    """The same step of several seeds as one model whose weights have a dimension more; gives their losses."""
    models = [network(name, seed) for seed in range(seeds)]
    parameters, buffers = stack_module_state(models)
    x, y = (torch.stack(parts) for parts in zip(*(batch_of(name, seed) for seed in range(seeds)), strict=True))
    optimizer = torch.optim.SGD(list(parameters.values()), lr=0.01, momentum=0.9)

    def loss_of(own: dict[str, Tensor], beside: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(models[0], (own, beside), (x,)), y)

    def step() -> Tensor:
        losses = vmap(loss_of)(parameters, buffers, x, y)
        optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return torch.as_tensor(losses.detach())

    return step


def network(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    backbone = build_backbone(name, SIZES[name][0])
    model = Classifier(backbone, nn.Linear(backbone.dim, 10)).to(_device())
    return model.to(memory_format=torch.channels_last).train()


def batch_of(name: str, seed: int) -> tuple[Tensor, Tensor]:
    (height, width, channels), batch = SIZES[name]
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=rng)
    y = torch.randint(0, 10, (batch,), generator=rng)
    return x.to(memory_format=torch.channels_last).to(_device()), y.to(_device())


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _main(name: str, way: str, seeds: int, seconds: float) -> None:
    torch.set_num_threads(seeds if way == "vmapped" else 1)
    keep_memory()
    steps = [vmapped_step_of(name, seeds)] if way == "vmapped" else [step_of(name, seed) for seed in range(seeds)]
    done = [0] * len(steps)

    def work(which: int, until: float) -> None:
        torch.set_num_threads(seeds if way == "vmapped" else 1)  # it is each thread's own
        while time.perf_counter() < until:
            for _ in range(4):
                steps[which]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            done[which] += 4

    def race(seconds: float) -> float:
        began = time.perf_counter()
        threads = [threading.Thread(target=work, args=(which, began + seconds)) for which in range(len(steps))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    race(seconds / 4)
    print("ready", flush=True)
    sys.stdin.readline()
    done[:] = [0] * len(steps)
    took = race(seconds)
    images = sum(done) * SIZES[name][1] * (seeds if way == "vmapped" else 1)
    print(images / took, flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
