"""UniMix: mixup whose weights lean to the rarer class of a pair, with a loss that takes the prior off."""

from __future__ import annotations

import torch
from torch import Tensor

from ltbench.api import Choice, Moment, hp
from ltbench.parts import like_images

from .balanced_softmax import BalancedSoftmax


class UniMix(BalancedSoftmax):
    """mixup that favours rare classes in partners and weights, and balanced softmax."""

    paper = (
        "Xu, Chai, Yuan. Towards Calibrated Model for Long-Tailed Visual Recognition from Prior Perspective. NeurIPS "
        "2021, equations 5 to 8 (UniMix) and 12 (Bayias, which is balanced softmax)."
    )
    defaults_from = "Prior-LT, config/cifar100_100.py (alpha 0.8, tau -0.1); one weight per pair as there"
    alpha: float = hp(0.8, "Beta(alpha, alpha) draws the weight that is then shifted", search=Choice(0.5, 0.8, 1.0),
                      above=0.0)  # fmt: skip
    tau: float = hp(-0.1, "a partner's class weighs n_c^tau within the batch; 0 is mixup's", search=Choice(-1.0, 0.0))

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        counts, target = self.task.counts[y], self.task.one_hot(y)
        # Sums of the weights up to each image, as a product: torch's cumsum has no deterministic form on a GPU.
        upto = counts.double().pow(self.tau) @ torch.ones(len(y), len(y), dtype=torch.float64, device=y.device).triu()
        place = now.uniform(0.0, 1.0, len(y)).double() * upto[-1]
        other = (place[:, None] >= upto).sum(dim=1).clamp(max=len(y) - 1)
        shifted = now.beta(self.alpha, self.alpha, len(y)) + counts[other] / (counts + counts[other])
        keep = torch.where(shifted > 1, shifted - 1, shifted)
        image, label = like_images(keep, x), keep[:, None]
        return image * x + (1 - image) * x[other], label * target + (1 - label) * target[other]
