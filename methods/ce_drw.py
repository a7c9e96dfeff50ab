"""Deferred re-weighting: plain cross-entropy first, class weights for the last stretch."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from ltbench.api import Method, Moment, hp
from ltbench.parts import cross_entropy, effective_number_weights


class DeferredReweight(Method):
    """Cross-entropy with effective-number weights from the first lr drop on."""

    paper = "Cao, Wei, Gaidon, Arechiga, Ma. Learning Imbalanced Datasets with LDAM. NeurIPS 2019, section 3.3 (DRW)."
    defaults_from = "LDAM-DRW (beta 0.9999 from epoch 160 of 200)"
    beta: float = hp(0.9999, "effective number's beta; 0 is unweighted", low=0.0, high=0.999999)
    defer: float = hp(0.8, "fraction of training before the weights set in", low=0.0, high=1.0)

    @cached_property
    def weight(self) -> Tensor:
        """(C,) class weights that sum to C."""
        return effective_number_weights(self.task.counts, self.beta)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits, target, self.weight if now.progress >= self.defer else None)
