"""Tip-Adapter-F: Tip-Adapter, whose keys are then trained."""

from __future__ import annotations

from ltbench.api import LogUniform, Stage, hp
from ltbench.parts import make_optimizer

from .tip_adapter import Cache, TipAdapter


class TipAdapterF(TipAdapter):
    """The class names' cosines, and a vote of training images whose keys are trained."""

    defaults_from = "Tip-Adapter, ImageNet (16 shots, alpha 1, beta 5.5, AdamW 1e-3)"
    lr: float = hp(1e-3, "AdamW's learning rate for the keys", search=LogUniform(1e-4, 1e-2), above=0.0)

    def adapted(self, cache: Cache) -> Stage:
        return Stage("keys", optimizer=make_optimizer([cache.keys], "adamw", self.lr))
