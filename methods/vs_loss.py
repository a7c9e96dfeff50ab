"""Vector-scaling loss: logits are scaled and shifted by class counts while training."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from ltbench.api import Method, Moment, Uniform, hp
from ltbench.parts import cross_entropy


class VectorScalingLoss(Method):
    """Cross-entropy on logits times (n / n_max)^gamma plus tau log prior; gamma 0 is logit_adjusted_loss."""

    paper = (
        "Kini, Paraskevas, Oymak, Thrampoulidis. Label-Imbalanced and Group-Sensitive Classification under "
        "Overparameterization. NeurIPS 2021, VS-loss. With tau 0 it is CDT (Ye, Chen, Zhan, Chao, arXiv 2020)."
    )
    defaults_from = "orparask/VS-Loss, class_imbalance/losses.py (gamma 0.3, tau 1)"
    needs = frozenset(
        {"linear_head"}
    )  # cosines with class names are all positive: a factor shifts them, rare ones most
    gamma: float = hp(
        0.3, "how much smaller a rare class's logit counts in training", search=Uniform(0.05, 0.4), low=0.0
    )
    tau: float = hp(1.0, "how much of the log prior is added", search=Uniform(0.5, 1.5), low=0.0)

    @cached_property
    def scale(self) -> Tensor:
        """(C,) what the logits are multiplied by: 1 for the largest class, less for rarer ones."""
        counts = self.task.counts.clamp(min=1)
        return (counts / counts.max()).pow(self.gamma)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(self.scale * logits + self.tau * self.task.log_prior, target)
