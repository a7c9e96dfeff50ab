"""Full fine-tuning: every weight of the tower and a head that starts at the class names."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ltbench.api import LogUniform, Method, Stage, hp
from ltbench.parts import Classifier, make_optimizer


class ClipFullFinetune(Method):
    """Cross-entropy on all weights, tower and head each at a learning rate of its own."""

    paper = "Wortsman, Ilharco, et al. Robust Fine-Tuning of Zero-Shot Models. CVPR 2022 (before averaging)."
    defaults_from = "WiSE-FT (AdamW 3e-5, weight decay 0.1, head from the class names)"
    needs = frozenset({"text", "clip"})
    tower_lr: float = hp(3e-5, "AdamW's learning rate for the tower", search=LogUniform(1e-7, 1e-4), above=0.0)
    head_lr: float = hp(3e-5, "AdamW's learning rate for the head", search=LogUniform(1e-6, 1e-2), above=0.0)
    weight_decay: float = hp(0.1, "AdamW's weight decay", low=0.0)

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("all", optimizer=self.over_all(model))

    def over_all(self, model: Classifier) -> torch.optim.Optimizer:
        """AdamW over tower and head."""
        groups = [
            {"params": list(model.backbone.parameters()), "lr": self.tower_lr},
            {"params": list(model.head.parameters()), "lr": self.head_lr},
        ]
        groups = [group for group in groups if group["params"]]
        return make_optimizer(groups, "adamw", self.tower_lr, weight_decay=self.weight_decay)
