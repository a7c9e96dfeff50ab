"""GLMC: a mixup and a CutMix view of the same two images must look alike; the loss moves from plain to re-weighted.

As in the authors' code: one mixing weight for both views, drawn from Beta(1, 1) whatever its option says; the CutMix
label has that weight, not the area; of two classifiers the re-weighted one is tested. Not taken over: MaxNorm.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import Choice, Index, Method, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy, power_probs, power_weights


class GlobalLocalMixture(Method):
    """Two mixtures of the same images drawn together, and a loss that moves to a re-weighted classifier."""

    paper = (
        "Du, Yang, Jia, Nan, Chen, Yang. Global and Local Mixture Consistency Cumulative Learning for Long-Tailed "
        "Visual Recognitions. CVPR 2023, equations 1 to 9."
    )
    defaults_from = "GLMC, README, CIFAR-100-LT IF 100 (class weights n^-1.2, consistency 4, no resampling)"
    views = (0, 0)
    consistency: float = hp(
        4.0, "weight of the views' likeness; 0 leaves it out", search=Choice(1.0, 4.0, 10.0), low=0.0
    )
    power: float = hp(1.2, "classes weigh n to the minus this", search=Choice(1.0, 1.2), low=0.0)
    resampling: float = hp(
        0.0, "partners' images are drawn with weights of n to the minus this", search=Choice(0.0, 0.2), low=0.0
    )
    alpha: float = hp(1.0, "Beta(alpha, alpha) draws the mixing weight", search=Choice(0.5, 1.0), above=0.0)

    @cached_property
    def weights(self) -> Tensor:
        """(C,) of the classes, which sum to C."""
        return power_weights(self.task.counts, self.power)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        dim = int(model.backbone.dim)  # type: ignore[arg-type]
        self.plain = nn.Linear(dim, self.task.num_classes)
        self.project, self.guess = nn.Linear(dim, 128), nn.Linear(128, 128)
        added = nn.ModuleList([self.plain, self.project, self.guess]).to(self.task.device)
        yield Stage(optimizer=self.task.optimizer([*model.parameters(), *added.parameters()]))

    def draw(self, index: Index, now: Moment) -> Index:
        """Each image has a partner."""
        probs = power_probs(self.task.class_counts, 1 - self.resampling)
        classes = now.rng.choice(self.task.num_classes, size=len(index), p=probs)
        return np.concatenate([index, self.task.pick(classes, now.rng)])

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        (one, other), (cut, pasted) = x[0].chunk(2), x[1].chunk(2)
        keep, middle = now.beta(self.alpha, self.alpha), now.uniform(0.0, 1.0, 2)
        box = torch.ones(cut.shape[-2:], dtype=torch.bool, device=x.device)
        for axis, size in enumerate(box.shape):
            place, half = torch.arange(size, device=x.device), (size * (1 - keep).sqrt()).ceil() // 2
            line = (place >= (middle[axis] * size).floor() - half) & (place < (middle[axis] * size).floor() + half)
            box = box & (line[:, None] if axis == 0 else line)
        own, partner = self.task.one_hot(y).chunk(2)
        # The weight of the plain loss, as a tensor: `forward` can then be recorded as a CUDA graph.
        self.early = torch.full((), 1 - now.progress**2, device=x.device)
        views = torch.cat([other.lerp(one, keep), torch.where(box, pasted, cut)])
        return views, partner.lerp(own, keep).repeat(2, 1)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        """Both views one after the other: plain and re-weighted logits, projections, what each guesses of the other."""
        features = torch.cat([model.backbone(view) for view in x.chunk(2)])
        projected = self.project(features)
        return self.plain(features), model.classify(features), projected, self.guess(projected), self.early

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        plain, balanced, projected, guessed, early = out
        weighted = -(target * self.weights * F.log_softmax(balanced, dim=1)).sum(dim=1).mean()
        likeness = F.cosine_similarity(guessed, torch.cat(projected.detach().chunk(2)[::-1]), dim=1).mean()
        # A mean over both views is half of the sum of their means.
        supervised = early * cross_entropy(plain, target) + (1 - early) * weighted
        whole: Tensor = 2 * supervised - 2 * self.consistency * likeness
        return whole
