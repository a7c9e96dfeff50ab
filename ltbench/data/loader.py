"""Batches for training and evaluation: images stay on the device as one uint8 tensor, augmented a batch at a time.

Crop, flip and normalisation are a few tensor operations per batch; nothing runs per image in Python. Gathering from
(N, H, W, channels) yields the channels-last layout that convolutions like best, without a copy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltbench.data.images.policies import POLICIES, Policy
from ltbench.data.stream import StreamBatches, in_views

AUGMENTS = ("none", "flip", "crop", "crop_flip", *POLICIES)
Index = NDArray[np.int64]


class InMemory(ABC):
    """What batches of data in memory have in common: a batch is made when its step comes."""

    rng: np.random.Generator

    @property
    def state(self) -> np.random.Generator:
        """What a checkpoint must hold."""
        return self.rng

    def next(self, draw: Callable[[int], Index], step: int, steps: int) -> tuple[Index, Tensor, Tensor]:
        """The batch of a step: its indices as `draw` gives them, images and labels."""
        index = draw(step)
        return index, *self.batch(index)

    @abstractmethod
    def batch(self, index: Index) -> tuple[Tensor, Tensor]:
        """The images at these positions, and their labels."""

    def close(self) -> None:  # noqa: B027 - a kind may have nothing to end
        """Nothing to end."""


class View(NamedTuple):
    """How images are augmented: cropped, flipped, then changed by a policy."""

    crop: bool
    flip: bool
    policy: Policy | None = None

    @classmethod
    def of(cls, augment: str, size: int, device: torch.device) -> View:
        """By the name that a recipe has for it, for images of a size."""
        if augment not in POLICIES:
            return cls("crop" in augment, "flip" in augment)
        policy = POLICIES[augment](size, device)
        whole = getattr(policy, "whole", False)
        return cls(not whole, not whole, policy)


class ImageBatches(InMemory):
    """Turns positions into batches: augmented for training, plain for evaluation.

    Args:
        x: (N, H, W, channels) uint8. y: (N,) int64.
        mean, std: per channel on the 0..1 scale.
        augment: none, flip (mirror, p = 0.5), crop (zero-pad an eighth of the side, random crop), or crop_flip: for
            32x32 images the padding is 4, the classic recipe of CIFAR; or a policy after it (images/policies.py).
        further: the same for further views of every image; a batch of V views is (V, B, channels, H, W).
        rng: generator of the augmentation; None: a fixed one, for evaluation.
    """

    def __init__(
        self,
        x: NDArray[np.uint8],
        y: Index,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        augment: str = "none",
        further: Sequence[str] = (),
        rng: np.random.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.size = x.shape[1]
        self._views = [View.of(name, self.size, self.device) for name in (augment, *further)]
        self._pad = max(1, self.size // 8) if any(view.crop for view in self._views) else 0
        self.rng = rng or np.random.default_rng(0)
        pad = ((0, 0), (self._pad, self._pad), (self._pad, self._pad), (0, 0))
        pixels = np.pad(x, pad) if self._pad else np.array(x)
        self._x = torch.from_numpy(pixels).to(self.device)
        self._y = torch.from_numpy(np.array(y)).to(self.device)
        # (pixel / 255 - mean) / std as one multiplication and one addition.
        std_ = torch.tensor(std, dtype=torch.float64)
        self._scale = (1.0 / (255.0 * std_)).float().to(self.device)
        self._shift = (-torch.tensor(mean, dtype=torch.float64) / std_).float().to(self.device)
        self._side = torch.arange(self.size, device=self.device)

    def __len__(self) -> int:
        return len(self._y)

    def batch(self, index: Index) -> tuple[Tensor, Tensor]:
        """Augmented images (B, channels, H, W) float32, channels-last, or (V, B, channels, H, W) of several views, and
        labels (B,)."""
        views, rows = [], None
        for view in self._views:
            pixels, rows = self._pixels(view, index)
            views.append(self._normalise(pixels if view.policy is None else view.policy(pixels, self.rng)))
        assert rows is not None
        x = views[0] if len(views) == 1 else in_views(torch.cat(views), len(views))
        return x, self._y[rows]

    def _pixels(self, view: View, index: Index) -> tuple[Tensor, Tensor]:
        """The images (B, H, W, channels) uint8 at these positions, cropped and flipped, and the positions (B,)."""
        if not (view.crop or view.flip):
            rows = torch.from_numpy(np.ascontiguousarray(index)).to(self.device, non_blocking=True)
            inside = slice(self._pad, self._pad + self.size)
            return self._x[rows][:, inside, inside], rows
        # Rows, offsets and flips go to the device in one piece: below 64 KB that waits for nothing.
        draws = np.empty((4, len(index)), np.int64)
        draws[0] = index
        # Every kind of number is drawn whether used or not, so that `crop` and `crop_flip` crop alike.
        draws[1:3] = self.rng.integers(0, 2 * self._pad + 1, (2, len(index)))
        draws[3] = self.rng.random(len(index)) < 0.5
        if not view.crop:
            draws[1:3] = self._pad
        rows, dy, dx, mirrored = torch.from_numpy(draws).to(self.device, non_blocking=True).unbind()
        columns = self._side.expand(len(index), -1)
        if view.flip:
            columns = torch.where(mirrored[:, None].bool(), self.size - 1 - columns, columns)
        y, x = (self._side + dy[:, None])[:, :, None], (columns + dx[:, None])[:, None, :]
        return self._x[rows[:, None, None], y, x], rows

    def in_order(self, batch_size: int, first: int = 0) -> Iterator[Tensor]:
        """All images from `first` on in their order, not augmented: (<= batch_size, channels, H, W) at a time."""
        inside = slice(self._pad, self._pad + self.size)
        for start in range(first, len(self), batch_size):
            yield self._normalise(self._x[start : start + batch_size, inside, inside])

    def _normalise(self, pixels: Tensor) -> Tensor:
        """(B, H, W, channels) uint8 -> (B, channels, H, W) float32 in channels-last memory."""
        return pixels.float().mul_(self._scale).add_(self._shift).permute(0, 3, 1, 2)


class VectorBatches(InMemory):
    """The same for feature vectors: x float32 (N, D), nothing to augment or to normalise."""

    def __init__(self, x: NDArray[np.float32], y: Index, *, rng: np.random.Generator, device: torch.device) -> None:
        self.device, self.rng = device, rng
        self._x, self._y = (torch.from_numpy(np.array(part)).to(device) for part in (x, y))

    def __len__(self) -> int:
        return len(self._y)

    def batch(self, index: Index) -> tuple[Tensor, Tensor]:
        """Vectors (B, D) float32 and labels (B,)."""
        rows = torch.from_numpy(np.ascontiguousarray(index)).to(self.device, non_blocking=True)
        return self._x[rows], self._y[rows]

    def in_order(self, batch_size: int, first: int = 0) -> Iterator[Tensor]:
        """All vectors from `first` on in their order, (<= batch_size, D) at a time."""
        for start in range(first, len(self), batch_size):
            yield self._x[start : start + batch_size]


Batches = ImageBatches | VectorBatches | StreamBatches


def channel_statistics(x: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel on the 0..1 scale, exactly, from the histogram of pixel values."""
    values = np.arange(256) / 255.0
    means, stds = [], []
    for channel in range(x.shape[-1]):
        histogram = np.bincount(x[..., channel].ravel(), minlength=256)
        mean = float((histogram * values).sum() / histogram.sum())
        variance = float((histogram * (values - mean) ** 2).sum() / histogram.sum())
        means.append(mean)
        stds.append(max(variance**0.5, 1e-3))
    return tuple(means), tuple(stds)
