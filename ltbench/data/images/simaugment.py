"""SimAugment: the augmentation of contrastive learning for small images, a batch at a time on the device.

Operations as torchvision has them for uint8 tensors. Resizing and blurring are products with weights that are whole
multiples of 2^-20, in float64: such sums are exact, so the order of adding up, and with it the device, changes nothing.
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ltbench.data.images.crops import draw_uniforms, mirrored, random_boxes
from ltbench.data.images.operations import grey

SCALE = (0.2, 1.0)
"""Share of the image's area of a crop."""
RADIUS = 6
"""Pixels to each side that a blur reaches: three times its largest sigma."""
_ORDERS = np.array(list(permutations(range(4))))
_UNIT = 2.0**20
_IN_CACHE = 32
"""Images whose products a CPU works out at once: their numbers in float64 stay in its cache."""


class Draws(NamedTuple):
    """What is drawn for a batch, (B, ...) each.

    Attributes:
        boxes: top, left, height and width of the crops. mirror: which are flipped.
        jitter: which change their colours. factors: of brightness, contrast and saturation, and the shift of the hue.
        order: in which these four come. grey: which become grey.
        blur: which are blurred. sigma: how far, pixels.
    """

    boxes: NDArray[np.int64]
    mirror: NDArray[np.bool_]
    jitter: NDArray[np.bool_]
    factors: NDArray[np.float32]
    order: NDArray[np.int64]
    grey: NDArray[np.bool_]
    blur: NDArray[np.bool_]
    sigma: NDArray[np.float64]

    @classmethod
    def of(cls, rng: np.random.Generator, images: int, size: int) -> Draws:
        """The next ones of a generator, for square images of a size."""
        uniforms, u = draw_uniforms(rng, images), rng.random((images, 9))
        side = np.full(images, size)
        factors = np.concatenate([0.6 + 0.8 * u[:, :3], -0.1 + 0.2 * u[:, 3:4]], axis=1).astype(np.float32)
        order = _ORDERS[(u[:, 4] * len(_ORDERS)).astype(np.int64)]
        return cls(random_boxes(uniforms, side, side, SCALE), mirrored(uniforms), u[:, 5] < 0.8, factors, order,
                   u[:, 6] < 0.2, u[:, 7] < 0.5, 0.1 + 1.9 * u[:, 8])  # fmt: skip


class SimAugment:
    """A random part of the image resized (a fifth of it at least), flipped (p 0.5), brightness, contrast, saturation
    and hue changed by up to 0.4, 0.4, 0.4 and 0.1 (p 0.8), grey (p 0.2), blurred (sigma 0.1 to 2 pixels, p 0.5): the
    second view of PaCo on CIFAR, from MoCo v2 and SimCLR (Chen et al., ICML 2020)."""

    whole = True

    def __init__(self, size: int, device: torch.device) -> None:
        self._size = size

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        draws = Draws.of(rng, len(x), self._size)
        sent = torch.from_numpy(np.concatenate([draws.boxes, draws.mirror[:, None]], axis=1))
        boxes_mirror = sent.to(x.device, non_blocking=True)
        x = resized(x, boxes_mirror[:, :4], boxes_mirror[:, 4:])
        factors = torch.from_numpy(np.stack([draws.factors, 1 - draws.factors])).to(x.device, non_blocking=True)
        for place in range(4):
            for change in range(4):
                rows = _rows(draws.jitter & (draws.order[:, place] == change), x.device)
                if len(rows):
                    x[rows] = _CHANGES[change](x[rows], *factors[:, rows, change, None, None, None].unbind())
        rows = _rows(draws.grey, x.device)
        x[rows] = grey(x[rows]).expand(-1, -1, -1, x.shape[3])
        rows = _rows(draws.blur, x.device)
        if len(rows):
            kernels = torch.from_numpy(kernels_of(draws.sigma[draws.blur])).to(x.device, non_blocking=True)
            x[rows] = blurred(x[rows], kernels)
        return x


def _rows(chosen: NDArray[np.bool_], device: torch.device) -> Tensor:
    return torch.from_numpy(np.flatnonzero(chosen)).to(device, non_blocking=True)


def resized(x: Tensor, boxes: Tensor, mirror: Tensor) -> Tensor:
    """Parts of images, bilinear at the images' own size: (B, S, S, channels) uint8 -> the same shape.

    Args:
        boxes: (B, 4) int64: top, left, height, width. mirror: (B, 1): which are flipped left to right.
    """
    top, left, height, width = boxes.unbind(1)
    rows, columns = _weights(top, height, x.shape[1]), _weights(left, width, x.shape[1])
    columns = torch.where(mirror.bool()[:, :, None], columns.flip(1), columns)
    return _product(x, rows, columns)


def _product(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Every channel as rows (B, S, H) @ channel @ columns (B, S, W) transposed, rounded."""
    together = _IN_CACHE if x.device.type == "cpu" else len(x)
    parts = (slice(first, first + together) for first in range(0, len(x), together))
    return torch.cat([_product_of(x[part], rows[part], columns[part]) for part in parts])


def _product_of(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Channels lie side by side in one matrix for each of the two products: larger matrices cost less."""
    images, height, width, channels = x.shape
    high = torch.bmm(rows, x.reshape(images, height, width * channels).double())
    across = high.view(images, -1, width, channels).transpose(1, 2).reshape(images, width, -1)
    made = torch.bmm(columns, across).round_().to(torch.uint8)
    return made.view(images, columns.shape[1], -1, channels).transpose(1, 2).contiguous()


def _weights(first: Tensor, length: Tensor, side: int) -> Tensor:
    """(B, side, side): what each pixel of a line counts for in each pixel of its part, stretched to the whole line."""
    place = torch.arange(side, device=first.device, dtype=torch.float64)
    scale = (length.double() / side)[:, None, None]
    centre = scale * (place + 0.5)[None, :, None] + first[:, None, None]
    inside = (place >= first[:, None]) & (place < (first + length)[:, None])
    weight = (1 - (place + 0.5 - centre).abs()).clamp(min=0) * inside[:, None]
    return ((weight / weight.sum(dim=2, keepdim=True)) * _UNIT).round_() / _UNIT


def kernels_of(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) -> (B, 2 RADIUS + 1) Gaussian weights that sum to 1, worked out on the host for every device."""
    place = np.arange(-RADIUS, RADIUS + 1)
    weight = np.exp(-0.5 * (place / sigma[:, None]) ** 2)
    return np.asarray(np.rint(weight / weight.sum(axis=1, keepdims=True) * _UNIT) / _UNIT)


def blurred(x: Tensor, kernels: Tensor) -> Tensor:
    """Images (B, S, S, channels) uint8, each with its own weights (B, 2 RADIUS + 1), mirrored at the edges."""
    side = x.shape[1]
    reach = min(RADIUS, side - 1)
    kernels = kernels[:, RADIUS - reach : RADIUS + reach + 1]
    place = torch.arange(side, device=x.device, dtype=torch.float64)
    source = F.pad(place[None, None], (reach, reach), mode="reflect")[0, 0].long()
    chosen = (source.unfold(0, 2 * reach + 1, 1)[:, :, None] == place.long()).double()  # (to, step, from)
    matrix = torch.einsum("bs,tsf->btf", kernels, chosen)
    return _product(x, matrix, matrix)


def _blend(x: Tensor, other: Tensor | float, own: Tensor, rest: Tensor) -> Tensor:
    return (own * x + rest * other).clamp_(0, 255).to(torch.uint8)


def _brightness(x: Tensor, own: Tensor, rest: Tensor) -> Tensor:
    return _blend(x, 0.0, own, rest)


def _contrast(x: Tensor, own: Tensor, rest: Tensor) -> Tensor:
    mean = grey(x).sum(dim=(1, 2, 3), dtype=torch.int64).float() / (x.shape[1] * x.shape[2])
    return _blend(x, mean[:, None, None, None], own, rest)


def _saturation(x: Tensor, own: Tensor, rest: Tensor) -> Tensor:
    return x if x.shape[3] == 1 else _blend(x, grey(x), own, rest)


def _hue(x: Tensor, shift: Tensor, rest: Tensor) -> Tensor:
    """The hue moved on its circle by `shift` (B, 1, 1, 1) of its length."""
    if x.shape[3] == 1:
        return x
    hue, saturation, value = _to_hsv(x.permute(0, 3, 1, 2).float() / 255)
    rgb = _to_rgb((hue + shift[..., 0]) % 1.0, saturation, value)
    return (rgb * (256 - 1e-3)).to(torch.uint8).permute(0, 2, 3, 1)


def _to_hsv(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 3, H, W) on 0..1 -> hue, saturation and value, (B, H, W) each, as torchvision works them out."""
    r, g, b = rgb.unbind(1)
    high, low = torch.maximum(torch.maximum(r, g), b), torch.minimum(torch.minimum(r, g), b)
    flat, spread = high == low, high - low
    divisor = torch.where(flat, 1.0, spread)
    rc, gc, bc = (high - r) / divisor, (high - g) / divisor, (high - b) / divisor
    hue = torch.where(high == r, bc - gc, torch.where(high == g, 2.0 + rc - bc, 4.0 + gc - rc))
    return torch.fmod(hue / 6.0 + 1.0, 1.0), spread / torch.where(flat, 1.0, high), high


def _to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(B, H, W) each -> (B, 3, H, W) on 0..1."""
    sector = torch.floor(hue * 6.0)
    part = hue * 6.0 - sector
    p = (value * (1.0 - saturation)).clamp(0.0, 1.0)
    q = (value * (1.0 - saturation * part)).clamp(0.0, 1.0)
    t = (value * (1.0 - saturation * (1.0 - part))).clamp(0.0, 1.0)
    which = _SECTORS.to(hue.device)[:, sector.long() % 6]
    return torch.stack([value, t, p, q], dim=1).gather(1, which.transpose(0, 1))


_SECTORS = torch.tensor([[0, 3, 2, 2, 1, 0], [1, 0, 0, 3, 2, 2], [2, 2, 1, 0, 0, 3]])
"""Red, green and blue by the sixth of the circle: which of value, t, p and q each is."""
_CHANGES = (_brightness, _contrast, _saturation, _hue)
