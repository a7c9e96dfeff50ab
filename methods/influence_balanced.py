"""Influence-balanced loss: after plain training, an image counts less the more it moves the decision boundary.

As in the authors' code the learning rate is a hundredth in the second half. Here each half has the recipe's schedule;
there the first has a constant rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy, power_weights


class InfluenceBalanced(Method):
    """Plain training, then images weighted by the inverse of their influence and class frequency."""

    paper = (
        "Park, Lim, Jeon, Choi. Influence-Balanced Loss for Imbalanced Visual Classification. ICCV 2021, equations 6 "
        "to 9, algorithm 1."
    )
    defaults_from = "IB-Loss, cifar_train.py (alpha 1000, epsilon 0.001, from epoch 100 of 200, rate times 0.01)"
    strength: float = hp(1000.0, "the code's alpha: what all weights are multiplied by", search=Choice(100.0, 1000.0),
                         above=0.0)  # fmt: skip
    epsilon: float = hp(0.001, "what is added to an influence before it divides", above=0.0)
    balanced_share: float = hp(0.5, "fraction of the steps with the weights", above=0.0, high=0.9)
    rate: float = hp(0.01, "what the learning rate is multiplied by in these", search=Choice(0.01, 0.1), above=0.0)

    @cached_property
    def weight(self) -> Tensor:
        """(C,) inverse frequencies, scaled to sum to C."""
        return power_weights(self.task.counts, 1.0)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("plain", share=1 - self.balanced_share)
        optimizer = self.task.optimizer(model.parameters())
        for group in optimizer.param_groups:
            group["lr"] *= self.rate
        yield Stage("balanced", share=self.balanced_share, optimizer=optimizer)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        if now.stage != "balanced":
            return super().forward(model, x, now)
        features = model.backbone(x)
        return model.classify(features), features

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        if now.stage != "balanced":
            return cross_entropy(out, target)
        logits, features = torch.as_tensor(out[0]), torch.as_tensor(out[1])
        influence = (logits.softmax(dim=1) - target).abs().sum(dim=1) * features.abs().sum(dim=1)
        each = -(target * self.weight * logits.log_softmax(dim=1)).sum(dim=1)
        return (each * self.strength / (influence + self.epsilon)).mean()
