"""LIFT: light fine-tuning. A frozen transformer, small adapters in its blocks, a classifier that starts at the class
names, and a logit-adjusted loss.

Not taken over from the authors' code: random resized crops (the recipe's augmentation holds for all methods) and five
crops at test time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import nn

from ltbench.api import Choice, LogUniform, Stage, hp
from ltbench.parts import Classifier, CosineHead, adapt_blocks, make_optimizer, take_projection, transformer_blocks

from .logit_adjusted_loss import LogitAdjustedLoss


class Lift(LogitAdjustedLoss):
    """Adapters in a frozen transformer, a cosine head from the class names, logit-adjusted loss."""

    paper = (
        "Shi, Wei, Zhou, Shao, Han, Li. Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts. ICML 2024."
    )
    defaults_from = (
        "LIFT at 661ead9 (SGD 0.01, momentum 0.9, weight decay 5e-4, scale 25, tau 1, learned adapter scale)"
    )
    needs = frozenset({"text", "clip", "blocks"})
    lr: float = hp(0.01, "SGD's learning rate, for adapters and head", search=LogUniform(1e-3, 1e-1), above=0.0)
    momentum: float = hp(0.9, "SGD's momentum", low=0.0, high=0.999)
    weight_decay: float = hp(5e-4, "SGD's weight decay", low=0.0)
    scale: float = hp(25.0, "what the cosines are multiplied by", above=0.0)
    bottleneck: int = hp(
        0, "width of the adapters; 0: 2^floor(log2(classes / (2 blocks))), at least 1", search=Choice(4, 16), low=0
    )
    adapter_scale: float = hp(1.0, "what an adapter's output is multiplied by at first; it is learned", low=0.0)

    def head(self, dim: int) -> nn.Module:
        return self.task.cosine_head(dim, self.scale)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        self.move_head_before_projection(model)
        blocks = len(transformer_blocks(model.backbone))
        width = self.bottleneck or 2 ** max(0, math.floor(math.log2(self.task.num_classes / (2 * blocks))))
        adapters = adapt_blocks(model.backbone, width, self.adapter_scale)
        params = [p for module in (*adapters, model.head) for p in module.parameters()]
        yield Stage(
            optimizer=make_optimizer(params, "sgd", self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        )

    def move_head_before_projection(self, model: Classifier) -> None:
        """The authors classify what a tower has before its projection P. A class starts at P t: f P t = f (P t)."""
        projection = take_projection(model.backbone)
        if projection is not None:
            text = self.task.text_of(projection.shape[1]).to(projection)
            head = CosineHead(projection.shape[0], self.task.num_classes, self.scale, text @ projection.T)
            model.head = head.to(projection.device)
