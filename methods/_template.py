"""Copy this file to NAME.py in this folder (or in a folder of your own, given by --methods) and name it in a suite.

Keep only the hooks in which the method differs from plain cross-entropy. `ltbench check NAME.py` runs the contract.
"""

from __future__ import annotations

from torch import Tensor

from ltbench.api import Method, Moment, Uniform, hp
from ltbench.parts import cross_entropy


class Template(Method):
    """One line that says what the method does, for `ltbench methods`."""

    paper = "Authors. Title. Venue, year."
    defaults_from = "the paper, table 1"
    strength: float = hp(1.0, "how strongly class frequency is corrected", search=Uniform(0.0, 2.0), low=0.0)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits + self.strength * self.task.log_prior, target)
