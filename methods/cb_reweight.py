"""Class-balanced re-weighting of the loss from the first step."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from ltbench.api import Choice, Method, Moment, hp
from ltbench.parts import cross_entropy, effective_number_weights, power_weights


class ClassBalancedReweight(Method):
    """Cross-entropy weighted by effective number, inverse or square-root frequency."""

    paper = "Cui, Jia, Lin, Song, Belongie. Class-Balanced Loss Based on Effective Number of Samples. CVPR 2019, eq. 3."
    defaults_from = "LDAM-DRW, train rule Reweight (beta 0.9999, weights scaled to sum to C)"
    weighting: str = hp(
        "effective_number",
        "how weights follow from class counts",
        choices=("effective_number", "inverse", "sqrt_inverse"),
    )
    beta: float = hp(
        0.9999,
        "effective number's beta: 0 is unweighted, towards 1 is inverse frequency (effective_number only)",
        search=Choice(0.9, 0.99, 0.999, 0.9999),
        low=0.0,
        high=0.999999,
    )

    @cached_property
    def weight(self) -> Tensor:
        """(C,) class weights that sum to C."""
        if self.weighting == "effective_number":
            return effective_number_weights(self.task.counts, self.beta)
        return power_weights(self.task.counts, 1.0 if self.weighting == "inverse" else 0.5)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits, target, self.weight)
