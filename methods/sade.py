"""SADE: three experts, for a long-tailed, a uniform and an inversely long-tailed test set.

Tested with their mean, as the authors do where the test set is uniform. Not taken over from their code: weights of the
experts learned on two views of the test images, for test sets of unknown shape; the narrower last stages.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, Heads, cross_entropy, split_last_stage


class Sade(Method):
    """Three experts, for the training set's, a uniform and the inverse long tail."""

    paper = (
        "Zhang, Hooi, Hong, Feng. Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed "
        "Recognition. NeurIPS 2022, equations 2 to 4."
    )
    defaults_from = "SADE, config_cifar100_ir100_sade (lambda 2, cosine heads of scale 30)"
    needs = frozenset({"stages"})
    strength: float = hp(2.0, "how strongly the third expert's long tail is inverted", search=Choice(1.0, 2.0), low=0.0)
    scale: float = hp(30.0, "what the cosines are multiplied by before the softmax", above=0.0)
    own_stages: int = hp(
        2, "how many of the backbone's last stages each expert has for itself", search=Choice(1, 2), low=1, high=2
    )

    @cached_property
    def shifts(self) -> Tensor:
        """(3, C): what is added to each expert's logits while training."""
        prior = self.task.counts.double() / self.task.counts.double().sum()
        order = prior.argsort(stable=True)
        inverse = torch.empty_like(prior)
        inverse[order] = prior[order.flip(0)]  # the rarest class has the share of the most frequent one
        log_prior, log_inverse = (prior + 1e-9).log(), (inverse + 1e-9).log()
        shifts = [torch.zeros_like(prior), log_prior, log_prior - self.strength * log_inverse]
        return torch.stack(shifts).to(self.task.counts)

    def head(self, dim: int) -> nn.Module:
        return Heads([self.task.cosine_head(dim, self.scale) for _ in range(3)])

    def stages(self, model: Classifier) -> Iterator[Stage]:
        model.backbone = split_last_stage(model.backbone, 3, self.own_stages)
        yield from super().stages(model)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        """logits: (B, 3, C) of all experts."""
        shifted = logits + self.shifts
        return (
            cross_entropy(shifted[:, 0], target)
            + cross_entropy(shifted[:, 1], target)
            + cross_entropy(shifted[:, 2], target)
        )

    def predict(self, logits: Tensor) -> Tensor:
        return logits.mean(dim=1)
