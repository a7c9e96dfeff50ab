"""The operations of AutoAugment and RandAugment for a batch of small images, each image with one of its own.

What an operation does to images of one size is worked out once, by torchvision: a move of pixels is a table of where
each comes from, a change of values a table of 256. The rest are a few operations per batch on whole numbers, or on
floats in an order that gives the same on a CPU and on a GPU. So images are bit-equal to torchvision's uint8 tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NONE = -1
"""The operation that leaves an image as it is."""


class Operation(NamedTuple):
    """A name as in torchvision, and how strongly it is done: shear (tangent), pixels, degrees, bits, a threshold, or
    what is added to a factor of 1; of no meaning for AutoContrast, Equalize and Invert."""

    name: str
    magnitude: float = 0.0


class Operations:
    """Some operations for images of one size, each known by its position.

    Args:
        operations: what may be done. size: side of the images, pixels. fill: value of pixels from outside of the image.
    """

    def __init__(self, operations: Sequence[Operation], size: int, device: torch.device, fill: int = 0) -> None:
        self._fill = fill
        self._kinds = np.array([*(KINDS[o.name] for o in operations), KINDS["Identity"]])  # the last one is for NONE
        self._slots = np.zeros(len(self._kinds), np.int64)
        tables: dict[str, list[Tensor]] = {"move": [], "table": [], "blend": []}
        for i, operation in enumerate(operations):
            needs, make = _NEEDS.get(_NAMES[self._kinds[i]], ("", factors))
            if needs:
                self._slots[i] = len(tables[needs])
                tables[needs].append(make(operation, size))
        made = {name: torch.stack(rows).to(device) for name, rows in tables.items() if rows}
        self._moves, self._values, self._factors = (made.get(name, torch.empty(0)) for name in tables)

    def __call__(self, x: Tensor, which: NDArray[np.int64]) -> Tensor:
        """Images (B, H, W, channels) uint8, changed in place, and the operation of each, (B,), NONE for none."""
        kinds = self._kinds[which]
        order = kinds.argsort(kind="stable")
        counts = np.bincount(kinds, minlength=len(_NAMES)).tolist()
        sent = torch.from_numpy(np.stack([order, self._slots[which[order]]])).to(x.device, non_blocking=True)
        end = 0
        for kind, count in zip(_NAMES, counts, strict=True):
            begin, end = end, end + count
            if count and kind in _CHANGES:
                rows, slots = sent[:, begin:end].unbind()
                x[rows] = _CHANGES[kind](self, x[rows], slots)
        return x

    def _move(self, x: Tensor, slots: Tensor) -> Tensor:
        source, flat = self._moves[slots].long(), x.flatten(1, 2)
        outside = source == flat.shape[1]
        rows = torch.arange(len(x), device=x.device)[:, None]
        moved = flat[rows, source.masked_fill(outside, 0)]
        return moved.masked_fill(outside[:, :, None], self._fill).view_as(x)

    def _table(self, x: Tensor, slots: Tensor) -> Tensor:
        return self._values[slots].gather(1, x.flatten(1).long()).view_as(x)

    def _color(self, x: Tensor, slots: Tensor) -> Tensor:
        return x if x.shape[3] == 1 else self._blend(x, grey(x), slots)

    def _contrast(self, x: Tensor, slots: Tensor) -> Tensor:
        # The sum is taken in whole numbers: no order of adding up changes it.
        mean = grey(x).sum(dim=(1, 2, 3), dtype=torch.int64).float() / (x.shape[1] * x.shape[2])
        return self._blend(x, mean[:, None, None, None], slots)

    def _sharpness(self, x: Tensor, slots: Tensor) -> Tensor:
        return self._blend(x, blurred(x), slots)

    def _blend(self, x: Tensor, other: Tensor, slots: Tensor) -> Tensor:
        own, rest = self._factors[slots][:, :, None, None, None].unbind(1)
        return (own * x + rest * other).clamp(0, 255).to(torch.uint8)

    def _autocontrast(self, x: Tensor, slots: Tensor) -> Tensor:
        low, high = (edge(x, dim=(1, 2), keepdim=True).float() for edge in (torch.amin, torch.amax))
        flat = low == high
        scale = torch.where(flat, 1.0, 255 / (high - low))
        return ((x - torch.where(flat, 0.0, low)) * scale).clamp(0, 255).to(torch.uint8)

    def _equalize(self, x: Tensor, slots: Tensor) -> Tensor:
        channels = x.permute(0, 3, 1, 2).flatten(2).flatten(0, 1).long()
        below = counts_below(channels)
        # All pixels but those of the highest value there is, in 255 equal steps.
        step = below.gather(1, channels.amax(dim=1, keepdim=True)) // 255
        table = ((below + step // 2) // step.clamp(min=1)).clamp(0, 255)
        made = torch.where(step == 0, channels, table.gather(1, channels)).to(torch.uint8)
        return made.view(x.shape[0], x.shape[3], *x.shape[1:3]).permute(0, 2, 3, 1)


_CHANGES: dict[str, Callable[[Operations, Tensor, Tensor], Tensor]] = {
    "move": Operations._move,
    "table": Operations._table,
    "color": Operations._color,
    "contrast": Operations._contrast,
    "sharpness": Operations._sharpness,
    "autocontrast": Operations._autocontrast,
    "equalize": Operations._equalize,
}
_NAMES = ("nothing", *_CHANGES)
_BY_KIND = {
    "nothing": ("Identity",),
    "move": ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    "table": ("Brightness", "Posterize", "Solarize", "Invert"),
    "color": ("Color",),
    "contrast": ("Contrast",),
    "sharpness": ("Sharpness",),
    "autocontrast": ("AutoContrast",),
    "equalize": ("Equalize",),
}
KINDS = {name: _NAMES.index(kind) for kind, names in _BY_KIND.items() for name in names}
"""Of which kind an operation is."""


def moves(operation: Operation, size: int) -> Tensor:
    """(size * size,) int32: which pixel each pixel becomes; size * size where it comes from outside."""
    from torchvision.transforms import functional as F  # a quarter of a second, for those who augment

    places = torch.arange(1.0, size * size + 1).view(1, size, size)
    name, m = operation
    shear = {"ShearX": [math.degrees(math.atan(m)), 0.0], "ShearY": [0.0, math.degrees(math.atan(m))]}
    shift = {"TranslateX": [int(m), 0], "TranslateY": [0, int(m)]}
    if name == "Rotate":
        moved = F.rotate(places, m)
    else:
        centre = [0, 0] if name in shear else None
        moved = F.affine(places, 0.0, shift.get(name, [0, 0]), 1.0, shear.get(name, [0.0, 0.0]), center=centre)
    return torch.where(moved == 0, size * size, moved - 1).int().flatten()


def values(operation: Operation, size: int) -> Tensor:
    """(256,) uint8: what each value of a pixel becomes."""
    from torchvision.transforms import functional as F

    ramp, (name, m) = torch.arange(256, dtype=torch.uint8).view(1, 16, 16), operation
    if name == "Brightness":
        changed = F.adjust_brightness(ramp, 1.0 + m)
    elif name == "Posterize":
        changed = F.posterize(ramp, int(m))
    else:
        changed = F.solarize(ramp, m) if name == "Solarize" else F.invert(ramp)
    return torch.as_tensor(changed).flatten()


def factors(operation: Operation, size: int) -> Tensor:
    """(2,) float32: what the image and what it is blended with are multiplied by. They need not sum to 1 in float32:
    both are rounded by themselves, as torchvision rounds them."""
    factor = 1 + operation.magnitude
    return torch.tensor([factor, 1.0 - factor])


_NEEDS: dict[str, tuple[str, Callable[[Operation, int], Tensor]]] = {
    "move": ("move", moves),
    "table": ("table", values),
    "color": ("blend", factors),
    "contrast": ("blend", factors),
    "sharpness": ("blend", factors),
}


def grey(x: Tensor) -> Tensor:
    """(B, H, W, channels) uint8 -> (B, H, W, 1) uint8, as torchvision's rgb_to_grayscale."""
    if x.shape[3] == 1:
        return x
    r, g, b = x.unbind(3)
    return (0.2989 * r + 0.587 * g + 0.114 * b).to(torch.uint8)[..., None]


def blurred(x: Tensor) -> Tensor:
    """(B, H, W, channels) uint8, each pixel but those at the edge the mean of the nine around it, itself five times."""
    whole = x.int()
    lines = whole[:, :-2] + whole[:, 1:-1] + whole[:, 2:]
    total = lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:] + 4 * whole[:, 1:-1, 1:-1]
    out = x.clone()
    # No thirteenth is a half: it does not matter how exactly the quotient is rounded.
    out[:, 1:-1, 1:-1] = (total / 13).round().to(torch.uint8)
    return out


def counts_below(rows: Tensor) -> Tensor:
    """(R, N) int64 values of pixels -> (R, 256) int64: how many of a row are below 0, 1, ... 255."""
    if rows.device.type == "cpu":
        places = rows + 256 * torch.arange(len(rows))[:, None]
        counts = places.flatten().bincount(minlength=256 * len(rows)).view(-1, 256)
        return counts.cumsum(1) - counts
    # bincount would wait for the GPU.
    levels = torch.arange(256, device=rows.device).expand(len(rows), -1).contiguous()
    return torch.searchsorted(rows.sort(dim=1).values, levels)
