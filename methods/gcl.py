"""GCL: cosines of rarer classes are clouded by larger Gaussian noise; then the classifier alone, on balanced batches.

The second stage is the authors' default, class-balanced batches, a margin and focal weights. Their sampling by a
class-based effective number, which they report beside it, is not taken over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from ltbench.api import Choice, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy, power_probs

from .mixup import Mixup


class GaussianClouds(Mixup):
    """Cosines lowered by noise that is larger for rarer classes, and mixup; then the classifier alone."""

    paper = (
        "Li, Cheung, Lu. Long-Tailed Visual Recognition via Gaussian Clouded Logit Adjustment. CVPR 2022, section 3."
    )
    defaults_from = (
        "GCLLoss, losses.py and both cifar_train scripts (noise 0.5, scale 30; then 20, margin 0.1, focal 1, twice the "
        "rate; 30 epochs after 200, out of the recipe's budget, not added)"
    )
    noise: float = hp(0.5, "how far the largest noise lowers the rarest class's cosine", search=Choice(0.2, 0.5, 1.0),
                      low=0.0)  # fmt: skip
    scale: float = hp(30.0, "what cosines are multiplied by while the representation trains", above=0.0)
    classifier_scale: float = hp(20.0, "the same for the classifier, and in the test", above=0.0)
    margin: float = hp(0.1, "what is taken from the true class's cosine while the classifier trains", low=0.0)
    gamma: float = hp(1.0, "how far the classifier looks away from images that it knows", low=0.0)
    classifier_rate: float = hp(2.0, "the classifier's learning rate, as a part of the recipe's", above=0.0)
    classifier_share: float = hp(0.13, "fraction of the steps that trains the classifier", above=0.0, high=0.9)

    @cached_property
    def rarity(self) -> Tensor:
        """(C,) log(n_max / n_c), scaled to 1 for the rarest class; 0 where all classes are alike."""
        behind = self.task.counts.max().log() - self.task.counts.log()
        return behind / behind.max().clamp(min=1e-12)

    def head(self, dim: int) -> nn.Module:
        return self.task.cosine_head(dim, 1.0)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("representation", share=1 - self.classifier_share)
        optimizer = self.task.optimizer(model.head.parameters())
        for group in optimizer.param_groups:
            group["lr"] *= self.classifier_rate
        balanced = power_probs(self.task.class_counts, 0.0)
        yield Stage("classifier", share=self.classifier_share, optimizer=optimizer, class_probs=balanced)

    def loss(self, cosine: Tensor, target: Tensor, now: Moment) -> Tensor:
        cloud = (now.normal(tuple(cosine.shape)) / 3).clamp(-1, 1).abs() * self.rarity
        clouded = cosine - self.noise * cloud
        if now.stage != "classifier":
            return cross_entropy(self.scale * clouded, target)
        # Of a mixed image every class counts by itself, each with the margin on its own cosine.
        logits, shift = self.classifier_scale * clouded, self.classifier_scale * self.margin
        log_p = logits.log_softmax(dim=1)
        alone = torch.log1p(log_p.exp() * math.expm1(-shift)) - log_p + shift
        known = (-alone).exp().detach()
        return (target * (1 - known) ** self.gamma * alone).sum(dim=1).mean()

    def predict(self, logits: Tensor) -> Tensor:
        return self.classifier_scale * logits
