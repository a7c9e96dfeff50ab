"""The contract's first part: one batch of the made-up task through all hooks of a method."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ltbench.api import Method, Moment, Stage
from ltbench.parts import Classifier
from ltbench.training.engine import Clock, Setup, gradients, in_float32, look
from ltbench.training.hooks import checked_stages
from ltbench.training.madeup import COUNTS, RECIPE, batches, images, model_for, order_for, task_for


def batch_problems(cls: type[Method]) -> Iterator[str]:
    """What is wrong with what the hooks give for one batch, as sentences."""
    y = images()[1]
    method = cls(task_for(cls))
    model = model_for(method)
    clock = Clock(np.random.default_rng(0), torch.device("cpu"))
    stage = _first_stage(method, model, Setup(batches(), order_for(0), clock, RECIPE))
    index = np.random.default_rng(1).permutation(len(y))[:16].astype(np.int64)
    drawn = method.draw(index, clock.ahead(stage, 0.9))
    if drawn.min() < 0 or drawn.max() >= len(y):
        yield "draw gives positions outside the training set"
        return
    now = clock.at(stage, 0.9, drawn)
    mixed, target = method.mix(*batches(views=len(cls.views)).batch(drawn), now)
    if target.ndim != 2 or target.shape[1] != len(COUNTS) or len(target) != len(mixed):
        yield (
            f"mix must give a target of shape ({len(mixed)}, {len(COUNTS)}), it gives {tuple(target.shape)}; "
            "`self.task.one_hot` makes one of labels"
        )
        return
    if not torch.allclose(target.sum(dim=1), torch.ones(len(target)), atol=1e-5) or (target < -1e-6).any():
        yield "the rows of mix's target are not distributions: they must be >= 0 and sum to 1"
    yield from _model_problems(method, model, stage, mixed, target, now)


def _first_stage(method: Method, model: Classifier, setup: Setup) -> Stage:
    """The first stage that trains, after those before it that only look."""
    for stage in checked_stages(method, method.stages(model)):
        if not stage.plain:
            return stage
        look(model, method, setup, stage)
    raise ValueError("the stages train nothing: none of them has a share of the steps")


def _model_problems(
    method: Method, model: Classifier, stage: Stage, x: Tensor, target: Tensor, now: Moment
) -> Iterator[str]:
    """A batch through the model, forward, loss, step and predict."""
    features = model.backbone(x)
    if len(features) != len(x):
        yield (
            f"the backbone gives features of length {len(features)} for {len(x)} images: the first dimension is the "
            "images, which the test pass counts on; several experts' features are (N, K, dim)"
        )
        return
    loss = method.loss(in_float32(method.forward(model, x, now)), target, now)
    if loss.ndim != 0:
        yield f"loss must be a single number, it has shape {tuple(loss.shape)}"
        return
    optimizer = stage.optimizer or method.task.optimizer(model.parameters())
    once = partial(gradients, method, model, optimizer, RECIPE, x, target, now)
    once()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    if not found or not all(bool(torch.isfinite(grad).all()) for grad in found):
        yield "loss has no finite gradient"
    if not isinstance(told := method.step(once, optimizer, now), Tensor) or told.ndim != 0:
        yield "step must return the loss, a single number, as `gradients` gives it"
    with torch.no_grad():
        logits = model.eval()(x)
        try:
            corrected = method.predict(logits)
        except Exception:  # it may read what the training brings; whether it works then, the trainings show
            return
    if corrected.shape != (len(x), len(COUNTS)):
        yield f"predict must give logits of shape ({len(x)}, {len(COUNTS)}), it gives {tuple(corrected.shape)}"
