"""BBN: one branch sees the data as they are, the other rare classes most; the weight moves from the first to the other.

Here each branch has the backbone's last stage for itself, in the paper its last residual block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltbench.api import Index, Method, Moment, Stage
from ltbench.parts import Classifier, power_probs, split_last_stage


class Branches(nn.Module):
    """Features of both branches (N, 2, dim) -> logits (N, C), the sum of a linear map of each."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * dim, num_classes)
        nn.init.kaiming_normal_(self.linear.weight)

    def forward(self, features: Tensor) -> Tensor:
        """The logits."""
        out: Tensor = self.linear(features.flatten(1))
        return out


class BilateralBranch(Method):
    """Two branches, one for the data's frequencies and one for the inverse ones, and a shifting weight."""

    paper = (
        "Zhou, Cui, Wei, Chen. BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual "
        "Recognition. CVPR 2020, equations 1 to 5."
    )
    defaults_from = "the paper and its code (weight 1 - progress^2, features times 2, both branches at 0.5 in the test)"
    needs = frozenset({"stages", "linear_head"})

    def head(self, dim: int) -> nn.Module:
        return Branches(dim, self.task.num_classes)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        model.backbone = split_last_stage(model.backbone, 2)
        yield from super().stages(model)

    def draw(self, index: Index, now: Moment) -> Index:
        inverse = power_probs(self.task.class_counts, -1.0)
        classes = now.rng.choice(self.task.num_classes, size=len(index), p=inverse)
        return np.concatenate([index, self.task.pick(classes, now.rng)])

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        """Both images of a pair get the pair's label: (2 B, C)."""
        plain, inverse = self.task.one_hot(y).chunk(2)
        # The weight of the first branch, as a tensor: `forward` can then be recorded as a CUDA graph.
        self.alpha = torch.full((), 1 - now.progress**2, device=x.device)
        return x, (self.alpha * plain + (1 - self.alpha) * inverse).repeat(2, 1)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        plain, inverse = model.backbone(x).chunk(2)
        pair = torch.stack([2 * self.alpha * plain[:, 0], 2 * (1 - self.alpha) * inverse[:, 1]], dim=1)
        return model.classify(pair).repeat(2, 1)
