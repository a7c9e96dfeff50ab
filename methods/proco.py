"""ProCo: contrast with every class's distribution of features on the sphere instead of with a batch.

A class is a von Mises-Fisher distribution around the mean of its features. Their expected contrast has a closed form
with Bessel functions, here by their uniform expansion for large orders. As in the authors' code: means of this epoch so
far over those of the last, the classifier's loss adjusted by the prior like the contrast, tested by the classifier
alone. An epoch begins anew at the directions that were drawn at first (there new ones are drawn).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy

LARGEST = 1e5
"""Concentration of a class whose features are all but the same."""


def log_bessel(kappa: Tensor, order: float) -> Tensor:
    """log I(kappa) - order * log(kappa) for the modified Bessel function of a large order, up to a constant: the first
    five terms of its uniform expansion (Abramowitz and Stegun 9.7.7). Smooth at 0."""
    root = (1 + (kappa / order).square()).sqrt()
    t = 1 / root
    first = (3 * t - 5 * t**3) / 24
    second = (81 * t**2 - 462 * t**4 + 385 * t**6) / 1152
    third = (30375 * t**3 - 369603 * t**5 + 765765 * t**7 - 425425 * t**9) / 414720
    fourth = 4465125 * t**4 - 94121676 * t**6 + 349922430 * t**8 - 446185740 * t**10 + 185910725 * t**12
    terms = first / order + second / order**2 + third / order**3 + fourth / 39813120 / order**4
    return order * (root - (1 + root).log()) - root.log() / 2 + terms.log1p()


class ProbabilisticContrast(Method):
    """Logit-adjusted classifier, and the expected contrast with each class's distribution of features."""

    paper = (
        "Du, Wang, Song, Huang. Probabilistic Contrastive Learning for Long-Tailed Visual Recognition. TPAMI 2024, "
        "propositions 1 and 2."
    )
    defaults_from = "ProCo, ProCo_cifar (weight 1, temperature 0.1, features of 128 numbers)"
    views = (0, 1, 1)
    contrast: float = hp(
        1.0, "weight of the contrastive loss; 0 is the classifier alone", search=Choice(0.5, 1.0), low=0.0
    )
    temperature: float = hp(0.1, "what contrasted cosines are divided by", search=Choice(0.07, 0.1), above=0.0)
    width: int = hp(128, "numbers of a contrasted feature", search=Choice(64, 128), low=16)

    seen = 0
    """Images of this epoch so far."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        dim, device = int(model.backbone.dim), self.task.device  # type: ignore[arg-type]
        layers = nn.Linear(dim, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, self.width)
        self.project = nn.Sequential(*layers).to(device)
        self.start = 0.9 * F.normalize(torch.randn(self.task.num_classes, self.width), dim=1).to(device)
        # Of the last epoch with this one's images, and of this one alone.
        self.means = [self.start.clone(), self.start.clone()]
        self.amounts = [torch.zeros_like(self.task.counts), torch.zeros_like(self.task.counts)]
        yield Stage(optimizer=self.task.optimizer([*model.parameters(), *self.project.parameters()]))

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        self.labels = self.task.one_hot(y)
        if self.seen >= len(self.task.labels):
            self.begin_epoch()
        self.seen += len(y)
        return x.flatten(0, 1), self.labels.repeat(3, 1)

    def begin_epoch(self) -> None:
        """What this epoch's images said becomes what the last one's said."""
        for both, fresh in ((self.means, self.start), (self.amounts, torch.zeros_like(self.amounts[0]))):
            both[0].copy_(both[1])
            both[1].copy_(fresh)
        self.seen = 0

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        features = model.backbone(x)
        first = len(x) // 3
        contrasted = F.normalize(self.project(features[first:]).float(), dim=1).view(2, first, -1)
        means = []
        for view in contrasted.detach():
            self.count(view)
            means.append(self.means[0].clone())
        return model.classify(features[:first]), contrasted, torch.stack(means)

    @torch.no_grad()
    def count(self, features: Tensor) -> None:
        """Add unit features (B, width) of the present labels to the classes' means."""
        number = self.labels.sum(dim=0)
        batch = self.labels.T @ features / number.clamp(min=1)[:, None]
        for mean, amount in zip(self.means, self.amounts, strict=True):
            share = number / (number + amount).clamp(min=1)
            mean.lerp_(batch, share[:, None])
            amount.add_(number)

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        logits, contrasted, means = out
        own = target[: len(logits)]
        apart = [
            cross_entropy(self.expected(z, mean).to(logits) + self.task.log_prior, own)
            for z, mean in zip(contrasted, means, strict=True)
        ]
        return cross_entropy(logits + self.task.log_prior, own) + self.contrast * torch.stack(apart).mean()

    def expected(self, features: Tensor, means: Tensor) -> Tensor:
        """Unit features (B, width) and means of unit features (C, width) -> (B, C), the logarithm of the expected
        exponential similarity with each class."""
        width, z, means = features.shape[1], features.double(), means.double()
        length = means.norm(dim=1)
        kappa = width * length / (1 - length.square())
        kappa = torch.where((kappa < 0) | (kappa > LARGEST), LARGEST, kappa)
        near = z @ F.normalize(means, dim=1).T / self.temperature
        square = kappa.square() + 2 * kappa * near + z.square().sum(dim=1, keepdim=True) / self.temperature**2
        order = width / 2 - 1
        return log_bessel(square.clamp(min=1e-12).sqrt(), order) - log_bessel(kappa, order)
