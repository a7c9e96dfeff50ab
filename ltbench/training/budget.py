"""What a training costs in units that no machine changes: steps, images, passes and parameters."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from ltbench.api import Method, Moment, Stage
from ltbench.errors import UserError
from ltbench.training.graph.passes import Pass

_PROBES = (0.0, 0.25, 0.5, 0.75, 0.99)
"""Positions in a stage where `draw` is asked how many images it reads."""


class Spent:
    """Counts what one training costs, in the loop itself: whatever a method does, it cannot miscount.

    Attributes:
        counts: name -> how many so far. Checkpoints keep it; a stage that another trial trained brings its own.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("optimizer_steps", "images_read", "forward_passes", "backward_passes"), 0)
        self._all: dict[int, int] = {}
        self._trained: dict[int, int] = {}
        self._planned = 0

    def begin(self, model: nn.Module) -> None:
        """A training of this model begins."""
        self._all = {id(p): p.numel() for p in model.parameters()}

    def trains(self, optimizer: torch.optim.Optimizer, steps: int) -> None:
        """A stage begins that trains what is in this optimizer, for so many steps."""
        self._trained |= {id(p): p.numel() for group in optimizer.param_groups for p in group["params"]}
        self._planned += steps

    def counting(self, passes: Pass) -> Pass:
        """The same passes, counted. A recorded pass that runs again counts as the pass that it is."""

        def counted(x: torch.Tensor, target: Any, now: Moment) -> torch.Tensor:
            self.counts["forward_passes"] += 1
            self.counts["backward_passes"] += 1
            return passes(x, target, now)

        return counted

    def stepped(self, images: int) -> None:
        """A step is over for which so many images were read."""
        self.counts["optimizer_steps"] += 1
        self.counts["images_read"] += images

    def looked(self, images: int) -> None:
        """So many images went through the model in a look that trains nothing."""
        self.counts["images_read"] += images
        self.counts["forward_passes"] += 1

    def told(self, batch_size: int) -> dict[str, float]:
        """What the record says. Nothing of steps, images and passes where a checkpoint of an earlier version, which
        does not count, gave only the rest of a training.

        Args:
            batch_size: the recipe's: so many examples are in a step.
        """
        found: dict[str, float] = {
            "parameters": sum((self._all | self._trained).values()),
            "trained_parameters": sum(self._trained.values()),
        }
        steps = self.counts["optimizer_steps"]
        if steps == self._planned:
            found |= self.counts
            if steps:
                found["images_per_example"] = round(self.counts["images_read"] / (steps * batch_size), 4)
                found["passes_per_step"] = round(self.counts["backward_passes"] / steps, 4)
        return found


def images_per_example(method: Method, batch_size: int) -> float:
    """How many images `draw` reads for an example, on average over a stage; asked of a copy, with random numbers of its
    own, before anything is trained.

    Raises:
        UserError: `draw` cannot say before the training.
    """
    if type(method).draw is Method.draw:
        return 1.0
    asked = np.arange(batch_size, dtype=np.int64) % len(method.task.labels)
    devices = [method.task.device] if method.task.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            probe, rng = copy.deepcopy(method), np.random.default_rng(0)
            moments = [Moment(Stage.name, at, rng, method.task.device) for at in _PROBES]
            return float(np.mean([len(probe.draw(asked.copy(), now)) for now in moments])) / batch_size
    except Exception as error:
        raise UserError(
            f"protocol.budget: images: `draw` of {method.name} does not say before the training how many images it "
            f"reads ({type(error).__name__}: {error}); `budget: steps` needs not know"
        ) from error
