"""LADE: balanced softmax, and logits that estimate how much likelier an image is under its class than under all."""

from __future__ import annotations

import math

from torch import Tensor

from ltbench.api import Choice, Moment, hp

from .balanced_softmax import BalancedSoftmax


class Lade(BalancedSoftmax):
    """Balanced softmax plus a regularised estimate of each class's log-likelihood ratio."""

    paper = (
        "Hong, Han, Choi, Seo, Kim, Chang. Disentangling Label Distribution for Long-Tailed Visual Recognition. CVPR "
        "2021, equations 8 to 11."
    )
    defaults_from = "LADE, config/CIFAR100_LT/lade.yaml (weight 0.1, lambda 0.1)"
    weight: float = hp(0.1, "of the estimate; 0 is balanced softmax", search=Choice(0.01, 0.05, 0.1, 0.5), low=0.0)
    decay: float = hp(0.1, "the paper's lambda: keeps the estimate's partition term near 0", low=0.0)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target, now) + self.weight * self.estimate(logits, target)

    def estimate(self, logits: Tensor, target: Tensor) -> Tensor:
        """Minus the regularised Donsker-Varadhan bounds of all classes, weighted by their frequencies."""
        mass, prior = target.sum(dim=0), (self.task.counts / self.task.counts.sum()).to(logits)
        own = (target * logits).sum(dim=0) / (mass + 1e-8)
        # Weights prior(y) -> 1 / C turn the batch, which is long-tailed, into a uniform one.
        spread = logits - (prior + 1e-9).log() - math.log(self.task.num_classes)
        partition = spread.logsumexp(dim=0) - math.log(len(logits))
        return -((own - partition - self.decay * partition.square()) * prior).sum()
