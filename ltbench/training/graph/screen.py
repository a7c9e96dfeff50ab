"""What a CUDA graph cannot hold, found in a pass before it is recorded, with the line that does it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_aten = torch.ops.aten
_SIZED_BY_NUMBERS = (
    _aten.nonzero, _aten.masked_select, _aten._unique2, _aten.unique_dim, _aten.unique_consecutive, _aten.bincount,
)  # fmt: skip
_INDEXING = (_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_)
_MOVING = (_aten._to_copy, _aten.copy_, *_INDEXING)
_OURS = str(Path(__file__).parents[1])
_TORCH = str(Path(torch.__file__).parent)


class Screen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lets everything pass and notes it.

    Attributes:
        reasons: what cannot be recorded, each with the innermost line that is neither torch's nor the engine's.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reasons: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, packet = kwargs or {}, func.overloadpacket
        result = func(*args, **kwargs)
        if packet is _aten._local_scalar_dense:
            self._note("reads a number of the device")
        elif packet in _SIZED_BY_NUMBERS or (packet in _INDEXING and _by_mask(args[1])):
            self._note("makes a tensor of a size that only the numbers tell")
        elif packet in _MOVING:
            both = [t for t in tree_leaves((args, result)) if isinstance(t, Tensor)]
            if len({t.device for t in both}) > 1:
                self._note("moves a tensor between the host and the device")
        return result

    def _note(self, what: str) -> None:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename.startswith((_OURS, _TORCH)):
            frame = frame.f_back
        place = "" if frame is None else f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno} "
        self.reasons.append(f"{place}{what}".strip())


def _by_mask(index: Any) -> bool:
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in index)
