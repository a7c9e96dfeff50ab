"""cRT with mixup: the representation is trained with mixup, the classifier afresh on balanced, unmixed batches."""

from __future__ import annotations

from torch import Tensor

from ltbench.api import Choice, Moment, hp

from .crt import ClassifierRetraining
from .mixup import Mixup


class MixupRetraining(ClassifierRetraining, Mixup):
    """mixup, then a fresh classifier alone on class-balanced batches that are not mixed."""

    paper = (
        "Zhang, Wei, Zhou, Wu. Bag of Tricks for Long-Tailed Visual Recognition with Deep Convolutional Neural "
        "Networks. AAAI 2021, mixup training and two-stage training."
    )
    defaults_from = "BagofTricks-LT (mixup of alpha 1 in the first stage only, then cRT)"
    alpha: float = hp(
        1.0, "Beta(alpha, alpha) draws the mixing weight of the first stage", search=Choice(0.2, 0.5, 1.0), above=0.0
    )

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        return (x, self.task.one_hot(y)) if now.stage == "classifier" else super().mix(x, y, now)
