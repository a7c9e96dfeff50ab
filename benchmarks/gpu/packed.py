"""Several trials at once on streams of one process (`executor: streams`): the numbers of each alone? how fast?

    python -m benchmarks.gpu.packed [--device cuda] [--out FILE] [PART...]

Parts: alone (whole trials of the digits, dropout among them), rate (milliseconds of a ResNet-32's step and trial, for
one to eight at once, plain and fused), queues (eight, where the environment gives the GPU more queues). Each prints
JSON lines. `host_ms` is what Python needs for a step of one trial: where all of a round need as long as the round
takes, more trials gain nothing. `left_mb` is the GPU's memory that is still in use after it: what cuBLAS keeps, and no
graphs.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.common import Check
from benchmarks.gpu.steps import Lab
from ltbench.execution.here.streams import run_on_streams
from ltbench.execution.here.turns import Lane, Turns
from ltbench.execution.resources import Resources
from ltbench.registry import Registry, fingerprint
from ltbench.spec import Record, TrialSpec
from ltbench.system.interrupt import Interrupt
from ltbench.training.device.determinism import use_deterministic_algorithms
from ltbench.training.trial import run_trial

PLAN = ("ce", "bf16", "none")
QUEUES = "CUDA_DEVICE_MAX_CONNECTIONS"
HALVES = {"name": "multistep", "milestones": [0.5], "gamma": 0.1, "warmup": 0.0, "warmup_stairs": 0}
"""Two learning rates, so that updates are recorded, too."""
LEVEL = {"name": "constant", "warmup": 0.0, "warmup_stairs": 0}
"""One, so that no update is recorded in the steps that are timed."""


class Packed(Lab):
    """The measurements on one device."""

    def alone(self) -> None:
        """Trials that take turns, and the same ones one after the other: equal to the bit?"""
        check = Check(Path.cwd(), self.device.type, Path(mkdtemp(prefix="ltbench-data")), 0, None)
        body = {"backbone": "resnet32" if self.cuda else "cnn_small", "precision": "bf16", "schedule": HALVES}
        epochs = 4.0 if self.cuda else 1.0
        specs = [check.short(label, **body, epochs=epochs) for label in ("ce", "mixup")]
        dropout = Registry().get("batchformer")  # torch's random numbers, within the recorded pass
        specs += [replace(specs[0], label="batchformer", method="batchformer", hyperparameters=dropout.complete({}),
                          code=fingerprint(dropout), seed=seed) for seed in (0, 1)]  # fmt: skip
        site = replace(check.site(specs), keep_logits=True)
        apart = {spec.key: run_trial(spec, site) for spec in specs}
        kept = Kept()
        run_on_streams(specs, site, Resources(inline=True, streams=len(specs)), kept, Interrupt())
        for spec in specs:
            one, other = apart[spec.key], kept.records[spec.key]
            same = one.status == other.status == "ok" and _numbers(one) == _numbers(other)
            steps = [record.environment.get("step") for record in (one, other)]
            self.bad += not (same and steps == ["graph" if self.cuda else None] * 2)
            self.say(part="packed alone", method=spec.label, seed=spec.seed, same=same, error=one.error or other.error,
                     step=steps, left_mb=self._left())  # fmt: skip

    def rate(self) -> None:
        """Milliseconds a step and trial of all together, by the clock on the wall; and whether the weights are those of
        one alone. The steps that are timed lie between two that are compared with a pass operation by operation, the
        128th and the 256th replay: in a long training one of a thousand is."""
        for mode in ("none", "fused") if self.cuda else ("none",):
            self._race(mode, (1, 2, 4, 8) if self.cuda else (1, 2))

    def queues(self) -> None:
        """Eight at once, where CUDA_DEVICE_MAX_CONNECTIONS says how many queues the GPU has for them (8 by default)."""
        self._race("fused" if self.cuda else "none", (8,) if self.cuda else (2,))

    def _race(self, mode: str, counts: tuple[int, ...]) -> None:
        steps, first = (256, 136) if self.cuda else (26, 24)
        weights = None
        for many in counts:
            try:
                lanes = [_Racer(self, (*PLAN[:2], mode), steps, first) for _ in range(many)]
                Turns(self.device).run([lane.work for lane in lanes])
                seconds = max(lane.ended for lane in lanes) - max(lane.began for lane in lanes)
                weights = lanes[0].weights if weights is None else weights
                same = all(torch.equal(lane.weights, weights) for lane in lanes)
                self.bad += not (same and all(lane.told == "graph" for lane in lanes))
                ms = round(1e3 * seconds / (steps - first) / many, 3)
                host = round(1e3 * float(np.median([turn for lane in lanes for turn in lane.turns[first:]])), 3)
                told = lanes[0].told
                del lanes
                self.say(part="packed rate", compile=mode, trials=many, ms_step_and_trial=ms, host_ms=host, same=same,
                         step=told, queues=os.environ.get(QUEUES), left_mb=self._left())  # fmt: skip
            except Exception as error:
                self.failed("packed rate", f"{many} trials, compile {mode}", "bf16", error)

    def _left(self) -> int | None:
        """Millions of bytes of the GPU that tensors, graphs and libraries still use."""
        gc.collect()
        return round(torch.cuda.memory_allocated() / 1e6) if self.cuda else None


def _numbers(record: Record) -> Any:
    return record.metrics, record.curves, record.per_class, record.environment.get("first_loss"), record.predictions


class _Racer:
    """One of several trainings that take turns.

    Attributes:
        began, ended: of the steps that are timed; the device has done all before. turns: seconds of each step in
            Python. weights, told: what came of it.
    """

    weights: torch.Tensor
    told: str | None

    def __init__(self, lab: Lab, plan: tuple[str, str, str], steps: int, first: int) -> None:
        self._lab, self._plan, self._steps, self._first = lab, plan, steps, first
        self.began = self.ended = 0.0
        self.turns: list[float] = []

    def work(self, lane: Lane) -> None:
        mine = time.perf_counter()

        def stop() -> bool:
            nonlocal mine
            self.turns.append(time.perf_counter() - mine)
            lane.hand_on()
            if len(self.turns) == self._first:
                if self._lab.cuda:
                    torch.cuda.current_stream().synchronize()
                self.began = time.perf_counter()
            mine = time.perf_counter()
            return False

        last = self._steps - 1
        self.weights, _, self.told = self._lab.trained(self._plan, True, self._steps, last, stop=stop, schedule=LEVEL)
        self.ended = time.perf_counter()


class Kept:
    """A listener that keeps the records."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    def started(self, spec: TrialSpec) -> None:
        """Nothing to do."""

    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None:
        """Nothing to do."""

    def finished(self, record: Record) -> None:
        """Keep it."""
        self.records[record.key] = record

    def noted(self, message: Any) -> None:
        """Nothing to do."""


def main() -> int:
    """0: all numbers are those of a trial alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["alone", "rate"], metavar="PART")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", help="file that the lines are added to")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    use_deterministic_algorithms(device)
    lab = Packed(device, chosen.out)
    for part in chosen.parts:
        getattr(lab, part)()
    return int(lab.bad > 0)


if __name__ == "__main__":
    sys.exit(main())
