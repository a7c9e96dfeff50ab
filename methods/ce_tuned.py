"""Tuned cross-entropy: what a better recipe alone gives, searched under the same budget as every other row.

Without a search it is `ce`. A method that does not beat it gains by its search, not by its idea.
"""

from __future__ import annotations

from collections.abc import Iterator

from ltbench.api import Choice, LogUniform, Method, Stage, hp
from ltbench.parts import Classifier


class TunedCrossEntropy(Method):
    """Plain cross-entropy whose learning rate and weight decay are searched."""

    paper = (
        "Shwartz-Ziv, Goldblum, Li, Bruss, Wilson. Simplifying Neural Network Training Under Class Imbalance. NeurIPS "
        "2023: a tuned plain recipe makes most gains vanish."
    )
    defaults_from = "none: the recipe's rate and decay, with which it is ce"
    rate: float = hp(1.0, "what the recipe's learning rate is multiplied by", search=LogUniform(0.1, 10.0), above=0.0)
    decay: float = hp(
        0.0, "what is added to the recipe's weight decay", search=Choice(0.0, 2e-4, 5e-4, 2e-3, 5e-3), low=0.0
    )

    def stages(self, model: Classifier) -> Iterator[Stage]:
        optimizer = self.task.optimizer(model.parameters())
        for group in optimizer.param_groups:
            group["lr"] *= self.rate
            group["weight_decay"] += self.decay
        yield Stage(optimizer=optimizer)
