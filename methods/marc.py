"""MARC: a plainly trained model whose margins are then calibrated, by a scale and an offset per class."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy, power_weights


class Calibrated(nn.Module):
    """A classifier whose logits z become omega z + beta |w|: omega and beta one per class, |w| its vector's length."""

    length: Tensor

    def __init__(self, classifier: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.classifier = classifier
        self.omega, self.beta = nn.Parameter(torch.ones(num_classes)), nn.Parameter(torch.zeros(num_classes))
        self.register_buffer("length", classifier.get_parameter("weight").detach().norm(dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, dim) -> calibrated logits (N, C)."""
        logits: Tensor = self.classifier(features)
        return self.omega * logits + self.beta * self.length


class MarginCalibration(Method):
    """Plain training, then a scale and a margin per class alone are learned on a re-weighted loss."""

    paper = (
        "Wang, Zhang, Hou, Wu, Wang, Shinozaki. Margin Calibration for Long-Tailed Visual Recognition. ACML 2022, "
        "section 3."
    )
    defaults_from = (
        "microsoft/robustlearn, marc, config/CIFAR100_LT/MARC_100.yaml (weights n^-1.2; 2,000 steps after 13,000, out "
        "of the recipe's budget, not added)"
    )
    needs = frozenset({"linear_head"})  # on cosines all class vectors are as long
    rho: float = hp(
        1.2, "how strongly rarer classes are weighted: 0 not, 1 inversely", search=Choice(0.5, 1.0, 1.2, 1.5)
    )
    calibration_share: float = hp(0.13, "fraction of the steps that trains the calibration", above=0.0, high=0.9)

    @cached_property
    def weight(self) -> Tensor:
        """(C,) class weights that sum to C."""
        return power_weights(self.task.counts, self.rho)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("representation", share=1 - self.calibration_share)
        calibrated = Calibrated(model.head, self.task.num_classes).to(self.task.device)
        model.head = calibrated
        optimizer = self.task.optimizer([calibrated.omega, calibrated.beta])
        yield Stage("calibration", share=self.calibration_share, optimizer=optimizer)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits, target, self.weight if now.stage == "calibration" else None)
