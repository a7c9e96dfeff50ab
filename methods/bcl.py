"""BCL: cosines with logit adjustment on one view, balanced contrastive learning on two others.

As in the authors' code: the contrastive loss averages over the entries of a class in the batch, the class's centre
among them, and the centres are a perceptron's image of the class vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy


def perceptron(dim: int, width: int) -> nn.Sequential:
    """(N, dim) -> (N, width)."""
    return nn.Sequential(nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.ReLU(inplace=True), nn.Linear(dim, width))


class BalancedContrastive(Method):
    """Logit-adjusted cosines, and a contrastive loss in which classes weigh alike and each has a centre."""

    paper = (
        "Zhu, Wang, Chen, Chen, Jiang. Balanced Contrastive Learning for Long-Tailed Visual Recognition. CVPR 2022, "
        "equations 5 to 8."
    )
    defaults_from = "Balanced-Contrastive-Learning, main.py (0.35, temperature 0.07, scale 30), features of 128 numbers"
    views = (0, 1, 1)
    contrast: float = hp(
        0.35, "weight of the contrastive loss; 0 is the classifier alone", search=Choice(0.2, 0.35, 0.6), low=0.0
    )
    temperature: float = hp(0.07, "what contrasted cosines are divided by", search=Choice(0.07, 0.1), above=0.0)
    scale: float = hp(30.0, "what the classifier's cosines are multiplied by", above=0.0)
    width: int = hp(128, "numbers of a contrasted feature", search=Choice(64, 128), low=1)

    def head(self, dim: int) -> nn.Module:
        return self.task.cosine_head(dim, self.scale)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        dim = int(model.backbone.dim)  # type: ignore[arg-type]
        self.project = perceptron(dim, self.width).to(self.task.device)
        self.place = perceptron(dim, self.width).to(self.task.device)
        trained = [*model.parameters(), *self.project.parameters(), *self.place.parameters()]
        yield Stage(optimizer=self.task.optimizer(trained))

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        return x.flatten(0, 1), self.task.one_hot(y).repeat(3, 1)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        features = model.backbone(x)
        contrasted = self.project(features)
        first = len(x) // 3
        centres = self.place(model.head.get_parameter("weight"))
        return model.classify(features[:first]), contrasted[first:], centres

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        logits, contrasted, centres = out
        own = target[: len(logits)]
        plain = cross_entropy(logits + self.task.log_prior, own)
        return plain + self.contrast * self.contrastive(contrasted, own.repeat(2, 1), centres)

    def contrastive(self, features: Tensor, classes: Tensor, centres: Tensor) -> Tensor:
        """Features (2 B, width) of classes (2 B, C), and a centre per class (C, width) -> a number."""
        unit = F.normalize(torch.cat([features, centres]), dim=1)
        kinds = torch.cat([classes, torch.eye(len(centres), device=classes.device).to(classes)])
        z = unit[: len(features)] @ unit.T / self.temperature
        others = 1 - torch.eye(*z.shape, device=z.device).to(z)
        positive = classes @ kinds.T * others
        entries = kinds @ kinds.sum(dim=0)  # of each one's class, itself included
        log_p = z - (z + (others / (entries - positive)).log()).logsumexp(dim=1, keepdim=True)
        return -((positive * log_p).sum(dim=1) / positive.sum(dim=1)).mean()
