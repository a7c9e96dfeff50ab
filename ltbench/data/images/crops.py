"""Crop, resize and flip of a batch of large images, on a GPU as two matrix products; colour jitter.

The harness draws the random numbers, one row per image, before anything is read; what they mean for an image depends on
its size alone. So crops are the same with any number of processes that decode.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Uniforms = NDArray[np.float32]
"""Random numbers of the augmentation, one row per image, as `draw_uniforms` gives them."""

TRIES = 10
"""How often a crop is drawn until it fits; then the centre is taken, as torchvision's RandomResizedCrop does."""
SCALE, LOG_RATIO = (0.08, 1.0), (float(np.log(3 / 4)), float(np.log(4 / 3)))
"""Share of the image's area and aspect ratio of a crop: Szegedy et al., CVPR 2015; torchvision's defaults."""
STRENGTH = 0.4
"""Brightness, contrast and saturation change by factors of 0.6 to 1.4: Kang et al., ICLR 2020, classifier-balancing."""
_ORDERS = tuple(permutations(range(3)))
_PER_IMAGE = 4 * TRIES + 1 + 4
_ELEMENTS = 1 << 26
"""Pixels in float32 at a time, a quarter of a gigabyte."""


def draw_uniforms(rng: np.random.Generator, images: int) -> Uniforms:
    """Random numbers for the augmentation of a batch, (images, 45), uniform on [0, 1): all that any augmentation may
    need, so that all of them crop alike."""
    return rng.random((images, _PER_IMAGE), dtype=np.float32)


def random_boxes(
    uniforms: Uniforms,
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    scale: tuple[float, float] = SCALE,
) -> NDArray[np.int64]:
    """RandomResizedCrop: (B, 4) boxes (top, left, height, width) for images of these sizes.

    Args:
        scale: the smallest and the largest share of the image's area.
    """
    area, ratio, top, left = uniforms[:, : 4 * TRIES].astype(np.float64).reshape(-1, TRIES, 4).transpose(2, 0, 1)
    h, w = heights[:, None].astype(np.float64), widths[:, None].astype(np.float64)
    target = h * w * (scale[0] + (scale[1] - scale[0]) * area)
    aspect = np.exp(LOG_RATIO[0] + (LOG_RATIO[1] - LOG_RATIO[0]) * ratio)
    ws, hs = np.rint(np.sqrt(target * aspect)), np.rint(np.sqrt(target / aspect))
    fits = np.asarray((ws > 0) & (ws <= w) & (hs > 0) & (hs <= h))
    row, first = np.arange(len(uniforms)), fits.argmax(axis=1)
    ch, cw = hs[row, first], ws[row, first]
    tops = np.floor(top[row, first] * (heights - ch + 1))
    lefts = np.floor(left[row, first] * (widths - cw + 1))
    boxes = np.stack([tops, lefts, ch, cw], axis=1)
    centre = np.stack(_clipped(heights.astype(np.float64), widths.astype(np.float64)), axis=1)
    found = np.asarray(fits.any(axis=1))
    return np.where(found[:, None], boxes, centre).astype(np.int64)


def _clipped(heights: NDArray[np.float64], widths: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The largest centre whose aspect ratio is allowed."""
    low, high = np.exp(LOG_RATIO[0]), np.exp(LOG_RATIO[1])
    ratio = widths / heights
    h = np.where(ratio < low, np.rint(widths / low), heights)
    w = np.where(ratio > high, np.rint(heights * high), widths)
    return (heights - h) // 2, (widths - w) // 2, h, w


def centre_boxes(heights: NDArray[np.int64], widths: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """The square of `side` pixels in the middle, as torchvision's CenterCrop rounds it: (B, 4)."""
    whole = np.full(len(heights), side)
    return np.stack([np.rint((heights - side) / 2), np.rint((widths - side) / 2), whole, whole], axis=1).astype(
        np.int64
    )


def mirrored(uniforms: Uniforms) -> NDArray[np.bool_]:
    """(B,): which images are flipped, half of them on average."""
    return uniforms[:, 4 * TRIES] < 0.5


def resampled(pixels: Tensor, sizes: Tensor, side: int, mirror: Tensor | None = None) -> Tensor:
    """Bring crops to (side, side), bilinear and antialiased as torchvision's resize of float images.

    Args:
        pixels: (B, H, W, 3) uint8; image b is its top left sizes[b] = (h, w), the rest is padding.
        mirror: (B,) bool, which of them are flipped left to right.
    Returns:
        (B, 3, side, side) float32, on the 0..255 scale. On a GPU all at once, so that it waits for no image; on a CPU
        one by one, which is a ninth of the work.
    """
    if pixels.device.type == "cpu":
        return _one_by_one(pixels, sizes, side, mirror)
    return by_matrices(pixels, sizes, side, mirror)


def _one_by_one(pixels: Tensor, sizes: Tensor, side: int, mirror: Tensor | None) -> Tensor:
    made = torch.empty(len(pixels), 3, side, side)
    for i, (height, width) in enumerate(sizes.tolist()):
        image = pixels[i : i + 1, :height, :width].permute(0, 3, 1, 2).contiguous().float()
        made[i] = F.interpolate(image, (side, side), mode="bilinear", antialias=True)[0]
    if mirror is not None:
        made[mirror] = made[mirror].flip(3)
    return made


def by_matrices(pixels: Tensor, sizes: Tensor, side: int, mirror: Tensor | None = None) -> Tensor:
    """The same as two matrix products for the whole batch."""
    batch, height, width, channels = pixels.shape
    at_once = max(1, _ELEMENTS // (height * width * channels))
    if batch > at_once:
        parts = [slice(start, start + at_once) for start in range(0, batch, at_once)]
        return torch.cat([by_matrices(pixels[p], sizes[p], side, None if mirror is None else mirror[p]) for p in parts])
    rows, columns = _weights(sizes[:, 0], height, side), _weights(sizes[:, 1], width, side)
    if mirror is not None:
        columns = torch.where(mirror[:, None, None], columns.flip(1), columns)
    tall = rows @ pixels.float().view(batch, height, width * channels)
    tall = tall.view(batch, side, width, channels).permute(0, 3, 1, 2).reshape(batch, channels * side, width)
    return (tall @ columns.transpose(1, 2)).view(batch, channels, side, side)


def _weights(sizes: Tensor, padded: int, side: int) -> Tensor:
    """(B, side, padded): what every pixel of a line counts for in every pixel of the resized line. A triangle around
    the place it comes from, as wide as the reduction: what PIL and torch call antialiased bilinear."""
    scale = (sizes.double() / side)[:, None, None]
    centre = scale * (torch.arange(side, device=sizes.device, dtype=torch.float64)[None, :, None] + 0.5)
    place = torch.arange(padded, device=sizes.device, dtype=torch.float64)[None, None, :] + 0.5
    weight = (1 - (place - centre).abs() / scale.clamp(min=1)).clamp(min=0) * (place < sizes[:, None, None])
    return (weight / weight.sum(dim=2, keepdim=True)).float()


def jittered(images: Tensor, uniforms: Uniforms) -> Tensor:
    """Brightness, contrast and saturation in an order of each image's own, as torchvision's ColorJitter with strength
    0.4 and no hue. images: (B, 3, H, W) float32 on the 0..255 scale."""
    numbers = uniforms[:, 4 * TRIES + 1 :]
    factors = torch.from_numpy(1 - STRENGTH + 2 * STRENGTH * numbers[:, :3]).to(images.device, non_blocking=True)
    order = np.minimum((numbers[:, 3] * len(_ORDERS)).astype(np.int64), len(_ORDERS) - 1)
    made = torch.empty_like(images)
    for number, steps in enumerate(_ORDERS):
        rows = np.flatnonzero(order == number)
        if len(rows):
            chosen = torch.from_numpy(rows).to(images.device, non_blocking=True)
            x, f = images[chosen], factors[chosen]
            for step in steps:
                x = _CHANGES[step](x, f[:, step, None, None, None])
            made[chosen] = x
    return made


def _grey(x: Tensor) -> Tensor:
    return (0.2989 * x[:, :1]).add_(x[:, 1:2], alpha=0.587).add_(x[:, 2:], alpha=0.114)


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (factor * x + (1 - factor) * other).clamp_(0, 255)


def _brightness(x: Tensor, factor: Tensor) -> Tensor:
    return (factor * x).clamp_(0, 255)


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    return _blend(x, _grey(x).mean(dim=(1, 2, 3), keepdim=True), factor)


def _saturation(x: Tensor, factor: Tensor) -> Tensor:
    return _blend(x, _grey(x), factor)


_CHANGES = (_brightness, _contrast, _saturation)
