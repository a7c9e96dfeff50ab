"""Image towers of CLIP models as backbones: their names in a suite, what they are given, and what they give.

A tower is described once, by the plan, as plain data (`describe` in models/clip.py): architecture, weights, side of the
images, interpolation, mean and standard deviation, activation. That description is part of the trial's recipe, and all
that a worker builds the tower from; where a checkpoint lies is not part of it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

NAMED = {"clip_rn50": "RN50", "clip_vit_b32": "ViT-B-32", "clip_vit_b16": "ViT-B-16", "clip_vit_l14": "ViT-L-14"}
"""The towers of CLIP (Radford et al., ICML 2021) that the field uses, and what open_clip calls them."""
PREFIX = "open_clip:"
"""Before the name of any other architecture of open_clip."""
TIMM = "timm:"
"""Before the name of a network of timm."""
CONTENT = "sha256:"
"""Before the first 16 hex digits of a checkpoint's SHA-256, which stand for it in a recipe."""
AT_ONCE = 256
"""Images of a tower's size that are sent through it at most at once where nothing trains."""


def is_tower(backbone: str) -> bool:
    """Whether a suite's `backbone:` names an image tower of open_clip."""
    return backbone in NAMED or backbone.startswith(PREFIX)


def architecture_of(backbone: str) -> str:
    """open_clip's name of the architecture."""
    return NAMED.get(backbone) or backbone.removeprefix(PREFIX)


def weights_of(tower: Mapping[str, Any]) -> str:
    """The name of a tower's weights: `ViT-B-16 openai`, or `ViT-B-16 sha256:...` for a checkpoint of the user's."""
    return f"{str(tower['architecture']).removesuffix('-quickgelu')} {tower['pretrained']}"


def content_of(checkpoint: Path) -> str:
    """What stands for a checkpoint in a recipe: `sha256:` and 16 hex digits. Raises OSError if it cannot be read."""
    return CONTENT + sha256_of(checkpoint)[:16]


def sha256_of(checkpoint: Path) -> str:
    """A file's SHA-256, computed once in this process as long as the file stays as it is. Raises OSError."""
    stat = checkpoint.stat()
    return _sha256_of(checkpoint.absolute(), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@cache
def _sha256_of(checkpoint: Path, size: int, changed: int, inode: int) -> str:
    with checkpoint.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Preparation:
    """Pixels -> what a tower is given: colour, resized to its side (antialiased), normalised as it was trained.

    Args:
        tower: the description of the tower: image_size, interpolation (bicubic or bilinear), mean, std.

    Attributes:
        raw: it is given pixels on the scale 0..255 (`RAW`). at_once: how many images it is given at most.
    """

    raw = True
    at_once = AT_ONCE

    def __init__(self, tower: Mapping[str, Any], device: torch.device | str = "cpu") -> None:
        self.side, self.interpolation = int(tower["image_size"]), str(tower["interpolation"])
        self._mean, self._std = (torch.tensor(tower[k], device=device).view(1, -1, 1, 1) for k in ("mean", "std"))

    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) float on the scale 0..255 -> (N, 3, side, side), in channels-last memory if it was; of
        several views (V, N, ...) -> (V, N, ...)."""
        if pixels.ndim == 5:
            prepared = self(pixels.flatten(0, 1))
            return prepared.view(*pixels.shape[:2], *prepared.shape[1:])
        x = pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels
        if x.shape[-2:] != (self.side, self.side):
            size = (self.side, self.side)
            x = F.interpolate(x, size, mode=self.interpolation, antialias=True, align_corners=False)
        return (x.clamp(0, 255) / 255 - self._mean) / self._std


class Unchanged:
    """In place of a preparation, for a network that reads images as other networks do: normalised, at the data's
    size."""

    raw = False
    at_once = sys.maxsize

    def __call__(self, images: Tensor) -> Tensor:
        """The same images."""
        return images


class Tower(nn.Module):
    """The image tower of a CLIP model: prepared images (N, 3, side, side) -> features (N, dim), float32.

    Attributes:
        dim: numbers of a feature. prepare: what is done with images before they get here.
        float_head: the head computes in float32 also under bf16: with a logit scale of 100, cosines that are rounded to
            eight bits would move logits by tenths.
    """

    float_head = True

    def __init__(self, visual: nn.Module, tower: Mapping[str, Any], device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.visual = visual
        self.dim = int(tower["dim"])
        self.prepare = Preparation(tower, device)

    def forward(self, x: Tensor) -> Tensor:
        """Prepared images (N, 3, side, side) -> (N, dim) float32."""
        features: Tensor = self.visual(x)
        return features.float()

    def take_projection(self) -> Tensor | None:
        """Take off the linear map into the space of text and images, (width, dim), and return it; from then on features
        have `width` numbers. None, and nothing changes, where the tower's last step is another."""
        projection = getattr(self.visual, "proj", None)
        if not isinstance(projection, nn.Parameter):
            return None
        self.visual.register_parameter("proj", None)
        self.dim = int(projection.shape[0])
        return projection.detach()


class Images(Protocol):
    """Batches of images, as data/loader.py and data/stream.py make them.

    Attributes:
        rng: generator of the augmentation.
    """

    device: torch.device
    rng: np.random.Generator

    def __len__(self) -> int: ...

    @property
    def state(self) -> Any:
        """What a checkpoint must hold."""

    def next(
        self, draw: Callable[[int], NDArray[np.int64]], step: int, steps: int
    ) -> tuple[NDArray[np.int64], Tensor, Tensor]:
        """The batch of a step of a stage of `steps`: its indices, as `draw` gives a step's, images and labels."""

    def close(self) -> None:
        """End what makes the batches."""

    def batch(self, index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The images at these positions, augmented, and their labels."""

    def in_order(self, batch_size: int, first: int = 0) -> Iterator[Tensor]:
        """All images from `first` on in their order, not augmented."""


RAW = ((0.0,), (1 / 255,))
"""Mean and standard deviation under which batches of images keep their pixels on the scale 0..255."""


class PreparedBatches:
    """Batches of images, prepared for a tower: a method mixes what the tower sees.

    Args:
        images: batches whose pixels are as `prepare` wants them. labels: (N,), in the images' order.
        identity: what names these images, and no others.
    """

    def __init__(
        self, images: Images, labels: NDArray[np.int64], prepare: Preparation | Unchanged, identity: Sequence[Any] = ()
    ) -> None:
        self.images, self._prepare, self.identity = images, prepare, list(identity)
        self.device, self.rng, self.labels = images.device, images.rng, labels

    def __len__(self) -> int:
        return len(self.images)

    @property
    def state(self) -> Any:
        """What a checkpoint must hold."""
        return self.images.state

    def next(
        self, draw: Callable[[int], NDArray[np.int64]], step: int, steps: int
    ) -> tuple[NDArray[np.int64], Tensor, Tensor]:
        """The batch of a step: its indices as `draw` gives them, images and labels."""
        index, x, y = self.images.next(draw, step, steps)
        return index, self._prepare(x), y

    def close(self) -> None:
        """End what decodes the images."""
        self.images.close()

    def batch(self, index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Augmented at the data's size, then resized: (B, 3, side, side) and labels (B,)."""
        x, y = self.images.batch(index)
        return self._prepare(x), y

    def in_order(self, batch_size: int, first: int = 0) -> Iterator[Tensor]:
        """All images from `first` on in their order, not augmented."""
        for x in self.images.in_order(min(batch_size, self._prepare.at_once), first):
            yield self._prepare(x)
