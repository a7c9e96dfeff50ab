"""Optimizers and learning-rate schedules that a method keeps for itself, beside those of its stages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from ltbench.api import Stage
from ltbench.errors import clipped
from ltbench.training.checkpoints.checkpoint import Checkpoints


class HeldOptimizers(Checkpoints):
    """Looks on at a training, and finds what is on `self` without effect: optimizers of what no stage's optimizer has,
    which is frozen, and schedules of a stage's optimizer, which has the recipe's."""

    def __init__(self) -> None:
        super().__init__()
        self._live: Any = None
        self._trained: dict[int, nn.Parameter] = {}
        self._of_stages: list[torch.optim.Optimizer] = []

    def steps(self, live: Any, steps: int, total: int, stages: Iterator[Stage]) -> Iterator[int]:
        """As of Checkpoints; notes what the stage trains."""
        self._live = live
        self._of_stages.append(live.optimizer)
        self._trained |= {id(p): p for group in live.optimizer.param_groups for p in group["params"]}
        return super().steps(live, steps, total, stages)

    def problems(self) -> Iterator[str]:
        """What is to be said when the training is over."""
        if self._live is None:
            return
        of_model = {id(p): name for name, p in self._live.model.named_parameters()}
        for name, held in vars(self._live.method).items():
            if isinstance(held, LRScheduler) and any(held.optimizer is one for one in self._of_stages):
                yield (
                    f"self.{name} has no effect: the recipe's schedule sets the learning rate of a stage's optimizer "
                    f"before every step. Leave it out; what differs from the recipe is a factor in `step`, set before "
                    f"the update"
                )
            if not isinstance(held, torch.optim.Optimizer):
                continue
            parameters = [p for group in held.param_groups for p in group["params"]]
            frozen = [of_model[id(p)] for p in parameters if id(p) in of_model and id(p) not in self._trained]
            if frozen:
                yield (
                    f"self.{name} trains nothing: {clipped(', '.join(frozen))} is in no stage's optimizer, and so "
                    f"frozen. Put all that trains into the optimizer of the stage, what self.{name} updates in a group "
                    f"of its own with lr 0.0"
                )
