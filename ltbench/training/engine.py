"""The one training loop. A method changes it through its six hooks only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ltbench.api import Method, Moment, Stage
from ltbench.data.loader import Batches
from ltbench.data.order import BatchOrder
from ltbench.models.towers import PreparedBatches
from ltbench.parts import Classifier
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.device.compiled import compiled
from ltbench.training.device.stopwatch import Stopwatch
from ltbench.training.evaluation import precision
from ltbench.training.frozen import FrozenFeatures

Watch = Callable[[float, float], None]
"""Called at the end of every epoch with the epochs done and the mean training loss since the last call."""


_SLACK = 1e-6
"""Positions are fractions of steps; this absorbs that 0.8 of 200 epochs is not exactly step 160 in binary."""


class Diverged(Exception):
    """The loss is not a number any more; the trial has failed."""


@dataclass
class Clock:
    """Makes the Moments: where training stands, and the method's dice."""

    rng: np.random.Generator
    device: torch.device
    draws: np.random.Generator | None = None
    """The dice of `draw` where it runs ahead of the training (data/stream.py); None: the same."""

    def at(self, stage: Stage, progress: float) -> Moment:
        return Moment(stage.name, progress, self.rng, self.device)

    def ahead(self, stage: Stage, progress: float) -> Moment:
        return Moment(stage.name, progress, self.rng if self.draws is None else self.draws, self.device)


def train(
    model: Classifier,
    method: Method,
    batches: Batches | PreparedBatches,
    order: BatchOrder,
    clock: Clock,
    recipe: Mapping[str, Any],
    watch: Watch,
    checkpoints: Checkpoints | None = None,
    stopwatch: Stopwatch | None = None,
    features: FrozenFeatures | None = None,
) -> float | None:
    """Train `model` in place for the recipe's epochs.

    Args:
        recipe: epochs, batch_size, schedule, precision, compile as in the suite.
        watch: told at the end of every epoch.
        checkpoints: where training begins from, and what it leaves on its way. None: from the start, and nothing.
        stopwatch: learns where the time goes.
        features: of a frozen tower, for stages that train only what sits on it. None: the tower runs in every step.

    Returns:
        The loss of the first step, before anything was trained; None if there was no step.

    Raises:
        Diverged: the mean loss of an epoch is NaN or infinite.
        NotResumable: the checkpoint does not fit the method.
        ValueError: the method's stages do not share out exactly the recipe's steps.
    """
    steps_per_epoch = len(batches) / recipe["batch_size"]
    total = max(1, math.ceil(recipe["epochs"] * steps_per_epoch - _SLACK))
    meter = LossMeter(steps_per_epoch, total, watch)
    state = {
        "model": model,
        "method": method,
        "order": order,
        "crops": batches.state,
        "dice": clock.rng,
        "meter": meter,
    }
    checkpoints, stages = checkpoints or Checkpoints(), method.stages(model)
    stopwatch = stopwatch or Stopwatch(batches.device)
    for stage, steps in share_out(stages, total):
        if steps == 0 or not stage.train:  # too short for this stage; what happens between stages still does
            continue
        optimizer = stage.optimizer or method.task.optimizer(model.parameters())
        freeze_all_but(model, optimizer)
        network, source = model, batches
        if features is not None:
            network, source = features.serve(model, method, optimizer, batches)
        run = compiled(network, recipe, batches.device) if network is model else network
        schedule = LambdaLR(optimizer, lambda step, n=steps: lr_factor(recipe["schedule"], step / n))  # type: ignore[misc]
        draw = partial(_draw, method, order, clock, stage, steps)
        live = {**state, "stage": stage, "optimizer": optimizer, "schedule": schedule}
        for step in checkpoints.steps(stage, steps, total, live, stages):
            stopwatch.start()
            now = clock.at(stage, step / steps)
            x, target = method.mix(*source.next(draw, step, steps), now)
            stopwatch.data_ready()
            optimizer.zero_grad(set_to_none=True)  # before the forward pass: a CUDA graph's gradients do not outlive it
            with precision(recipe, x.device):
                logits = run(x)
            loss = method.loss(logits.float(), target, now)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            stopwatch.stop()
            meter.add(loss.detach())
    checkpoints.close()
    return meter.first


def _draw(method: Method, order: BatchOrder, clock: Clock, stage: Stage, steps: int, step: int) -> NDArray[np.int64]:
    return method.draw(order.next(stage.class_probs), clock.ahead(stage, step / steps))


def share_out(stages: Iterator[Stage], total: int) -> Iterator[tuple[Stage, int]]:
    """Each stage with its number of steps; the shares must sum to 1, so that every method gets the same budget."""
    done = 0.0
    for stage in stages:
        begin, end = round(done * total), round((done + stage.share) * total)
        done += stage.share
        if end > total:
            break
        yield stage, end - begin
    if abs(done - 1.0) > 1e-6:
        raise ValueError(f"the stages' shares sum to {done:g}; they must sum to 1 so that all methods train as long")


def freeze_all_but(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Train what is in the optimizer; freeze everything else and put it in eval mode, or its batch-norm would drift."""
    training = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for p in model.parameters():
        p.requires_grad_(id(p) in training)
    _set_modes(model, True)


def _set_modes(module: nn.Module, inherited: bool) -> None:
    """A module trains if any of its parameters does; one without parameters (dropout) does as its parent."""
    parameters = list(module.parameters())
    module.training = any(p.requires_grad for p in parameters) if parameters else inherited
    for child in module.children():
        _set_modes(child, module.training)


def lr_factor(schedule: Mapping[str, Any], progress: float) -> float:
    """What the learning rate is multiplied by at a position 0 <= progress < 1 of a stage.

    multistep: times gamma at each milestone passed. cosine: half a cosine down to `floor`. constant: 1. The warm-up
    comes first: linear, or in `warmup_stairs` equal steps (5 stairs over 5 of 200 epochs is LDAM-DRW's e/5 for epoch
    e = 1..5).
    """
    warmup, stairs = schedule["warmup"], schedule["warmup_stairs"]
    if progress < warmup:
        done = progress / warmup
        return float(min(stairs, math.floor(done * stairs + _SLACK) + 1) / stairs if stairs else max(done, 1e-3))
    if schedule["name"] == "multistep":
        passed = sum(progress >= milestone - _SLACK for milestone in schedule["milestones"])
        return float(schedule["gamma"] ** passed)
    if schedule["name"] == "cosine":
        floor = schedule["floor"]
        return float(floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))))
    return 1.0


class LossMeter:
    """Adds losses up on the device and looks at them once an epoch, so that a step never waits for the host."""

    def __init__(self, steps_per_epoch: float, total: int, watch: Watch) -> None:
        self._per_epoch, self._total, self._watch = steps_per_epoch, total, watch
        self._sum: Tensor | None = None
        self._first: Tensor | None = None
        self._steps, self._since, self._epoch = 0, 0, 1

    @property
    def first(self) -> float | None:
        """The loss of the first step; looks at it on the host."""
        return None if self._first is None else float(self._first)

    def add(self, loss: Tensor) -> None:
        self._first = loss if self._first is None else self._first
        self._sum = loss if self._sum is None else self._sum + loss
        self._steps, self._since = self._steps + 1, self._since + 1
        if self._steps >= self._epoch * self._per_epoch - _SLACK or self._steps == self._total:
            self._close_epoch()

    def _close_epoch(self) -> None:
        assert self._sum is not None
        mean, epochs = float(self._sum) / self._since, self._steps / self._per_epoch
        if not math.isfinite(mean):
            raise Diverged(f"the training loss became {mean} by epoch {epochs:.1f} (step {self._steps}): lower the "
                           f"learning rate or lengthen the warm-up")  # fmt: skip
        self._sum, self._since = None, 0
        self._epoch = math.floor(epochs + _SLACK) + 1
        self._watch(epochs, mean)
