"""Text-guided mixup as its paper trains it on CLIP: first the image tower, then a linear map on top, both by the
class names' vectors.

Differences from the authors' code (rsamf/text-guided-mixup at e3ad8b2), all of them defects of it: alpha is that of the
phase on every machine, training images are shuffled, few-shot is fewer than 20 images, a frozen tower is in eval mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.api import LogUniform, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy, make_optimizer

from .text_guided_mixup import TextGuidedMixup


class TgmClip(TextGuidedMixup):
    """Text-guided mixup on CLIP: tower, then an adapter, with margins from the class names."""

    defaults_from = "text-guided-mixup, CIFAR-100-LT (50 and 10 epochs, Adam 1e-6 and 1e-2, alpha 1, tau 0.05)"
    needs = frozenset({"text", "clip"})
    loss_function: str = hp("mms", "margin metric softmax, or plain cross-entropy on the scaled cosines",
                            choices=("mms", "ce"))  # fmt: skip
    margin: float = hp(0.3, "margin of a class as far away as can be, times 1 - cosine of the names", low=0.0)
    temperature: float = hp(0.01, "what the cosines and margins are divided by", above=0.0)
    tower_share: float = hp(0.8333, "share of the steps that trains the tower; 0 trains the adapter alone",
                            low=0.0, high=1.0)  # fmt: skip
    tower_lr: float = hp(1e-6, "Adam's learning rate for the tower", search=LogUniform(1e-7, 1e-4), above=0.0)
    adapter_lr: float = hp(1e-2, "Adam's learning rate for the adapter", search=LogUniform(1e-4, 1e-1), above=0.0)
    adapter_alpha: float = hp(1.0, "`alpha` while the adapter trains", low=0.0)

    def head(self, dim: int) -> nn.Module:
        return TextAdapter(self.task.text_of(dim))

    def stages(self, model: Classifier) -> Iterator[Stage]:
        if self.tower_share > 0:
            if not any(True for _ in model.backbone.parameters()):
                raise ValueError("tgm_clip: there is no tower to train on precomputed features; set `tower_share: 0`")
            tower = make_optimizer(list(model.backbone.parameters()), "adam", self.tower_lr)
            yield Stage("tower", share=self.tower_share, optimizer=tower)
        if self.tower_share < 1:
            adapter = make_optimizer(list(model.head.parameters()), "adam", self.adapter_lr)
            yield Stage("adapter", share=1 - self.tower_share, optimizer=adapter)

    def label_shift(self, now: Moment) -> float:
        return self.adapter_alpha if now.stage == "adapter" else self.alpha

    @cached_property
    def cosines(self) -> Tensor:
        """(C, C) cosines of the class names' vectors, on the training device."""
        assert self.task.text is not None, "the plan skips this method where there are no class-name vectors"
        return (self.task.text @ self.task.text.T).to(self.task.device)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        if self.loss_function == "ce":
            return cross_entropy(logits / self.temperature, target)
        weights, classes = target.topk(2, dim=1)
        distance = 1 - self.cosines
        losses = []
        for weight, label in zip(weights.unbind(1), classes.unbind(1), strict=True):
            with_margin = (logits + self.margin * distance[label]) / self.temperature
            losses.append(weight * F.cross_entropy(with_margin, label, reduction="none"))
        return torch.stack(losses).sum(dim=0).mean()

    def predict(self, logits: Tensor) -> Tensor:
        return logits / self.temperature


class TextAdapter(nn.Module):
    """Cosines between a linear map of the feature, at first the identity, and the class names' vectors."""

    def __init__(self, text: Tensor) -> None:
        super().__init__()
        self.adapter = nn.Linear(text.shape[1], text.shape[1], bias=False)
        nn.init.eye_(self.adapter.weight)
        self.register_buffer("text", text.clone())

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(F.normalize(self.adapter(features), dim=1), self.get_buffer("text"))
