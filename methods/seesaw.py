"""Seesaw loss: what a sample takes from the other classes' logits depends on how often each was seen so far."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ltbench.api import Method, Moment, Task, Uniform, hp
from ltbench.parts import cross_entropy


class Seesaw(Method):
    """Softmax in which rarer classes are pushed down less, unless they are mistaken."""

    paper = "Wang, Zhang, Zang, Cao, Pang, Gong, Chen, Liu, Loy, Lin. Seesaw Loss. CVPR 2021, equations 3 to 6."
    defaults_from = "the paper and mmdetection (p 0.8, q 2, own score of at least 0.01)"
    p: float = hp(0.8, "mitigation: how much less rarer classes are pushed down", search=Uniform(0.2, 1.2), low=0.0)
    q: float = hp(2.0, "compensation: how much more mistaken classes are", search=Uniform(0.5, 3.0), low=0.0)

    def __init__(self, task: Task, **values: Any) -> None:
        super().__init__(task, **values)
        self.seen = torch.zeros_like(task.counts)

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        x, target = super().mix(x, y, now)
        self.seen = self.seen + target.sum(dim=0)
        return x, target

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        seen, own = self.seen.clamp(min=1).to(logits), target.argmax(dim=1, keepdim=True)
        mitigation = (seen / seen[own]).clamp(max=1).pow(self.p)
        scores = logits.detach().softmax(dim=1)
        compensation = (scores / scores.gather(1, own).clamp(min=0.01)).clamp(min=1).pow(self.q)
        factor = (mitigation * compensation).scatter(1, own, 1.0)
        return cross_entropy(logits + factor.log(), target)
