"""Augmentation policies of the field for small images, a batch at a time on the device: what is drawn, and in which
order. All random numbers are drawn on the host from the generator of the augmentation.

Every policy comes after the classic crop and flip (data/loader.py), but for one that crops by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ltbench.data.images.operations import NONE, Operation, Operations
from ltbench.data.images.simaugment import SimAugment


class Policy(Protocol):
    """Changes a batch of images (B, H, W, channels) uint8, with random numbers of `rng`; may do so in place. One that
    has an attribute `whole` is given the images as they are, not cropped and flipped before."""

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor: ...


class Rotation15:
    """Rotated by -15 to 15 degrees around the middle, nearest pixel, black outside: RandomRotation(15) of torchvision,
    as in RIDE and SADE; here the angle is drawn in tenths of a degree, so that every rotation can be a table."""

    def __init__(self, size: int, device: torch.device) -> None:
        angles = [tenth / 10 for tenth in range(-150, 151)]
        self._operations = Operations([Operation("Rotate", angle) for angle in angles], size, device)

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        return self._operations(x, rng.integers(0, 301, len(x)))


class AutoAugmentCutout:
    """One of AutoAugment's 25 sub-policies for CIFAR-10 (Cubuk et al., CVPR 2019), grey (128) outside, then a square
    half as wide as the image cut out, black (Cutout of 16 pixels on CIFAR: DeVries and Taylor, 2017). As the CIFAR code
    of BALMS, PaCo, NCL, BCL and SHIKE has it; operations as torchvision has them for uint8 tensors."""

    def __init__(self, size: int, device: torch.device) -> None:
        known: dict[Operation, int] = {}
        for pair in CIFAR10:
            for name, _, level in pair:
                for sign in (-1, 1):
                    known.setdefault(operation_at(name, level, 10, sign, size), len(known))
        self._operations = Operations(list(known), size, device, fill=128)
        self._chance = np.array([[p for _, p, _ in pair] for pair in CIFAR10])
        self._which = np.array(
            [[[known[operation_at(name, level, 10, sign, size)] for sign in (-1, 1)] for name, _, level in pair]
             for pair in CIFAR10]
        )  # fmt: skip

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        images = len(x)
        pair, chance, sign = rng.integers(0, 25, images), rng.random((2, images)), rng.integers(0, 2, (2, images))
        holes = rng.integers(0, x.shape[1], (2, images))
        for i in range(2):
            done = chance[i] < self._chance[pair, i]
            x = self._operations(x, np.where(done, self._which[pair, i, sign[i]], NONE))
        return cut_out(x, torch.from_numpy(holes).to(x.device, non_blocking=True), x.shape[1] // 2)


class RandAugment:
    """Two operations of 14, each at magnitude 9 of 31 (Cubuk et al., NeurIPS 2020): torchvision's defaults."""

    def __init__(self, size: int, device: torch.device) -> None:
        both = [operation_at(name, 9, 31, sign, size) for name in RANDAUGMENT for sign in (-1, 1)]
        self._operations = Operations(both, size, device)

    def __call__(self, x: Tensor, rng: np.random.Generator) -> Tensor:
        for which in rng.integers(0, 2 * len(RANDAUGMENT), (2, len(x))):
            x = self._operations(x, which)
        return x


POLICIES: dict[str, Callable[[int, torch.device], Policy]] = {
    "rotation15": Rotation15,
    "autoaugment_cutout": AutoAugmentCutout,
    "randaugment": RandAugment,
    "simaugment": SimAugment,
}
"""By the names that a recipe's `augment` has for them; made of the side of the images and the device."""


def cut_out(x: Tensor, middle: Tensor, side: int) -> Tensor:
    """A square of `side` pixels around `middle` (2, B), row and column, made black; cut off at the edges."""
    place = torch.arange(x.shape[1], device=x.device)
    rows, columns = ((place >= m[:, None] - side // 2) & (place < m[:, None] + side // 2) for m in middle)
    return x.masked_fill_((rows[:, :, None] & columns[:, None, :])[..., None], 0)


def operation_at(name: str, level: int, bins: int, sign: int, size: int) -> Operation:
    """An operation at a magnitude between 0 and bins - 1, with a sign where it has one, for images of a size."""
    if name in ("Identity", "AutoContrast", "Equalize", "Invert"):
        return Operation(name)
    if name == "Posterize":
        return Operation(name, 8 - round(level / ((bins - 1) / 4)))
    if name == "Solarize":
        return Operation(name, float(torch.linspace(255.0, 0.0, bins)[level]))
    highest = {"ShearX": 0.3, "ShearY": 0.3, "Rotate": 30.0}.get(name, 0.9)
    if name.startswith("Translate"):
        highest = 150.0 / 331.0 * size
    return Operation(name, sign * float(torch.linspace(0.0, highest, bins)[level]))


RANDAUGMENT = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
CIFAR10 = (
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)
"""AutoAugment's 25 sub-policies for CIFAR-10, two operations each: name, probability, level of 0 to 9."""
