"""LP-FT: first the head alone, then everything, so that a head that fits does not distort the features."""

from __future__ import annotations

from collections.abc import Iterator

from ltbench.api import LogUniform, Stage, hp
from ltbench.parts import Classifier, make_optimizer

from .clip_full_finetune import ClipFullFinetune


class LpFt(ClipFullFinetune):
    """Linear probing, then full fine-tuning from where it ended."""

    paper = "Kumar, Raghunathan, Jones, Ma, Liang. Fine-Tuning can Distort Pretrained Features. ICLR 2022, section 3.4."
    defaults_from = "none: the paper searches its learning rates; those of clip_full_finetune, the budget halved"
    needs = frozenset()  # any backbone that was trained before, and any head
    probe_share: float = hp(0.5, "share of the steps that trains the head alone", above=0.0, high=0.95)
    probe_lr: float = hp(1e-3, "Adam's learning rate for the head alone", search=LogUniform(1e-5, 1e-1), above=0.0)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        probe = make_optimizer(list(model.head.parameters()), "adam", self.probe_lr)
        yield Stage("probe", share=self.probe_share, optimizer=probe)
        yield Stage("all", share=1 - self.probe_share, optimizer=self.over_all(model))
