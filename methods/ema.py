"""Averaged weights: plain training, tested with the moving average of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, Ema


class AveragedWeights(Method):
    """Cross-entropy, tested with the moving average of the weights."""

    paper = "Tarvainen, Valpola. Mean Teachers Are Better Role Models. NIPS 2017, section 2: the teacher's weights."
    defaults_from = (
        "mean-teacher (0.999, at step t at most 1 - 1 / (t + 1)); batch-norm's statistics are averaged alike"
    )
    decay: float = hp(
        0.999, "how much of the average a step keeps; 0 is plain training", search=Choice(0.99, 0.999), low=0.0,
        high=0.99999,
    )  # fmt: skip

    def stages(self, model: Classifier) -> Iterator[Stage]:
        self.steps = 0
        self.average = Ema(model)
        yield from super().stages(model)
        self.average.put_in_place()

    def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        loss = super().step(gradients, optimizer, now)
        self.steps += 1
        self.average.update(min(1 - 1 / (self.steps + 1), self.decay))
        return loss
