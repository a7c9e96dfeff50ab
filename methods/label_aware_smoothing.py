"""Label-aware smoothing by itself: MiSLAS's loss in plain training."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from ltbench.api import Method, Moment, hp
from ltbench.parts import cross_entropy


class LabelAwareSmoothing(Method):
    """Cross-entropy on labels that are smoothed more, the more images their class has."""

    paper = "Zhong, Cui, Liu, Jia. Improving Calibration for Long-Tailed Recognition. CVPR 2021, equations 3 to 5."
    defaults_from = "MiSLAS, cifar100_imb001_stage2_mislas (0.4, 0.1), there for the classifier alone"
    smooth_head: float = hp(0.4, "how far the most frequent class's labels are smoothed", low=0.0, high=0.99)
    smooth_tail: float = hp(0.1, "how far the rarest class's labels are smoothed", low=0.0, high=0.99)

    @cached_property
    def smoothing(self) -> Tensor:
        """(C,) how far each class's labels are smoothed: a quarter of a sine from the rarest to the most frequent."""
        low, high = self.task.counts.min(), self.task.counts.max()
        place = (self.task.counts - low) / (high - low).clamp(min=1)
        return self.smooth_tail + (self.smooth_head - self.smooth_tail) * torch.sin(place * (math.pi / 2))

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        smoothed = (target * self.smoothing).sum(dim=1, keepdim=True)
        return cross_entropy(logits, target * (1 - self.smoothing) + smoothed / self.task.num_classes)
