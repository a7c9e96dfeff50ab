"""The one training loop. A method changes it through its eight hooks only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from ltbench.training.budget import Spent, images_per_example
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.checkpoints.live import LiveState
from ltbench.training.device.compiled import compiled
from ltbench.training.device.stopwatch import Stopwatch
from ltbench.training.evaluation import precision
from ltbench.training.frozen import FrozenFeatures
from ltbench.training.graph.use import GraphUse
from ltbench.training.hooks import LearningRates, checked_loss, checked_mix, checked_stages
from ltbench.training.schedule import SLACK, lr_at, share_out, to_next_rate

Watch = Callable[[float, float], None]
"""Told at the end of every epoch: the epochs done, and the mean training loss since it was last told."""


class Diverged(Exception):
    """The loss is not a number any more; the trial has failed."""


@dataclass
class Clock:
    """Makes the Moments: where training stands, and the method's random numbers.

    Attributes:
        rng: of all hooks. draws: of `draw` alone, where it runs ahead of the training (data/stream.py); None: `rng`.
    """

    rng: np.random.Generator
    device: torch.device
    draws: np.random.Generator | None = None

    def at(self, stage: Stage, progress: float, index: NDArray[np.int64] | None = None) -> Moment:
        """The moment of all hooks but `draw`; 0 <= progress < 1 is the position in the stage, `index` the batch."""
        return Moment(stage.name, progress, self.rng, self.device, index)

    def ahead(self, stage: Stage, progress: float) -> Moment:
        """The moment of `draw`."""
        return Moment(stage.name, progress, self.rng if self.draws is None else self.draws, self.device)


@dataclass
class Setup:
    """What a model is trained on and how, beside its method.

    Attributes:
        batches: the training images. order: in which they are seen. clock: makes the hooks' moments.
        recipe: epochs, batch_size, schedule, precision, compile as in the suite.
        watch: called at the end of every epoch with the epochs done and the mean training loss since the last call.
        checkpoints: where training begins from, and what it leaves on its way. By default the start, and nothing.
        stopwatch: learns where the time goes; None where nobody asks.
        features: of a frozen tower, for stages that train only what sits on it. None: the tower runs in every step.
        graphs: whether passes are recorded as CUDA graphs, which changes no number; None: they are not.
        spent: counts what the training costs.
    """

    batches: Batches | PreparedBatches
    order: BatchOrder
    clock: Clock
    recipe: Mapping[str, Any]
    watch: Watch = lambda epochs, loss: None
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    stopwatch: Stopwatch | None = None
    features: FrozenFeatures | None = None
    graphs: GraphUse | None = None
    spent: Spent = field(default_factory=Spent)


def train(model: Classifier, method: Method, setup: Setup) -> float | None:
    """Train `model` in place for the recipe's epochs.

    Returns:
        The loss of the first step, before anything was trained; None if there was no step.

    Raises:
        Diverged: the mean loss of an epoch is NaN or infinite.
        NotResumable: the checkpoint does not fit the method.
        Unfaithful: a recorded pass does not compute what the method does.
        ValueError: the method's stages do not share out exactly the recipe's steps.
    """
    graphs = setup.graphs or GraphUse("eager", setup.batches.device)
    with graphs.stream():
        return _train(model, method, setup, graphs)


def _train(model: Classifier, method: Method, setup: Setup, graphs: GraphUse) -> float | None:
    batches, recipe, clock, spent = setup.batches, setup.recipe, setup.clock, setup.spent
    stopwatch = setup.stopwatch or Stopwatch(batches.device)
    each = images_per_example(method, recipe["batch_size"]) if recipe.get("budget") == "images" else 1.0
    meter = LossMeter(len(batches) / (recipe["batch_size"] * each), recipe["epochs"])
    spent.begin(model)
    stages, rates = method.stages(model), LearningRates()
    for stage, steps in share_out(checked_stages(method, stages), meter.total):
        if stage.plain:
            look(model, method, setup, stage)
            continue
        if steps == 0 or not stage.train:  # too short for this stage; what happens between stages still does
            continue
        optimizer = stage.optimizer or method.task.optimizer(model.parameters())
        freeze_all_but(model, optimizer)
        spent.trains(optimizer, steps)
        network, source = model, batches
        if setup.features is not None:
            network, source = setup.features.serve(model, method, optimizer, batches)
        if network is model:
            network = compiled(model, recipe, batches.device, whole=type(method).forward is Method.forward)
        rates.check(method, optimizer)
        schedule = LambdaLR(optimizer, lambda step, n=steps, at=stage: lr_at(recipe["schedule"], at, n, step))  # type: ignore[misc]
        draw = partial(_draw, method, setup.order, clock, stage, steps)
        eager = partial(gradients, method, network, optimizer, recipe)
        passes = spent.counting(graphs.passes(eager, network, method, optimizer, steps))
        updates = graphs.updates(method, optimizer)
        live = LiveState(model, method, setup.order, batches.state, clock.rng, meter, stage, optimizer, schedule)
        for step in setup.checkpoints.steps(live, steps, meter.total, stages):
            stopwatch.start()
            index, x, y = source.next(draw, step, steps)
            now = clock.at(stage, step / steps, index)
            x, target = checked_mix(method, method.mix(x, y, now), len(y))
            stopwatch.data_ready()
            loss = method.step(partial(passes, x, target, now), updates, now)
            spent.stepped(len(index))
            to_next_rate(schedule)
            stopwatch.stop()
            meter.add(loss.detach())
            if meter.epoch_is_over:
                setup.watch(*meter.close_epoch())
        rates.leave(optimizer)
    setup.checkpoints.close()
    return meter.first


@torch.no_grad()
def look(model: Classifier, method: Method, setup: Setup, stage: Stage) -> None:
    """All training images in their order, not augmented, through `forward` and `loss`; leaves the model as it was.

    Also where a training is resumed behind this stage: what the method computes from it then is put right with the rest
    of the state, but the method's own code may need something to compute with.
    """
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    first, labels = 0, torch.from_numpy(method.task.labels).to(setup.batches.device)
    try:
        for x in setup.batches.in_order(setup.recipe["batch_size"]):
            index = np.arange(first, first + len(x))
            now = setup.clock.at(stage, first / len(labels), index)
            with precision(setup.recipe, x.device):
                out = method.forward(model, x, now)
            method.loss(in_float32(out), method.task.one_hot(labels[first : first + len(x)]), now)
            setup.spent.looked(len(x))
            first += len(x)
    finally:
        for module, mode in modes:
            module.training = mode


def gradients(
    method: Method,
    network: Classifier,
    optimizer: torch.optim.Optimizer,
    recipe: Mapping[str, Any],
    x: Tensor,
    target: Tensor,
    now: Moment,
) -> Tensor:
    """The loss of a batch at the present weights; its gradients are then in the parameters, in place of older ones."""
    optimizer.zero_grad(set_to_none=True)  # before the forward pass: a CUDA graph's gradients do not outlive it
    with precision(recipe, x.device):
        out = method.forward(network, x, now)
    loss = checked_loss(method, method.loss(in_float32(out), target, now))
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def in_float32(out: Any) -> Any:
    """What `forward` gave, tensors of lower precision in float32: a tensor, or tensors in tuples, lists and dicts."""
    if isinstance(out, Tensor):
        return out.float() if out.is_floating_point() else out
    if isinstance(out, dict):
        return {name: in_float32(value) for name, value in out.items()}
    if isinstance(out, tuple) and hasattr(out, "_make"):
        return type(out)._make(map(in_float32, out))
    return type(out)(map(in_float32, out)) if isinstance(out, tuple | list) else out


def _draw(method: Method, order: BatchOrder, clock: Clock, stage: Stage, steps: int, step: int) -> NDArray[np.int64]:
    return method.draw(order.next(stage.class_probs), clock.ahead(stage, step / steps))


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


class LossMeter:
    """Adds losses up on the device and looks at them once an epoch, so that a step never waits for the host.

    Args:
        steps_per_epoch: need not be whole. epochs: of the whole training, need not be whole either.
    """

    def __init__(self, steps_per_epoch: float, epochs: float) -> None:
        self._per_epoch = steps_per_epoch
        self._total = max(1, math.ceil(epochs * steps_per_epoch - SLACK))
        self._sum: Tensor | None = None
        self._first: Tensor | None = None
        self._steps, self._since, self._epoch = 0, 0, 1

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self._total

    @property
    def first(self) -> float | None:
        """The loss of the first step; looks at it on the host."""
        return None if self._first is None else float(self._first)

    @property
    def epoch_is_over(self) -> bool:
        """The last step was the last of an epoch, or of the training."""
        return self._steps >= self._epoch * self._per_epoch - SLACK or self._steps == self._total

    def add(self, loss: Tensor) -> None:
        """Count the loss of a step, a detached scalar."""
        self._first = loss if self._first is None else self._first
        self._sum = loss if self._sum is None else self._sum + loss
        self._steps, self._since = self._steps + 1, self._since + 1

    def close_epoch(self) -> tuple[float, float]:
        """The epochs done and the mean loss since the last call; waits for the device.

        Raises:
            Diverged: the mean is NaN or infinite.
        """
        assert self._sum is not None
        mean, epochs = float(self._sum) / self._since, self._steps / self._per_epoch
        if not math.isfinite(mean):
            raise Diverged(f"the training loss became {mean} by epoch {epochs:.1f} (step {self._steps}): lower the "
                           f"learning rate or lengthen the warm-up")  # fmt: skip
        self._sum, self._since = None, 0
        self._epoch = math.floor(epochs + SLACK) + 1
        return epochs, mean
