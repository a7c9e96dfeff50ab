"""LDAM with deferred re-weighting: larger margins for rarer classes on a cosine classifier."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor, nn

from ltbench.api import Moment, hp

from .ce_drw import DeferredReweight


class LdamDrw(DeferredReweight):
    """Larger margins for rarer classes on a cosine head, then deferred weights."""

    paper = "Cao, Wei, Gaidon, Arechiga, Ma. Learning Imbalanced Datasets with LDAM. NeurIPS 2019, equation 13 and DRW."
    defaults_from = "LDAM-DRW (largest margin 0.5, scale 30, beta 0.9999 from epoch 160 of 200)"
    max_margin: float = hp(0.5, "margin of the rarest class, on the cosine", low=0.0, high=1.0)
    scale: float = hp(30.0, "what the cosines are multiplied by before the softmax", above=0.0)

    @cached_property
    def margin(self) -> Tensor:
        """(C,) margins, the largest of them `max_margin`."""
        fourth_root = self.task.counts.clamp(min=1).pow(-0.25)
        return fourth_root * (self.max_margin / fourth_root.max())

    def head(self, dim: int) -> nn.Module:
        return self.task.cosine_head(dim, 1.0)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(self.scale * (logits - self.margin * target), target, now)

    def predict(self, logits: Tensor) -> Tensor:
        return self.scale * logits
