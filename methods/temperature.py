"""Temperature scaling: confidences are brought to the hold-out's accuracy; who is right stays the same."""

from __future__ import annotations

import math

from torch import Tensor

from ltbench.api import Method


class TemperatureScaling(Method):
    """Plain training; logits are divided by a temperature that is fitted on held-out images."""

    paper = "Guo, Pleiss, Sun, Weinberger. On Calibration of Modern Neural Networks. ICML 2017, section 4.2."
    defaults_from = "the paper (no hyper-parameter; the highest likelihood of the held-out labels)"
    needs = frozenset({"holdout"})
    temperature = 1.0

    def fit(self, logits: Tensor, labels: Tensor) -> None:
        """The likelihood has one maximum, where the logits' mean under the predictions is that of the labels' own."""
        z = logits.double()
        own = z.gather(1, labels[:, None]).mean()
        low, high = -10.0, 10.0
        for _ in range(60):  # bisection of the logarithm
            middle = (low + high) / 2
            expected = ((z * math.exp(-middle)).softmax(dim=1) * z).sum(dim=1).mean()
            low, high = (middle, high) if expected > own else (low, middle)
        self.temperature = math.exp((low + high) / 2)

    def predict(self, logits: Tensor) -> Tensor:
        return logits / self.temperature
