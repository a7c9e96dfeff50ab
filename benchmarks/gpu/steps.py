"""A training step operation by operation and as CUDA graphs: the same numbers? how fast?

    python -m benchmarks.gpu.steps [--device cuda] [--out FILE] [--share I/N] [PART...]

Parts: methods (every method on a small task), equal (ResNet-32 on images of CIFAR's shape), speed, broken (what
recordings that fail leave behind). Each prints JSON lines. `--share 0/4` takes every fourth method, of `equal` and
`speed` every fourth plan, so that four processes take all. On a CPU a stand-in takes the graphs' place, with small
sizes: to see that every line runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu.common import share_of
from ltbench.api import Method, Stage, Task
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.registry import Registry
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.checkpoints.live import LiveState
from ltbench.training.device.determinism import use_deterministic_algorithms
from ltbench.training.engine import Clock, Setup, Watch, train
from ltbench.training.graph.ops import CudaGraph, RecordedOps
from ltbench.training.graph.passes import first_words
from ltbench.training.graph.use import GraphUse
from ltbench.training.madeup import model_for, task_for, train_on_it

PLANS = (
    ("ce", "bf16", "none"), ("ce", "bf16", "fused"), ("ce", "fp32", "none"), ("ce", "fp32", "fused"),
    ("text_guided_mixup", "bf16", "none"), ("ldam_drw", "bf16", "none"), ("mixup", "bf16", "none"),
    ("seesaw", "bf16", "none"), ("cb_sampling", "bf16", "none"), ("sam", "bf16", "none"), ("ride", "bf16", "none"),
    ("ride", "bf16", "fused"), ("ema", "bf16", "none"),
)  # fmt: skip
"""Method, precision, and the recipe's `compile`."""
COMPOSED = ("mixup+balanced_softmax+ema", "crt+text_guided_mixup", "mixup+ldam_drw")
"""Methods of several, beside all others."""
_INTERPRETED = [("ce", "fp32", "fused")] if os.environ.get("TRITON_INTERPRET") else []
"""Without a GPU the fused kernels run in Triton's interpreter, slowly."""
STAIRS = {"name": "multistep", "milestones": [0.8, 0.9], "gamma": 0.01, "warmup": 0.025, "warmup_stairs": 5}
FULL = 16_949
"""Steps of 200 epochs of CIFAR-100-LT, IF 100."""


class Timed(Checkpoints):
    """Takes the time from a step on; the host waits for the device before and after.

    Args:
        stop: as of Checkpoints, called after every step.

    Attributes:
        seconds: of one step.
    """

    def __init__(self, first: int, device: torch.device, stop: Callable[[], bool] = lambda: False) -> None:
        super().__init__(stop=stop)
        self._first, self._device = first, device
        self.seconds = float("nan")

    def steps(self, live: LiveState, steps: int, total: int, stages: Iterator[Stage]) -> Iterator[int]:
        """As in Checkpoints."""
        began = time.perf_counter()
        for step in super().steps(live, steps, total, stages):
            if step == self._first:
                self._wait()
                began = time.perf_counter()
            yield step
        self._wait()
        self.seconds = (time.perf_counter() - began) / (steps - self._first)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


class Lab:
    """The measurements on one device.

    Args:
        share: which methods and plans, every N-th from the I-th on.

    Attributes:
        bad: how much was wrong.
    """

    def __init__(self, device: torch.device, out: str | None, share: tuple[int, int] = (0, 1)) -> None:
        self.device, self._out, self.cuda = device, out, device.type == "cuda"
        self._names = [*Registry().names(), *COMPOSED][share[0] :: share[1]]
        plans = [plan for plan in PLANS if self.cuda or plan[2] == "none" or plan in _INTERPRETED]
        self._plans = plans[share[0] :: share[1]]
        self.bad = 0
        images, side, self._batch = (10_847, 32, 128) if self.cuda else (200, 8, 4)
        rng = np.random.default_rng(0)
        self._y = rng.permutation(np.arange(images) % 100)
        self._x = rng.integers(0, 256, (images, side, side, 3), dtype=np.uint8)
        text = rng.normal(size=(100, 64)).astype(np.float32)
        self._text = text / np.linalg.norm(text, axis=1, keepdims=True)

    def say(self, **values: Any) -> None:
        """One JSON line."""
        line = json.dumps(values, default=str)
        print(line, flush=True)
        if self._out:
            with open(self._out, "a") as stream:
                stream.write(line + "\n")

    def graphs(self, as_graph: bool) -> GraphUse | None:
        """How steps run; None: operation by operation."""
        if not as_graph:
            return None
        return GraphUse("auto", self.device) if self.cuda else GraphUse.emulated()

    def methods(self) -> None:
        """Every method on the made-up task of `ltbench check`."""
        for name in self._names:
            for precision in ("fp32", "bf16"):
                try:
                    found = [self._small(Registry().get(name), precision, as_graph) for as_graph in (False, True)]
                    same, told = torch.equal(found[0][0], found[1][0]), found[1][1]
                    self.bad += not same
                    self.say(part="methods", method=name, precision=precision, same=same, step=told)
                except Exception as error:
                    self.failed("methods", name, precision, error)

    def _small(self, cls: type[Method], precision: str, as_graph: bool) -> tuple[Tensor, str | None]:
        torch.manual_seed(0)
        method, graphs = cls(task_for(cls, device=self.device)), self.graphs(as_graph)
        model = model_for(method).to(memory_format=torch.channels_last)
        train_on_it(method, model, precision=precision, graphs=graphs)
        return _weights(model), graphs.told() if graphs else None

    def equal(self) -> None:
        """ResNet-32: the weights after 60 steps."""
        count = 60 if self.cuda else 30
        for name, precision, mode in self._plans:
            try:
                plain, seconds, _ = self.trained((name, precision, mode), False, count, count // 3)
                graph, _, told = self.trained((name, precision, mode), True, count, count // 3)
                same = torch.equal(plain, graph)
                self.bad += not (same and told == "graph")
                self.say(part="equal", method=name, precision=precision, compile=mode, same=same, step=told,
                         eager_ms=round(1e3 * seconds, 3))  # fmt: skip
            except Exception as error:
                self.failed("equal", f"{name}, compile {mode}", precision, error)

    def speed(self) -> None:
        """ResNet-32: milliseconds a step, comparisons with a pass operation by operation included."""
        count, first = (700, 100) if self.cuda else (40, 25)
        for name, precision, mode in self._plans:
            try:
                _, seconds, told = self.trained((name, precision, mode), True, count, first)
                self.say(part="speed", method=name, precision=precision, compile=mode, step=told,
                         ms=round(1e3 * seconds, 3), images_s=round(self._batch / seconds),
                         trial_s=round(FULL * seconds, 1))  # fmt: skip
            except Exception as error:
                self.failed("speed", f"{name}, compile {mode}", precision, error)

    def broken(self) -> None:
        """Recordings that fail, by themselves and with work on a second stream, leave the process as it was: random
        numbers, another recording, the memory."""
        make, x = (CudaGraph if self.cuda else RecordedOps), torch.ones(1 << 22, device=self.device)
        with GraphUse("auto", self.device).stream():
            for how in (self._reads, self._forks):
                before, told = self._reserved(), ""
                try:
                    make().record(partial(how, x))
                except Exception as error:
                    told = first_words(error)
                try:
                    F.dropout(x)
                    graph = make()
                    kept = graph.record(lambda: F.dropout(x))
                    graph.replay()
                    good = bool(told) and 0.99 < float(kept.mean()) < 1.01
                    del graph, kept
                    self.bad += not good
                    self.say(part="broken", work=how.__name__, good=good, told=told, left_mb=self._reserved() - before)
                except Exception as error:
                    self.failed("broken", how.__name__, told, error)

    def _reads(self, x: Tensor) -> float:
        return float((x + 1.0).sum())

    def _forks(self, x: Tensor) -> None:
        if self.cuda:
            beside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                x = x + 1.0
        raise ValueError("of the method")

    def _reserved(self) -> int:
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
        return round(torch.cuda.memory_reserved() / 1e6) if self.cuda else 0

    def losses(self, name: str, precision: str, mode: str, steps: int) -> list[float]:
        """The mean losses of a training's epochs (on a CPU of its only one)."""
        found = list[float]()
        self.trained((name, precision, mode), True, steps, steps // 3, lambda epochs, loss: found.append(loss))
        return [round(loss, 4) for loss in found]

    def trained(
        self,
        plan: tuple[str, str, str],
        as_graph: bool,
        steps: int,
        first: int,
        watch: Watch = lambda epochs, loss: None,
        stop: Callable[[], bool] = lambda: False,
        schedule: Mapping[str, Any] = STAIRS,
    ) -> tuple[Tensor, float, str | None]:
        """A ResNet-32 trained on images of CIFAR's shape: its weights and statistics, the seconds of a step, and how
        steps ran."""
        name, precision, mode = plan
        torch.manual_seed(0)
        optimizer = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 2e-4}
        task = Task(
            self._y, [str(c) for c in range(100)], device=self.device, text=self._text, optimizer=optimizer
        )  # fmt: skip
        method = Registry().get(name)(task)
        backbone = build_backbone("resnet32" if self.cuda else "resnet20", self._x.shape[1:])
        model = Classifier(backbone, method.head(backbone.dim)).to(self.device)
        model.to(memory_format=torch.channels_last)
        batches = ImageBatches(
            self._x, self._y, (0.5,) * 3, (0.25,) * 3, augment="crop_flip", device=self.device
        )  # fmt: skip
        recipe = {"batch_size": self._batch, "epochs": (steps - 0.5) * self._batch / len(self._y),
                  "precision": precision, "schedule": schedule, "compile": mode}  # fmt: skip
        order = BatchOrder(self._y, 100, self._batch, np.random.default_rng(1))
        clock, timed = Clock(np.random.default_rng(2), self.device), Timed(first, self.device, stop)
        graphs = self.graphs(as_graph)
        train(model, method, Setup(batches, order, clock, recipe, watch, checkpoints=timed, graphs=graphs))
        return _weights(model), timed.seconds, graphs.told() if graphs else None

    def failed(self, part: str, name: str, precision: str, error: Exception) -> None:
        self.bad += 1
        message = f"{type(error).__name__}: {str(error)[:400]}"
        self.say(part=part, method=name, precision=precision, error=message)


def _weights(model: torch.nn.Module) -> Tensor:
    """All weights and statistics in one vector on the CPU."""
    return torch.cat([value.double().flatten() for value in model.state_dict().values()]).cpu()


def main() -> int:
    """0: all numbers are the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["methods", "equal", "speed"], metavar="PART")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", help="file that the lines are added to")
    parser.add_argument("--share", default="0/1", metavar="I/N", help="every N-th method or plan from the I-th on")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    use_deterministic_algorithms(device)
    lab = Lab(device, chosen.out, share_of(chosen.share))
    for part in chosen.parts:
        getattr(lab, part)()
    return int(lab.bad > 0)


if __name__ == "__main__":
    sys.exit(main())
