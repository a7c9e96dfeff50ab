"""Operations that are recorded once and run again without Python: a CUDA graph, and a stand-in for machines without a
GPU that has the same rules."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Result = TypeVar("Result")
_WRITTEN = ("running_mean", "running_var")
"""Batch-norm changes them; torch's schemas do not say so."""


class Recorded(Protocol):
    """What was recorded. Every tensor stays where it was in memory, every Python number what it was."""

    def record(self, work: Callable[[], Result]) -> Result:
        """Record what `work` does; nothing is computed yet. The tensors in the result are filled by every `replay`."""

    def replay(self) -> None:
        """Compute all of it."""


@contextmanager
def _garbage_waits() -> Iterator[None]:
    """What else is thrown away, such as the graphs of an earlier trial, gives back what belongs to CUDA, which ends a
    recording on the same thread."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class CudaGraph:
    """torch.cuda.CUDAGraph on the current stream, which must not be the default one.

    Args:
        pool: of an earlier graph that may share its memory; None: memory of its own.
    """

    def __init__(self, pool: Any = None) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._pool = pool

    @property
    def pool(self) -> Any:
        """Its memory, for another graph."""
        return self._graph.pool()

    def record(self, work: Callable[[], Result]) -> Result:
        """As in `Recorded`. After an error the process can compute, and record, as if nothing had been recorded."""
        stream: Any = torch.cuda.current_stream()
        pool: Any = torch.cuda.graph_pool_handle() if self._pool is None else self._pool
        try:
            with (
                _garbage_waits(),
                torch.cuda.graph(self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
            ):
                return work()
        except BaseException:
            self._clear_away(pool)
            raise

    def _clear_away(self, pool: Any) -> None:
        """What torch leaves half done: memory that would stay taken, and a generator that takes every later random
        number for one of the recording and refuses it. (Newer torch, such as 2.14, does the first by itself.)"""
        device = torch.cuda.current_device()
        with suppress(Exception):
            self._graph.reset()
        with suppress(Exception):
            torch._C._cuda_endAllocateToPool(device, pool)  # an error where it has ended: then it is given back, too
            torch._C._cuda_releasePool(device, pool)
        generator: Any = torch.cuda.default_generators[device]
        generator.graphsafe_set_state(generator.clone_state())

    def replay(self) -> None:
        """As in `Recorded`."""
        self._graph.replay()


class RecordedOps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The same on any device, for tests: torch's operations below autograd with the very tensors and numbers they were
    called with. So it shows on a CPU what a CUDA graph would get wrong, such as a Python number that changes."""

    pool = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._made: set[int] = set()

    def record(self, work: Callable[[], Result]) -> Result:
        """As in `Recorded`. It does compute, so what was changed is put back."""
        generator = torch.get_rng_state()
        with self:
            result = work()
        with torch.no_grad():
            for tensor, value in self._before.values():
                tensor.copy_(value)
        torch.set_rng_state(generator)
        self._before.clear()
        return result

    @torch.no_grad()
    def replay(self) -> None:
        """As in `Recorded`."""
        for func, args, kwargs, kept in self._calls:
            new = func(*args, **kwargs)
            for old, value in zip(tree_leaves(kept), tree_leaves(new), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != value.data_ptr():
                    old.copy_(value)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket is torch.ops.aten._local_scalar_dense:
            raise RuntimeError("a graph cannot read a number of the device")
        for i, argument in enumerate(func._schema.arguments):
            writes = argument.alias_info is not None and argument.alias_info.is_write
            if writes or argument.name in _WRITTEN:
                changed = args[i] if i < len(args) else kwargs.get(argument.name)
                for tensor in tree_leaves(changed):
                    self._keep(tensor)
        result = func(*args, **kwargs)
        self._calls.append((func, args, kwargs, result))
        self._made |= {t.untyped_storage().data_ptr() for t in tree_leaves(result) if isinstance(t, Tensor)}
        return result

    def _keep(self, tensor: Any) -> None:
        """Note what a tensor from outside was before it is changed for the first time."""
        if not isinstance(tensor, Tensor):
            return
        where = tensor.untyped_storage().data_ptr()
        if where not in self._made and where not in self._before:
            whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())
            self._before[where] = (whole, whole.clone())
