"""Whether the steps of a trial are recorded, and what its record says of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from ltbench.api import Method
from ltbench.errors import UserError
from ltbench.training.device.compiled import FUSED
from ltbench.training.graph.lean import Lean
from ltbench.training.graph.ops import CudaGraph, Recorded, RecordedOps
from ltbench.training.graph.passes import Pass, RecordedPasses
from ltbench.training.graph.update import RecordedUpdate

STEPS = ("auto", "graph", "eager")
"""How a step may run: as a CUDA graph where it can, as one or not at all, operation by operation."""
FEWEST_STEPS = 20
"""A stage of fewer steps is over before recording pays."""


class GraphUse:
    """How the steps of one trial run.

    Args:
        step: auto, graph or eager; `eager: ...` is eager for a reason. device: where the trial runs.
        compile: the recipe's. make: another kind of recording than a CUDA graph, which then serves on any device.

    Attributes:
        problem: why the trial's steps run operation by operation; None: they are recorded, or none has been run.
    """

    def __init__(
        self,
        step: str,
        device: torch.device,
        compile: str = "none",
        make: Callable[[Any], Recorded] | None = None,
    ) -> None:
        self._device, self._compile, self._step = device, compile, step
        self._make: Callable[[Any], Recorded] = make or CudaGraph
        self._passes: RecordedPasses | None = None
        self._own = make is not None
        self._strict = step == "graph" and not self._own
        self.problem = self._first_problem()

    @classmethod
    def emulated(cls) -> GraphUse:
        """Recorded by a stand-in, on any device."""
        return cls("graph", torch.device("cpu"), make=lambda pool: RecordedOps())

    def _first_problem(self) -> str | None:
        if self._step.startswith("eager"):
            return self._step.partition(": ")[2] or "asked for"
        if self._device.type != "cuda" and not self._own:
            return "there is no GPU"
        if self._compile not in ("none", FUSED):
            return "the network is compiled"
        return None

    def stream(self) -> AbstractContextManager[Any]:
        """Where everything of the training must run: a graph cannot be recorded on the default stream.

        Raises:
            UserError: a graph was asked for, and there can be none.
        """
        if self._strict and self.problem is not None:
            raise UserError(f"resources.step: `graph` was asked for, but {self.problem}; `auto` trains all the same")
        if self.problem is not None or self._device.type != "cuda":
            return nullcontext()
        return _Aside(self._device)

    def passes(
        self, eager: Pass, model: nn.Module, method: Method, optimizer: torch.optim.Optimizer, steps: int
    ) -> Pass:
        """What gives the gradients of a stage of so many steps."""
        self._note()
        if self.problem is not None or steps < FEWEST_STEPS:
            return eager
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        lean = partial(Lean, model, self._beside_stream())
        self._passes = RecordedPasses(eager, model, method, parameters, self._make, lean, strict=self._strict)
        return self._passes

    def updates(self, method: Method, optimizer: torch.optim.Optimizer) -> Any:
        """What updates the weights: the optimizer, or one that stands for it where `step` is the harness's own."""
        if self._passes is None or type(method).step is not Method.step or not RecordedUpdate.serves(optimizer):
            return optimizer
        return RecordedUpdate(optimizer, self._passes, self._make)

    def told(self) -> str | None:
        """What the record says; None: nothing, for a trial on a CPU that was not asked for a graph."""
        self._note()
        if self._device.type != "cuda" and not self._own and self._step != "graph":
            return None
        return "graph" if self.problem is None else f"eager: {self.problem}"

    def close(self) -> None:
        """Give back the memory of what was recorded."""
        self._note()
        if self._device.type == "cuda" and self.problem is None:
            torch.cuda.empty_cache()

    def _beside_stream(self) -> Any:
        if self._device.type != "cuda":
            return None
        beside = torch.cuda.current_stream(self._device).cuda_stream
        if beside not in _besides:
            _besides[beside] = _new_stream(self._device)
        return _besides[beside]

    def _note(self) -> None:
        """The problem of a stage is that of the trial."""
        if self._passes is not None and self.problem is None:
            self.problem = self._passes.problem
        self._passes = None


class _Aside:
    """A stream of its own that begins after what the default one has begun, and ends before what it begins next.
    Whoever has one already (execution/here/turns.py) keeps it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._inside: Any = None

    def __enter__(self) -> None:
        self._before: Any = torch.cuda.current_stream(self._device)
        if self._before.cuda_stream != torch.cuda.default_stream(self._device).cuda_stream:
            return
        self._free = _free.setdefault(str(self._before.device), [])
        try:
            self._stream = self._free.pop()
        except IndexError:
            self._stream = _new_stream(self._device)
        self._stream.wait_stream(self._before)
        self._inside = torch.cuda.stream(self._stream)
        self._inside.__enter__()

    def __exit__(self, *error: object) -> None:
        if self._inside is not None:
            self._inside.__exit__(*error)
            self._before.wait_stream(self._stream)
            self._free.append(self._stream)


# A process that trains one trial after the other uses the same streams for all: torch has 32 and hands them out in
# turn, and for every one on which a thread multiplies matrices cuBLAS is given 32 MB and more until the process ends.
_free: dict[str, list[Any]] = {}
"""By device: streams that no training has now."""
_besides: dict[int, Any] = {}
"""By the stream of a training: the one beside it."""


def _new_stream(device: torch.device) -> Any:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
