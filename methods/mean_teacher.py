"""Mean teacher: the network must agree, on another view of the image, with the moving average of its own weights.

Made for images without labels; here it sees those of the training set. Tested with the teacher's weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ltbench.api import Choice, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy

from .ema import AveragedWeights


class MeanTeacher(AveragedWeights):
    """Cross-entropy, and agreement with the moving average of the weights on another view."""

    paper = "Tarvainen, Valpola. Mean Teachers Are Better Role Models. NIPS 2017, section 2, appendix B."
    defaults_from = "mean-teacher, PyTorch, CIFAR-10 (mean squared error of probabilities, weight 100, 5 of 180 epochs)"
    views = (0, 0)
    consistency: float = hp(
        100.0, "weight of the agreement; 0 leaves the average alone", search=Choice(10.0, 100.0), low=0.0
    )
    ramp: float = hp(5 / 180, "fraction of the training in which this weight rises", above=0.0, high=1.0)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        for stage in super().stages(model):
            self.average.model.train()  # batch-norm as the student's
            yield stage

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        risen = min(1.0, now.progress / self.ramp)
        # As a tensor: `forward` can then be recorded as a CUDA graph.
        self.weight = torch.full((), self.consistency * math.exp(-5 * (1 - risen) ** 2), device=x.device)
        return x.flatten(0, 1), self.task.one_hot(y).repeat(2, 1)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        first, second = x.chunk(2)
        return model(first), self.average(second), self.weight

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        own, taught, weight = out
        apart: Tensor = weight * (own.softmax(dim=1) - taught.softmax(dim=1)).square().mean()
        return cross_entropy(own, target[: len(own)]) + apart
