"""Post-hoc logit adjustment: train plainly, take the class prior off the test logits."""

from __future__ import annotations

from torch import Tensor

from ltbench.api import Method, Uniform, hp


class LogitAdjustment(Method):
    """Plain training; tau log prior is subtracted from the test logits."""

    paper = "Menon, Jayasumana, Rawat, Jain, Veit, Kumar. Long-Tail Learning via Logit Adjustment. ICLR 2021, eq. 9."
    defaults_from = "the paper's code (tau 1)"
    tau: float = hp(1.0, "how much of the log prior is taken off", search=Uniform(0.5, 1.5), low=0.0)

    def predict(self, logits: Tensor) -> Tensor:
        return logits - self.tau * self.task.log_prior
