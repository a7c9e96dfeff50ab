"""NCM: a plainly trained representation, and the nearest class mean of the training features as classifier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Method, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy, in_float32


class NearestMean(nn.Module):
    """Features (N, dim) -> minus the squared distances (N, C) to the classes' means."""

    centre: Tensor
    means: Tensor

    def __init__(self, centre: Tensor, means: Tensor, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise
        self.register_buffer("centre", centre)
        self.register_buffer("means", means)

    def place(self, features: Tensor) -> Tensor:
        """Features as they are compared."""
        moved = features - self.centre
        return F.normalize(moved, dim=1) if self.normalise else moved

    def forward(self, features: Tensor) -> Tensor:
        """Logits: the nearest mean has the highest."""
        with in_float32(features.device):
            placed = self.place(features.float())
            return 2 * placed @ self.means.T - self.means.square().sum(dim=1) - placed.square().sum(dim=1, keepdim=True)


class NearestClassMean(Method):
    """Plain training, then the nearest class mean of the training features."""

    paper = (
        "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis. Decoupling Representation and Classifier. ICLR 2020, 4.1."
    )
    defaults_from = "classifier-balancing, KNNClassifier (cl2n, l2: centred features of length 1, Euclidean distance)"
    features: str = hp(
        "centred",
        "what is averaged and compared: features minus their mean made unit length, unit length alone, or as they are",
        choices=("centred", "normalised", "plain"),
    )

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("representation")
        classes, device = self.task.num_classes, self.task.device
        dim = int(model.backbone.dim)  # type: ignore[arg-type]
        self.sum, self.sums = torch.zeros(dim, device=device), torch.zeros(classes, dim, device=device)
        self.nearest = NearestMean(torch.zeros(dim, device=device), self.sums, self.features != "plain")
        if self.features == "centred":
            yield Stage("mean", plain=True)
            self.nearest.centre = self.sum / len(self.task.labels)
        yield Stage("means", plain=True)
        self.nearest.means = self.sums / self.task.counts.clamp(min=1)[:, None]
        model.head = self.nearest

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        return model.backbone(x) if now.stage in ("mean", "means") else super().forward(model, x, now)

    def loss(self, out: Tensor, target: Tensor, now: Moment) -> Tensor:
        if now.stage == "mean":
            self.sum += out.sum(dim=0)
        elif now.stage == "means":
            self.sums += target.T @ self.nearest.place(out)
        else:
            return cross_entropy(out, target)
        return out.new_zeros(())
