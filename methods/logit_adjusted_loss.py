"""Logit-adjusted loss: the class prior is added to the logits while training."""

from __future__ import annotations

from torch import Tensor

from ltbench.api import Method, Moment, Uniform, hp
from ltbench.parts import cross_entropy


class LogitAdjustedLoss(Method):
    """Cross-entropy on logits plus tau log prior; tau 1 is balanced softmax."""

    paper = "Menon, Jayasumana, Rawat, Jain, Veit, Kumar. Long-Tail Learning via Logit Adjustment. ICLR 2021, eq. 10."
    defaults_from = "the paper's code (tau 1)"
    tau: float = hp(1.0, "how much of the log prior is added", search=Uniform(0.5, 1.5), low=0.0)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits + self.tau * self.task.log_prior, target)
