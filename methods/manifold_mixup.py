"""Manifold mixup: what is mixed is the features before the classifier, not the images."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ltbench.api import Choice, Method, Moment, hp
from ltbench.parts import Classifier


class ManifoldMixup(Method):
    """Features and labels mixed with a shuffled copy of the batch, before the classifier."""

    paper = (
        "Verma, Lamb, Beckham, Najafi, Mitliagkas, Lopez-Paz, Bengio. Manifold Mixup: Better Representations by "
        "Interpolating Hidden States. ICML 2019, equation 1, with S = {the last layer before the classifier}."
    )
    defaults_from = (
        "BagofTricks-LT (alpha 1, one layer only, one weight per batch); the paper draws the layer each time"
    )
    alpha: float = hp(1.0, "Beta(alpha, alpha) draws the mixing weight", search=Choice(0.5, 1.0, 2.0), above=0.0)

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        self.keep, self.other = now.beta(self.alpha, self.alpha), now.permutation(len(y))
        target = self.task.one_hot(y)
        return x, target.lerp(target[self.other], 1 - self.keep)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        features = model.backbone(x)
        return model.classify(self.keep * features + (1 - self.keep) * features[self.other])
