"""DisAlign: a plainly trained model whose logits are then scaled and shifted, more where an image asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

from ltbench.api import Choice, Method, Moment, Stage, hp
from ltbench.parts import Classifier, cross_entropy, power_weights


class Aligned(nn.Module):
    """A classifier whose logits z become (1 + s a) z + s b: a and b one per class, s = sigmoid(w x + c) per image."""

    def __init__(self, classifier: nn.Module, dim: int, num_classes: int) -> None:
        super().__init__()
        self.classifier, self.confidence = classifier, nn.Linear(dim, 1)
        nn.init.constant_(self.confidence.weight, 0.1)
        self.scale, self.bias = nn.Parameter(torch.ones(num_classes)), nn.Parameter(torch.zeros(num_classes))

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, dim) -> aligned logits (N, C)."""
        logits, confidence = self.classifier(features), self.confidence(features).sigmoid()
        out: Tensor = (1 + confidence * self.scale) * logits + confidence * self.bias
        return out


class DisAlign(Method):
    """Plain training, then logits are scaled and shifted per class on a re-weighted loss."""

    paper = (
        "Zhang, Li, Yan, He, Sun. Distribution Alignment for Long-tail Visual Recognition. CVPR 2021, equations 4 to 9."
    )
    defaults_from = (
        "DisAlign, resx50.scratch.imagenet_lt.224size.90e.disalign.10e (rho 1.2; 10 of 100 epochs); the scale is what "
        "is added to 1, and begins at 1, as in its DisAlignLinear"
    )
    rho: float = hp(
        1.2, "how strongly rarer classes are weighted: 0 not, 1 inversely", search=Choice(0.5, 1.0, 1.2, 1.5)
    )
    align_share: float = hp(0.1, "fraction of the steps that trains the alignment", above=0.0, high=0.9)

    @cached_property
    def weight(self) -> Tensor:
        """(C,) class weights that sum to C."""
        return power_weights(self.task.counts, self.rho)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("representation", share=1 - self.align_share)
        dim = int(model.backbone.dim)  # type: ignore[arg-type]
        aligned = Aligned(model.head, dim, self.task.num_classes).to(self.task.device)
        model.head = aligned
        params = [*aligned.confidence.parameters(), aligned.scale, aligned.bias]
        yield Stage("alignment", share=self.align_share, optimizer=self.task.optimizer(params))

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits, target, self.weight if now.stage == "alignment" else None)
