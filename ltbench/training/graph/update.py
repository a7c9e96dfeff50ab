"""The update of the weights, recorded as the passes are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ltbench.training.graph.ops import Recorded
from ltbench.training.graph.passes import RecordedPasses, Unfaithful, first_words

MOST = 16
"""Updates that are recorded, one for every learning rate. Where a schedule has more, such as a cosine, they are not."""
WATCHED = 2
"""So many updates run as they are before one is recorded."""


class RecordedUpdate:
    """Stands for an optimizer: `step` runs what was recorded at the same learning rate, everything else is its own.

    Args:
        optimizer: torch's SGD, whose update does nothing on the host but to read its settings.
        passes: whose gradients it reads. make: a new recording.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, passes: RecordedPasses, make: Callable[[Any], Recorded]
    ) -> None:
        self._optimizer, self._passes, self._make = optimizer, passes, make
        self._recorded: dict[Any, Recorded] = {}
        self._seen: dict[Any, int] = {}

    @staticmethod
    def serves(optimizer: torch.optim.Optimizer) -> bool:
        """Whether this optimizer's update can be recorded."""
        hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
        return type(optimizer) is torch.optim.SGD and not any(hooks)

    def step(self) -> None:
        """Update the weights.

        Raises:
            Unfaithful: it cannot be recorded.
        """
        if self._passes.replayed is None:
            self._optimizer.step()
            return
        key = self._key()
        if key not in self._recorded:
            self._seen[key] = self._seen.get(key, 0) + 1
            if self._seen[key] <= WATCHED or len(self._seen) > MOST:
                self._optimizer.step()
                return
            self._recorded[key] = self._record()
        self._recorded[key].replay()

    def _record(self) -> Recorded:
        try:
            recorded = self._make(None)
            recorded.record(self._optimizer.step)
        except Exception as error:
            raise Unfaithful(first_words(error)) from error
        return recorded

    def _key(self) -> Any:
        """What an update depends on: where the gradients are, and the settings."""
        groups = self._optimizer.param_groups
        settings = tuple(tuple((k, v) for k, v in group.items() if k != "params") for group in groups)
        return id(self._passes.replayed), settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)
