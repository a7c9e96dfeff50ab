"""Balanced softmax: the class prior is put into the softmax while training."""

from __future__ import annotations

from torch import Tensor

from ltbench.api import Method, Moment
from ltbench.parts import cross_entropy


class BalancedSoftmax(Method):
    """Cross-entropy on logits plus log class counts, so that test logits are balanced."""

    paper = "Ren, Yu, Sheng, Ma, Zhao, Yi, Li. Balanced Meta-Softmax for Long-Tailed Recognition. NeurIPS 2020, eq. 4."
    defaults_from = "BALMS (no hyper-parameter)"

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        # log n_c and log prior differ by a constant, which the softmax does not see.
        return cross_entropy(logits + self.task.log_prior, target)
