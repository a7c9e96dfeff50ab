"""Focal loss: examples that are already classified well count less."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ltbench.api import Method, Moment, Uniform, hp


class Focal(Method):
    """Cross-entropy scaled by (1 - p)^gamma, so easy examples count less."""

    paper = "Lin, Goyal, Girshick, He, Dollar. Focal Loss for Dense Object Detection. ICCV 2017, equation 4."
    defaults_from = "LDAM-DRW and Cui et al. (gamma 1 on CIFAR-LT; the detection paper uses 2)"
    gamma: float = hp(1.0, "focusing strength; 0 is cross-entropy", search=Uniform(0.5, 2.0), low=0.0)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        log_p = F.log_softmax(logits, dim=1)
        # 1 - p through expm1: for p near 1 the plain difference is 0 in float32 and its power has no gradient.
        hardness = (-log_p.expm1()).clamp(min=1e-12).pow(self.gamma)
        return -(target * hardness * log_p).sum(dim=1).mean()
