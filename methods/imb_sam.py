"""ImbSAM: sharpness-aware steps for the images of rare classes, plain ones for the others.

As in the authors' code, where the rare classes' part counts twice. Batch-norm's statistics are those of the first pass,
as in `sam`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from ltbench.api import Choice, Moment, hp

from .sam import SharpnessAware


class ImbalancedSam(SharpnessAware):
    """The rare classes' part of the gradient is taken where their loss nearby is highest."""

    paper = (
        "Zhou, Qu, Xu, Shen. ImbSAM: A Closer Look at Sharpness-Aware Minimization in Class-Imbalanced Recognition. "
        "ICCV 2023, equations 6 to 9."
    )
    defaults_from = "Imbalanced_SAM, scripts/train.py (rho 0.05, classes with fewer than 20 images, which count twice)"
    eta: int = hp(20, "classes with fewer images than this are rare", search=Choice(20, 100), low=0)
    rare_weight: float = hp(
        2.0, "what the rare classes' part is multiplied by; the paper has 1", search=Choice(1.0, 2.0), low=0.0
    )

    @cached_property
    def rare(self) -> Tensor:
        """(C,): 1 for a rare class."""
        return (self.task.counts < self.eta).float()

    @cached_property
    def counted(self) -> Tensor:
        """(C,): what a class's part of the loss is multiplied by now; changed in place."""
        return torch.ones_like(self.task.counts)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return -(target * self.counted * logits.log_softmax(dim=1)).sum(dim=1).mean()

    def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        self.counted.copy_(1 - self.rare)
        loss = gradients().clone()
        weights = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        plain = [p.grad.clone() for p in weights if p.grad is not None]
        changed = [*weights, *self.model.buffers()]
        before = [tensor.detach().clone() for tensor in changed]
        self.counted.copy_(self.rare_weight * self.rare)
        loss += gradients()
        self.climb(weights)
        gradients()
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
            torch._foreach_add_([p.grad for p in weights if p.grad is not None], plain)
        optimizer.step()
        return loss
