"""All that training changes, in one place: what a checkpoint holds, and what it is put back into."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import GeneratorType
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler

from ltbench.api import Method, Stage
from ltbench.data.order import BatchOrder
from ltbench.parts import Classifier
from ltbench.training.checkpoints.state import NotResumable


@dataclass(frozen=True)
class LiveState:
    """The objects that change while a stage is trained.

    Attributes:
        batches: the state of the batches, as their `state` gives it: the generator of the augmentation and, for images
            that are decoded ahead, what waits. rng: the generator of the method's hooks. meter: the loss so far.
        stage, optimizer, schedule: of the stage that is trained now; the others are of the whole training.
    """

    model: Classifier
    method: Method
    order: BatchOrder
    batches: Any
    rng: np.random.Generator
    meter: object
    stage: Stage
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler

    def named(self) -> dict[str, Any]:
        """The objects by the names that checkpoints on disks have for them."""
        return {
            "model": self.model,
            "method": self.method,
            "order": self.order,
            "crops": self.batches,
            "dice": self.rng,
            "meter": self.meter,
            "stage": self.stage,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }


def torch_rng_state() -> dict[str, torch.Tensor]:
    """The state of torch's global generators: `cpu`, and `cuda` for the current GPU where one is in use."""
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return {"cpu": torch.get_rng_state(), **({"cuda": torch.cuda.get_rng_state()} if on_gpu else {})}


def set_torch_rng_state(saved: Mapping[str, torch.Tensor]) -> None:
    """The inverse of `torch_rng_state`."""
    torch.set_rng_state(saved["cpu"])
    if "cuda" in saved:
        torch.cuda.set_rng_state(saved["cuda"])


def locals_of(stages: Any) -> list[dict[str, Any]]:
    """The local variables of a method's `stages` where it waits, and of the generators it waits for in turn. Iterators
    are left out: running the code again brings them to their place."""
    found = []
    while isinstance(stages, GeneratorType):
        found.append({k: v for k, v in inspect.getgeneratorlocals(stages).items() if not hasattr(type(v), "__next__")})
        stages = stages.gi_yieldfrom
    return found


def check_locals(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """A local variable can be filled, but not be made to name another object; so it must be equal.

    Raises:
        NotResumable: it is not.
    """
    for name in old.keys() | new.keys():
        a, b = old.get(name), new.get(name)
        same = np.array_equal(a, b) if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else a is b or a == b
        if not same:
            raise NotResumable(f"the variable {name!r} of `stages` follows from the training; keep it on self")
