"""Progressively balanced sampling: from the data's own class frequencies to equal ones as training goes on."""

from __future__ import annotations

import numpy as np

from ltbench.api import Index, Method, Moment
from ltbench.parts import power_probs


class ProgressiveSampling(Method):
    """Cross-entropy; batches move from the data's own class frequencies to equal ones."""

    paper = (
        "Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis. Decoupling Representation and Classifier. ICLR 2020, eq. 2."
    )
    defaults_from = "the paper (no hyper-parameter); progress counts steps, there epochs"

    def draw(self, index: Index, now: Moment) -> Index:
        balanced = now.rng.choice(self.task.num_classes, size=len(index), p=power_probs(self.task.class_counts, 0.0))
        replaced = now.rng.random(len(index)) < now.progress
        drawn = np.array(index)
        drawn[replaced] = self.task.pick(balanced[replaced], now.rng)
        return drawn
