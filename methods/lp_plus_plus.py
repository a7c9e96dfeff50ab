"""LP++: a linear probe whose class vectors are a prototype that is learned and as much of the class's name as helps.

Initial values and step sizes come from the features. Differences from the authors' code: no bias, as in the paper;
mini-batches of the recipe instead of full batches; no epoch is chosen on held-out images. There every class has 16
images and its prototype begins at their sum. Here it begins at 16 times the class's mean, so that frequent classes have
no start. With tau 1 the loss is balanced softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, Moment, Stage, hp
from ltbench.parts import Classifier, make_optimizer

from .logit_adjusted_loss import LogitAdjustedLoss


class Blend(nn.Module):
    """Features (N, dim), made unit length -> f (w_k + alpha_k t_k) for class names' vectors t (C, dim)."""

    names: Tensor

    def __init__(self, names: Tensor) -> None:
        super().__init__()
        self.register_buffer("names", names.clone())
        self.prototypes = nn.Parameter(torch.zeros_like(names))
        self.alpha = nn.Parameter(torch.zeros(len(names)))

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, C)."""
        return F.linear(F.normalize(features, dim=1), self.prototypes + self.alpha[:, None] * self.names)


class LpPlusPlus(LogitAdjustedLoss):
    """A prototype and a share of the name for every class, learned at rates that the features give."""

    paper = (
        "Huang, Shakeri, Dolz, Boudiaf, Bahig, Ben Ayed. LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP. "
        "CVPR 2024, the logits, and proposition 2 with equation 13."
    )
    defaults_from = "FewShot-CLIP-Strong-Baseline, linear_probe_p2.py (16 shots, 250, momentum 0.9, every 10th step)"
    needs = frozenset({"text", "clip"})
    tau = 0.0
    shots: float = hp(16.0, "how long a prototype is at first, in class means", search=Choice(4.0, 16.0), low=0.0)
    blending: float = hp(
        250.0, "share of the name's vector at first, in mean cosines with it", search=Choice(100.0, 250.0), low=0.0
    )
    momentum: float = hp(0.9, "SGD's momentum, of the prototypes", low=0.0, high=0.999)
    every: int = hp(10, "steps between two of the shares", search=Choice(1, 10), low=1)

    def head(self, dim: int) -> nn.Module:
        return Blend(self.task.text_of(dim))

    def stages(self, model: Classifier) -> Iterator[Stage]:
        blend, classes, device = model.head, self.task.num_classes, self.task.device
        self.names = blend.get_buffer("names")
        dim = self.names.shape[1]
        self.gram, self.sums = torch.zeros(dim, dim, device=device), torch.zeros(classes, dim, device=device)
        self.squares, self.near = torch.zeros(classes, device=device), torch.zeros(classes, device=device)
        model.head = nn.Identity()  # `loss` is given features
        yield Stage("features", plain=True)
        model.head = blend
        self.begin(blend)
        self.steps = 0
        yield Stage("probe", optimizer=self.optimizer(blend))

    def begin(self, blend: nn.Module) -> None:
        """Initial values, from the features that were seen."""
        counts = self.task.counts.clamp(min=1)
        share = self.blending * (self.near / counts).mean()
        with torch.no_grad():
            blend.get_parameter("prototypes").copy_(self.shots * self.sums / counts[:, None])
            blend.get_parameter("alpha").copy_(share.expand(len(counts)))

    def optimizer(self, blend: nn.Module) -> torch.optim.Optimizer:
        """SGD at the inverse of the gradients' Lipschitz constants."""
        images = float(self.task.class_counts.sum())
        largest = max(float(torch.linalg.eigvalsh(self.gram.double())[-1]), 1e-12)
        steepest = max(float(self.squares.max()), 1e-12)
        groups = [
            {"params": [blend.get_parameter("prototypes")], "lr": 4 * images / largest, "momentum": self.momentum},
            {"params": [blend.get_parameter("alpha")], "lr": images / (4 * steepest)},
        ]
        return make_optimizer(groups, "sgd", 1.0)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        if now.stage != "features":
            return super().loss(logits, target, now)
        unit = F.normalize(logits, dim=1)
        cosines = unit @ self.names.T
        self.gram += unit.T @ unit
        self.sums += target.T @ unit
        self.squares += cosines.square().sum(dim=0)
        self.near += (target * cosines).sum(dim=0)
        return logits.new_zeros(())

    def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        loss = gradients()
        self.steps += 1
        for alpha in optimizer.param_groups[1]["params"]:
            alpha.grad.mul_(float(self.steps % self.every == 0))  # without momentum, zero moves nothing
        optimizer.step()
        return loss
