"""The yardstick: training and testing as the repositories of the field do it.

Written here after their common pattern: one PIL image at a time through torchvision's transforms in a DataLoader, fp32,
contiguous tensors, losses and accuracies read after every step, results counted image by image in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class ImageSet(Dataset[tuple[Tensor, int]]):
    """Images (N, H, W, 3) uint8 with labels (N,), transformed one by one."""

    def __init__(self, x: NDArray[np.uint8], y: NDArray[np.int64], transform: Any) -> None:
        self._x, self._y, self._transform = x, y.tolist(), transform

    def __len__(self) -> int:
        return len(self._y)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._x[i])), self._y[i]


def train_loader(
    x: NDArray[np.uint8], y: NDArray[np.int64], mean: Sequence[float], std: Sequence[float], *, workers: int = 0,
    batch_size: int = 128, generator: torch.Generator | None = None,
) -> DataLoader[tuple[Tensor, int]]:  # fmt: skip
    """Shuffled batches with random crop (padding an eighth of the side: 4 of 32) and flip; the last one is smaller."""
    side = x.shape[1]
    augment = [transforms.RandomCrop(side, padding=side // 8), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose([*augment, *_to_tensor(mean, std)])
    return DataLoader(ImageSet(x, y, transform), batch_size, shuffle=True, num_workers=workers, generator=generator)


def evaluation_loader(
    x: NDArray[np.uint8], y: NDArray[np.int64], mean: Sequence[float], std: Sequence[float], *, workers: int = 0,
    batch_size: int = 100,
) -> DataLoader[tuple[Tensor, int]]:  # fmt: skip
    transform = transforms.Compose(_to_tensor(mean, std))
    return DataLoader(ImageSet(x, y, transform), batch_size, num_workers=workers)


def _to_tensor(mean: Sequence[float], std: Sequence[float]) -> list[Any]:
    return [transforms.ToTensor(), transforms.Normalize(mean, std)]


class Average:
    """Running mean of a number."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def add(self, value: float, n: int) -> None:
        self.sum, self.count = self.sum + value * n, self.count + n


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, meters: Sequence[Average]) -> None:
    """One training step with the loss and two accuracies read at once; `meters` are theirs."""
    logits = model(x)
    loss = F.cross_entropy(logits, y)
    top1, top5 = accuracies(logits, y)
    for meter, value in zip(meters, (loss, top1, top5), strict=True):
        meter.add(value.item(), len(x))
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def accuracies(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Top-1 and top-5 accuracy of a batch, percent."""
    _, found = logits.topk(5, dim=1)
    right = found.t() == y[None]
    return tuple(right[:k].reshape(-1).float().sum() * (100.0 / len(y)) for k in (1, 5))  # type: ignore[return-value]


class Tested(NamedTuple):
    accuracy: float
    per_class: list[float]
    """Percent."""


def evaluate(model: nn.Module, batches: Any, classes: int, device: torch.device) -> Tested:
    """The test pass: loss and accuracies after every batch, labels and predictions collected in lists."""
    model.eval()
    meters, truth, predicted = [Average(), Average(), Average()], [], []
    with torch.no_grad():
        for images, labels in batches:
            x, y = images.to(device), labels.to(device)
            logits = model(x)
            found = accuracies(logits, y)
            for meter, value in zip(meters, (F.cross_entropy(logits, y), *found), strict=True):
                meter.add(value.item(), len(x))
            truth.extend(y.cpu().numpy())
            predicted.extend(logits.argmax(dim=1).cpu().numpy())
    return count(truth, predicted, classes)


def count(truth: Sequence[int], predicted: Sequence[int], classes: int) -> Tested:
    """Accuracy over all images and of each class, image by image."""
    total, right = [0] * classes, [0] * classes
    for label, found in zip(truth, predicted, strict=True):
        total[label] += 1
        if label == found:
            right[label] += 1
    return Tested(100.0 * sum(right) / len(truth), [100.0 * r / max(n, 1) for r, n in zip(right, total, strict=True)])
