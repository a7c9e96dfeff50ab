"""Weight balancing: a strong weight decay, then a classifier whose class vectors may not grow beyond a ball.

Not taken over from the authors' code: their class-balanced loss is a binary cross-entropy on softmax scores; here it is
the cross-entropy of the paper's equation. They shorten class vectors at the end of every epoch, here after every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy, effective_number_weights


class WeightBalancing(Method):
    """Strong weight decay, then the classifier alone: class weights, weight decay and MaxNorm."""

    paper = (
        "Alshammari, Wang, Ramanan, Kong. Long-Tailed Recognition via Weight Balancing. CVPR 2022, equations 3 to 5."
    )
    defaults_from = (
        "LTR-weight-balancing, demo 1 and 2, CIFAR-100-LT (5e-3; 0.1, threshold 0.1, rate 0.01, beta 0.9999)"
    )
    needs = frozenset({"linear_head"})
    weight_decay: float = hp(
        5e-3, "of the first stage, in place of the recipe's", search=Choice(5e-4, 2e-3, 5e-3), low=0.0
    )
    classifier_share: float = hp(0.05, "fraction of the steps that trains the classifier", above=0.0, high=0.9)
    classifier_decay: float = hp(0.1, "weight decay of the classifier", search=Choice(0.01, 0.1), low=0.0)
    classifier_lr: float = hp(0.01, "learning rate of the classifier", above=0.0)
    threshold: float = hp(
        0.1, "radius of the ball: how far from the shortest class vector to the longest", search=Choice(0.0, 0.1, 0.5),
        low=0.0, high=1.0,
    )  # fmt: skip
    beta: float = hp(0.9999, "effective number's beta of the class weights", low=0.0, high=0.999999)

    @cached_property
    def weight(self) -> Tensor:
        """(C,) class weights that sum to C."""
        return effective_number_weights(self.task.counts, self.beta)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        plain = self.task.optimizer(model.parameters(), weight_decay=self.weight_decay)
        yield Stage("representation", share=1 - self.classifier_share, optimizer=plain)
        self.vectors = model.head.get_parameter("weight")
        lengths = self.vectors.detach().norm(dim=1)
        self.radius = lengths.min() + self.threshold * (lengths.max() - lengths.min())
        optimizer = self.task.optimizer(
            model.head.parameters(), lr=self.classifier_lr, weight_decay=self.classifier_decay
        )
        yield Stage("classifier", share=self.classifier_share, optimizer=optimizer)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits, target, self.weight if now.stage == "classifier" else None)

    def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        loss = super().step(gradients, optimizer, now)
        if now.stage == "classifier":
            with torch.no_grad():
                lengths = self.vectors.norm(dim=1, keepdim=True)
                self.vectors.mul_((self.radius / lengths.clamp(min=1e-12)).clamp(max=1))
        return loss
