"""MiSLAS: a representation trained with mixup, then a classifier whose labels are smoothed by class frequency.

In the second stage, as in the authors' code, the backbone's weights are fixed, its batch-norm follows the
class-balanced batches, and every class's logits have a scale that is learned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.api import Choice, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy, power_probs

from .mixup import Mixup


class Scaled(nn.Module):
    """A classifier whose logits are multiplied by one number per class."""

    def __init__(self, classifier: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.classifier, self.scale = classifier, nn.Parameter(torch.ones(num_classes))

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, dim) -> logits (N, C)."""
        logits: Tensor = self.classifier(features)
        return logits * self.scale


class Mislas(Mixup):
    """mixup, then a classifier on balanced batches with label-aware smoothing."""

    paper = "Zhong, Cui, Liu, Jia. Improving Calibration for Long-Tailed Recognition. CVPR 2021, equations 3 to 5, 3.3."
    defaults_from = (
        "MiSLAS, cifar100_imb001_stage2_mislas (0.4, 0.1, a fifth of the rate; 10 epochs after 200, within them)"
    )
    smooth_head: float = hp(0.4, "how far the most frequent class's labels are smoothed", low=0.0, high=0.99)
    smooth_tail: float = hp(0.1, "how far the rarest class's labels are smoothed", low=0.0, high=0.99)
    classifier_share: float = hp(0.05, "fraction of the steps that trains the classifier", above=0.0, high=0.9)
    classifier_rate: float = hp(
        0.2, "the classifier's learning rate, as a part of that of its scales", search=Choice(0.1, 0.2, 0.5), above=0.0
    )

    @cached_property
    def smoothing(self) -> Tensor:
        """(C,) how far each class's labels are smoothed: a quarter of a sine from the rarest to the most frequent."""
        low, high = self.task.counts.min(), self.task.counts.max()
        place = (self.task.counts - low) / (high - low).clamp(min=1)
        return self.smooth_tail + (self.smooth_head - self.smooth_tail) * torch.sin(place * (math.pi / 2))

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("representation", share=1 - self.classifier_share)
        scaled = Scaled(model.head, self.task.num_classes).to(self.task.device)
        model.head = scaled
        optimizer = self.task.optimizer([{"params": scaled.classifier.parameters()}, {"params": [scaled.scale]}])
        optimizer.param_groups[0]["lr"] *= self.classifier_rate
        balanced = power_probs(self.task.class_counts, 0.0)
        yield Stage("classifier", share=self.classifier_share, optimizer=optimizer, class_probs=balanced)

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        return (x, self.task.one_hot(y)) if now.stage == "classifier" else super().mix(x, y, now)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        if now.stage != "classifier":
            return super().forward(model, x, now)
        with torch.no_grad():
            features = model.backbone.train()(x)
        return model.classify(features)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        if now.stage != "classifier":
            return cross_entropy(logits, target)
        smoothed = (target * self.smoothing).sum(dim=1, keepdim=True)
        kept = target * (1 - self.smoothing)
        return cross_entropy(logits, kept + smoothed / self.task.num_classes)
