"""Tip-Adapter: a cache of training images votes beside the class names; nothing is trained.

As many images of every class as the paper's largest setting has shots, the first ones, so the cache is no long tail.
Here their features are those of the images as they are, there the mean over ten augmentations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy, in_float32


class Cache(nn.Module):
    """A head for class names, and keys (K, dim) of classes (K, C) that vote for these, the nearer the more."""

    classes: Tensor

    def __init__(self, names: nn.Module, keys: Tensor, classes: Tensor, alpha: float, beta: float) -> None:
        super().__init__()
        self.names, self.alpha, self.beta = names, alpha, beta
        self.keys = nn.Parameter(keys)
        self.register_buffer("classes", classes)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, dim) -> logits (N, C)."""
        with in_float32(features.device):
            near = F.linear(F.normalize(features.float(), dim=1), self.keys)
            return torch.as_tensor(self.names(features.float())) + self.alpha * (
                (self.beta * (near - 1)).exp() @ self.classes
            )


class TipAdapter(Method):
    """The class names' cosines, and a vote of training images by their nearness; nothing is trained."""

    paper = (
        "Zhang, Zhang, Fang, Gao, Li, Dai, Qiao, Li. Tip-Adapter: Training-free Adaption of CLIP for Few-shot "
        "Classification. ECCV 2022, equations 3 to 6."
    )
    defaults_from = "Tip-Adapter, ImageNet (16 shots, alpha 1, beta 5.5)"
    needs = frozenset({"text", "clip"})
    shots: int = hp(16, "images of a class in the cache, at most", search=Choice(4, 8, 16), low=1)
    alpha: float = hp(1.0, "weight of the vote", search=Choice(0.5, 1.0, 2.0, 5.0), low=0.0)
    beta: float = hp(5.5, "how much nearer images count for more", search=Choice(1.0, 5.5, 10.0), above=0.0)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        classes, dim = self.task.num_classes, int(model.backbone.dim)  # type: ignore[arg-type]
        self.each = min(self.shots, int(self.task.class_counts.max()))
        rows = classes * self.each + 1  # the last one is for images that are not kept
        self.keys = torch.zeros(rows, dim, device=self.task.device)
        self.classes = torch.zeros(rows, classes, device=self.task.device)
        self.seen = torch.zeros(classes, device=self.task.device)
        yield Stage("cache", plain=True)
        model.head = Cache(model.head, self.keys[:-1].clone(), self.classes[:-1].clone(), self.alpha, self.beta)
        yield self.adapted(model.head)

    def adapted(self, cache: Cache) -> Stage:
        """What is done with the cache."""
        return Stage("vote", train=False)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        return model.backbone(x) if now.stage == "cache" else super().forward(model, x, now)

    def loss(self, out: Tensor, target: Tensor, now: Moment) -> Tensor:
        if now.stage != "cache":
            return cross_entropy(out, target)
        which = ((self.seen + target.cumsum(dim=0)) * target).sum(dim=1)  # 1 for the first image of its class
        own = torch.arange(self.task.num_classes, device=out.device).to(target)
        row = torch.where(
            which <= self.each, (target * own).sum(dim=1) * self.each + which - 1, len(self.keys) - 1
        ).long()
        self.keys.index_copy_(0, row, F.normalize(out, dim=1))
        self.classes.index_copy_(0, row, target)
        self.seen += target.sum(dim=0)
        return out.new_zeros(())
