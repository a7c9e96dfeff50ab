"""What a method would do wrong on a GPU, found on any machine: it is trained on a stand-in whose numbers nobody reads.

Torch's meta device has shapes and no numbers. A tensor that was left on the CPU meets one of the device, a number is
read by the host: both show there as they would on a GPU, where the first fails and the second makes every step wait.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ltbench.api import Method, Moment, Stage
from ltbench.errors import place_of
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.engine import Clock
from ltbench.training.evaluation import logits_of
from ltbench.training.madeup import RECIPE, batches, images, model_for, task_for, train_on_it

_aten = torch.ops.aten
_COPIES = (_aten._to_copy, _aten.copy_)
_INDEXING = (_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_)
"""These take positions that lie on the CPU; they are sent to the device first."""
_OFTEN = 2
"""What is waited for in more steps per stage than that is waited for in every step, not once per epoch or stage."""

READ = "reads a number of the device, for which the host waits; keep it in a tensor (torch.where instead of `if`)"
SENT = "sends a tensor to the device and waits for it; make it once (functools.cached_property, on `self.task.device`)"
SELECTED = "takes a selection of a size that only the numbers tell, so the host waits; use torch.where or weights of 0"
UNTRIED = "is as far as this was tried: without the numbers torch does not know the shape of what comes out there"

_UNFITTED = (AttributeError, TypeError)
"""What `predict` may raise where `fit`, which needs numbers and is left out here, has not made what it reads."""


def _bincount(x: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    return x.new_zeros(max(1, minlength), dtype=torch.int64 if weights is None else weights.dtype)


def _unique(x: Tensor, *options: Any, **more: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_zeros(1), x.new_zeros(x.shape, dtype=torch.int64), x.new_zeros(1, dtype=torch.int64)


_SELECTIONS: dict[Any, Any] = {
    _aten.nonzero: lambda x: x.new_zeros((1, x.ndim), dtype=torch.int64),
    _aten.masked_select: lambda x, mask: x.new_zeros(1),
    _aten._unique2: _unique,
    _aten.bincount: _bincount,
}
"""What is found is made up: one of it."""


def _one_of_each(index: list[Tensor | None]) -> list[Tensor | None]:
    """Positions in place of masks: of a single element."""
    found: list[Tensor | None] = []
    for i in index:
        masks = i is not None and i.dtype == torch.bool
        found += [i.new_zeros(1, dtype=torch.int64)] * i.ndim if masks and i is not None else [i]
    return found


class Rehearsal(NamedTuple):
    """What a rehearsal on a machine without a GPU found."""

    failure: str | None
    """What would end the training on a GPU."""
    waits: list[str]
    """Where every step would wait for the GPU: right, but slow."""


def rehearse(cls: type[Method]) -> Rehearsal:
    """Train a method on the made-up task without a number."""
    files = method_files(cls)
    device = torch.device("meta")
    host, sample = Host(files), SampledSteps()

    def waits() -> list[str]:
        return host.often(_OFTEN * sample.stages)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of copies that do nothing
            method = cls(task_for(cls, device=device))
            model = model_for(method)
            with host:
                clock = CountedSteps(host, np.random.default_rng(0), device)
                train_on_it(method, model, checkpoints=sample, clock=clock)
                with suppress(*_UNFITTED if cls.fit is not Method.fit else ()):
                    method.predict(torch.from_numpy(logits_of(model, batches(device), RECIPE)).to(device))
    except NotImplementedError as error:  # torch's way of saying that a shape follows from numbers
        place = place_of(error, files).strip(" ()") or cls.name
        return Rehearsal(None, [*waits(), f"{place}, {UNTRIED}"])
    except Exception as error:  # as in contract.check_method
        message = re.sub(r"\bmeta\b", "cuda", str(error))
        return Rehearsal(f"{type(error).__name__}: {message}{place_of(error, files)}", waits())
    return Rehearsal(None, waits())


def method_files(cls: type[Method]) -> list[Path]:
    """The files that make the class what it is."""
    return [Path(inspect.getfile(b)) for b in cls.__mro__ if issubclass(b, Method) and b is not Method]


class SampledSteps(Checkpoints):
    """Takes one epoch's worth of the steps of every stage, drawn at random, the first and the last among them: numbers
    do not matter, and what a step does depends on the stage and on how far it is.

    Attributes:
        stages: how many were begun.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages = 0
        self._rng = np.random.default_rng(0)

    def steps(self, live: Any, steps: int, total: int, stages: Iterator[Stage]) -> Iterator[int]:
        self.stages += 1
        epoch = math.ceil(len(images()[1]) / RECIPE["batch_size"])
        if steps <= epoch:
            return iter(range(steps))
        inner = self._rng.choice(np.arange(1, steps - 1), epoch - 2, replace=False)
        return iter([0, *sorted(inner.tolist()), steps - 1])


class CountedSteps(Clock):
    """Tells the host when a step begins."""

    def __init__(self, host: Host, rng: np.random.Generator, device: torch.device) -> None:
        super().__init__(rng, device)
        self._host = host

    def ahead(self, stage: Stage, progress: float) -> Moment:
        self._host.step += 1  # `draw` is the first thing that a step does
        return super().ahead(stage, progress)


class Host(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches what passes between the host and the device, and refuses what a GPU would refuse.

    Attributes:
        step: which one of the training it is, 0 before the first (`CountedSteps`).
        waits: the steps in which the host waited, by what for and the innermost line of the method; the line is empty
            where the harness did. times: how often it waited, by what for.
    """

    def __init__(self, files: list[Path]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._files = {str(file) for file in files}
        self.step = 0
        self.waits: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self.times: Counter[str] = Counter()

    def count(self, what: str) -> int:
        """In how many steps of the training the host waited for this, because of the method or of the harness."""
        return len(set().union(*(steps for (kind, _), steps in self.waits.items() if kind == what)) - {0})

    def often(self, steps: int) -> list[str]:
        """Sentences on the method's lines that wait in more than so many steps."""
        return [f"{place} {what}" for (what, place), found in self.waits.items() if place and len(found) > steps]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if packet is _aten._local_scalar_dense and args[0].is_meta:
            self._wait(READ)
            return 0.5 if args[0].is_floating_point() else 1
        if packet is _aten.to:  # in inference mode it comes whole
            with self:
                return func.decompose(*args, **kwargs)
        if packet in _COPIES:
            return self._copy(func, args, kwargs)
        if packet in _SELECTIONS and args[0].is_meta:
            self._wait(SELECTED)
            return _SELECTIONS[packet](*args, **kwargs)
        if packet in _INDEXING and any(i is not None and i.is_meta and i.dtype == torch.bool for i in args[1]):
            self._wait(SELECTED)
            args = (args[0], _one_of_each(args[1]), *args[2:])
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        on_device = [t for t in tensors if t.is_meta]
        left = [t for t in tensors if not t.is_meta and t.ndim]  # single numbers are taken from the CPU
        if on_device and left:
            if packet not in _INDEXING or not args[0].is_meta:
                raise RuntimeError(f"{packet.__name__}: one tensor is on the device, another, of shape "
                                   f"{tuple(left[0].shape)}, on the CPU")  # fmt: skip
            self._wait(SENT)
        return func(*args, **kwargs)

    def _copy(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A copy between the two; one from the device has made-up numbers."""
        if func.overloadpacket is _aten.copy_:
            to, source = args[:2]
            if source.is_meta and not to.is_meta:
                self._wait(READ)
                return to
            result = func(*args, **kwargs)
        else:
            source, to = args[0], kwargs.get("device")
            if source.is_meta and to is not None and torch.device(to).type == "cpu":
                self._wait(READ)
                return torch.zeros(source.shape, dtype=kwargs.get("dtype") or source.dtype)
            result = func(*args, **kwargs)
        waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
        if result.is_meta and not source.is_meta and waits:
            self._wait(SENT)
        return result

    def _wait(self, what: str) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code.co_filename not in self._files:
            frame = None if frame.f_code is rehearse.__code__ else frame.f_back
        place = "" if frame is None else f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno},"
        self.waits[what, place].add(self.step)
        self.times[what] += 1
