"""LIFT+: light fine-tuning of any transformer, with or without class names, and a test on five crops.

Where the recipe's head is `text`, class vectors start at the names, as in LIFT; else, as the authors do for networks
without a text tower, at the means of the first images of each class. Not taken over: crops whose smallest part grows
while training (the recipe's augmentation holds for all methods). There a test image is resized once, to a larger side,
and cropped; here the image that the network would be given is enlarged and cropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, Moment, Stage, hp
from ltbench.parts import Classifier, adapt_blocks, make_optimizer, transformer_blocks

from .lift import Lift

MOST = 100
"""Images of a class, the first ones, whose mean its vector starts at where there are no names."""


class FiveCrops(nn.Module):
    """A backbone on the four corners and the middle of the enlarged image: (N, channels, H, W) -> (N, 5, dim)."""

    def __init__(self, backbone: nn.Module, expand: float) -> None:
        super().__init__()
        self.backbone, self.expand = backbone, expand
        self.dim, self.float_head = backbone.dim, bool(getattr(backbone, "float_head", False))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the crops: top left, top right, bottom left, bottom right, middle."""
        return torch.stack([self.backbone(crop) for crop in five_crops(x, self.expand)], dim=1)


class MeanOfCrops(nn.Module):
    """A head on each crop's features: (N, 5, dim) -> the mean logits (N, C)."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, C)."""
        logits: Tensor = self.head(features.flatten(0, 1))
        return logits.view(*features.shape[:2], -1).mean(dim=1)


def five_crops(x: Tensor, expand: float) -> list[Tensor]:
    """Images (N, channels, H, W), enlarged by so much of their sides -> five crops of H x W."""
    height, width = x.shape[-2:]
    down, right = round(expand * height), round(expand * width)
    if down or right:
        x = F.interpolate(x, (height + down, width + right), mode="bicubic", antialias=True, align_corners=False)
    corners = [(0, 0), (0, right), (down, 0), (down, right), (round(down / 2), round(right / 2))]
    return [x[..., top : top + height, left : left + width] for top, left in corners]


class LiftPlus(Lift):
    """LIFT for any transformer: class vectors from names or class means, a test on five crops."""

    paper = "Shi, Wei, Li. LIFT+: Lightweight Fine-Tuning for Long-Tail Learning. arXiv 2025."
    defaults_from = "LIFT-plus at 2e73e60 (SGD 0.02, momentum 0.9, weight decay 5e-4, scale 25, tau 1, 24 of 224)"
    needs = frozenset({"blocks"})
    lr = 0.02
    ensemble: bool = hp(True, "whether test logits are the mean over five crops")
    expand: int = hp(
        24,
        "pixels by which a test image of 224 is enlarged before it is cropped, others alike",
        search=Choice(8, 24, 64),
        low=0,
        high=224,
    )

    def stages(self, model: Classifier) -> Iterator[Stage]:
        if self.task.logit_scale is not None:
            self.move_head_before_projection(model)
        else:
            yield from self.means_as_head(model)
        blocks = len(transformer_blocks(model.backbone))
        width = self.bottleneck or 2 ** max(0, math.floor(math.log2(self.task.num_classes / (2 * blocks))))
        adapters = adapt_blocks(model.backbone, width, self.adapter_scale)
        for adapter in adapters:
            nn.init.kaiming_uniform_(adapter.down.weight, a=math.sqrt(5))
        params = [p for module in (*adapters, model.head) for p in module.parameters()]
        yield Stage(
            optimizer=make_optimizer(params, "sgd", self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        )
        if self.ensemble:
            model.backbone, model.head = FiveCrops(model.backbone, self.expand / 224), MeanOfCrops(model.head)

    def means_as_head(self, model: Classifier) -> Iterator[Stage]:
        """Look at the training images, and have the class vectors point where their classes' means do."""
        head = model.head
        self.sums = torch.zeros_like(head.get_parameter("weight").detach()).to(self.task.device)
        self.seen = torch.zeros(self.task.num_classes, device=self.task.device)
        model.head = nn.Identity()  # `loss` is given features
        yield Stage("means", plain=True)
        model.head = head
        with torch.no_grad():
            head.get_parameter("weight").copy_(F.normalize(self.sums, dim=1))

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        if now.stage != "means":
            return super().loss(logits, target, now)
        which = ((self.seen + target.cumsum(dim=0)) * target).sum(dim=1)  # 1 for the first image of its class
        self.sums += (target * (which <= MOST)[:, None]).T @ logits
        self.seen += target.sum(dim=0)
        return logits.new_zeros(())
