"""Equalization loss: rare classes are, most of the time, not pushed down by the images of other classes."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from ltbench.api import Choice, Method, Moment, hp
from ltbench.parts import cross_entropy


class Equalization(Method):
    """Softmax that leaves rare classes out of the denominator for images of other classes."""

    paper = (
        "Tan, Wang, Li, Li, Ouyang, Yin, Yan. Equalization Loss for Long-Tailed Object Recognition. CVPR 2020, "
        "equations 7 to 9 (softmax equalization loss)."
    )
    defaults_from = "BagofTricks-LT (gamma 0.9; lambda 0.005, which for 100 classes is half of the mean share)"
    gamma: float = hp(
        0.9, "how often a rare class is left out; 0 is cross-entropy", search=Choice(0.7, 0.9, 0.95), low=0.0, high=1.0
    )
    rare: float = hp(
        0.5, "classes of fewer images than this times the mean are rare", search=Choice(0.2, 0.5, 1.0), low=0.0
    )

    @cached_property
    def is_rare(self) -> Tensor:
        """(C,) bool: which classes are rare."""
        return self.task.counts < self.rare * self.task.counts.mean()

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        left_out = (now.uniform(0.0, 1.0, tuple(logits.shape)) < self.gamma) & self.is_rare & (target == 0)
        return cross_entropy(logits.masked_fill(left_out, -1e4), target)
