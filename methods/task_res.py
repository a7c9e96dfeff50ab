"""TaskRes: the tower and the class names' vectors stay as they are; what is learned is added to the vectors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, LogUniform, Method, Stage, hp
from ltbench.parts import Classifier, make_optimizer


class Residual(nn.Module):
    """Features (N, dim) -> scaled cosines with the class names' vectors plus what was learned."""

    names: Tensor

    def __init__(self, names: Tensor, alpha: float, scale: float) -> None:
        super().__init__()
        self.alpha, self.scale = alpha, scale
        self.register_buffer("names", names.clone())
        self.residual = nn.Parameter(torch.zeros_like(names))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, C)."""
        vectors = F.normalize(self.names + self.alpha * self.residual, dim=1)
        return self.scale * F.linear(F.normalize(features, dim=1), vectors)


class TaskRes(Method):
    """A residual on the class names' vectors is learned; tower and vectors are frozen."""

    paper = "Yu, Lu, Jin, Chen, Wang. Task Residual for Tuning Vision-Language Models. CVPR 2023, equations 2 to 4."
    defaults_from = "TaskRes (alpha 0.5, Adam 2e-3, no enhanced base)"
    needs = frozenset({"text", "clip"})
    alpha: float = hp(0.5, "what the residual is multiplied by", search=Choice(0.1, 0.5, 1.0), above=0.0)
    lr: float = hp(2e-3, "Adam's learning rate for the residual", search=LogUniform(1e-4, 1e-2), above=0.0)

    def head(self, dim: int) -> nn.Module:
        return Residual(self.task.text_of(dim), self.alpha, self.task.logit_scale or 100.0)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("residual", optimizer=make_optimizer(list(model.head.parameters()), "adam", self.lr))
