"""Knowledge distillation: a plainly trained network teaches one that starts where it has started itself.

Both trainings are within the recipe's budget: half of the steps are the teacher's.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy


class Distillation(Method):
    """A teacher trained plainly, then a student of the same kind that learns from it and from the labels."""

    paper = "Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. NIPS Workshops 2014, section 2."
    defaults_from = "RepDistiller (temperature 4, 0.9 on the teacher, 0.1 on the labels)"
    temperature: float = hp(4.0, "what both networks' logits are divided by", search=Choice(1.0, 2.0, 4.0), above=0.0)
    taught: float = hp(
        0.9, "weight of the teacher; the labels have the rest", search=Choice(0.5, 0.9), low=0.0, high=1.0
    )
    teacher_share: float = hp(0.5, "fraction of the steps that trains the teacher", above=0.0, high=0.9)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        start = copy.deepcopy(model.state_dict())
        self.teacher = copy.deepcopy(model).requires_grad_(False).eval()
        yield Stage("teacher", share=self.teacher_share)
        self.teacher.load_state_dict(model.state_dict())
        model.load_state_dict(start)
        yield Stage("student", share=1 - self.teacher_share)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        if now.stage != "student":
            return super().forward(model, x, now)
        with torch.no_grad():
            taught = self.teacher(x)
        return model(x), taught

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        if now.stage != "student":
            return cross_entropy(out, target)
        own, taught = out
        soft, wanted = ((z / self.temperature).log_softmax(dim=1) for z in (own, taught))
        apart = F.kl_div(soft, wanted, reduction="batchmean", log_target=True)
        return (1 - self.taught) * cross_entropy(own, target) + self.taught * self.temperature**2 * apart
