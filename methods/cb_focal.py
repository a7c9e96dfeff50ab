"""Class-balanced focal loss: focal loss with weights by the effective number of images.

With a softmax, as LDAM-DRW has it, and the weight outside of the focusing term, as in the paper's equation.
"""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from ltbench.api import Choice, Moment, hp
from ltbench.parts import effective_number_weights

from .focal import Focal


class ClassBalancedFocal(Focal):
    """Focal loss weighted by the effective number of images per class."""

    paper = "Cui, Jia, Lin, Song, Belongie. Class-Balanced Loss Based on Effective Number of Samples. CVPR 2019, 4.3."
    defaults_from = "LDAM-DRW, loss type Focal and train rule Reweight (gamma 1, beta 0.9999, weights sum to C)"
    beta: float = hp(
        0.9999,
        "effective number's beta: 0 is unweighted, towards 1 is inverse frequency",
        search=Choice(0.9, 0.99, 0.999, 0.9999),
        low=0.0,
        high=0.999999,
    )

    @cached_property
    def weight(self) -> Tensor:
        """(C,) class weights that sum to C."""
        return effective_number_weights(self.task.counts, self.beta)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target * self.weight, now)
