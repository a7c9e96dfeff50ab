"""RIDE: experts on a common trunk that are right each by itself and unlike each other.

Not taken over from the authors' code: the router, which saves computation by asking later experts less often;
distillation from six experts; the narrower last stages (of 24 and 48 filters, instead of 32 and 64, on CIFAR). As in
their code an expert is compared to the mean of all, and classes have their own temperatures after `defer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, Moment, Stage, hp
from ltbench.parts import Classifier, Heads, split_last_stage

from .ldam_drw import LdamDrw


class Ride(LdamDrw):
    """Experts on a common trunk, each with LDAM-DRW, pushed away from their mean."""

    paper = (
        "Wang, Lian, Miao, Liu, Yu. Long-tailed Recognition by Routing Diverse Experts. ICLR 2021, equations 3 to 5."
    )
    defaults_from = "RIDE, config_imbalance_cifar100_ride (3 experts, diversity 0.2, LDAM-DRW as there)"
    needs = frozenset({"stages"})
    experts: int = hp(3, "how many experts", search=Choice(2, 3, 4), low=1, high=8)
    own_stages: int = hp(
        2, "how many of the backbone's last stages each expert has for itself", search=Choice(1, 2), low=1, high=2
    )
    diversity: float = hp(0.2, "how strongly an expert is pushed away from the mean of all", low=0.0)
    tempering: float = hp(
        0.05, "how far the classes' temperatures follow their frequencies after `defer`", low=0.0, high=0.99
    )

    @cached_property
    def temperature(self) -> Tensor:
        """(C,) the classes' temperatures after `defer`, the largest of them 1."""
        frequency = self.task.counts / self.task.counts.sum() * self.task.num_classes
        temperature = self.tempering * frequency + 1 - self.tempering
        return temperature / temperature.max()

    def head(self, dim: int) -> nn.Module:
        return Heads([LdamDrw.head(self, dim) for _ in range(self.experts)])

    def stages(self, model: Classifier) -> Iterator[Stage]:
        model.backbone = split_last_stage(model.backbone, self.experts, self.own_stages)
        yield from super().stages(model)

    def loss(self, cosines: Tensor, target: Tensor, now: Moment) -> Tensor:
        """cosines: (B, K, C) of all experts."""
        each = [LdamDrw.loss(self, z, target, now) for z in cosines.unbind(1)]
        temperature = self.temperature if now.progress >= self.defer else self.temperature.new_ones(1)
        logits = self.scale * cosines
        mean = F.log_softmax(logits.detach().mean(dim=1, keepdim=True) / temperature, dim=-1)
        away = F.kl_div(
            F.log_softmax(logits / temperature, dim=-1), mean.expand_as(logits), reduction="none", log_target=True
        )
        weight = self.diversity * temperature.mean().square()
        return sum(each[1:], each[0]) - weight * away.sum(dim=(1, 2)).mean()

    def predict(self, cosines: Tensor) -> Tensor:
        return super().predict(cosines.mean(dim=1))
