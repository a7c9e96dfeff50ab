"""Made data sets of files in the layouts of the field: images of many shapes, and lists that count right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((200, 40, 40), (40, 180, 60), (50, 60, 220), (210, 200, 40), (180, 60, 190))


def write_images(root: Path, names: Sequence[str], labels: Sequence[int], shortest: int = 40, seed: int = 0) -> None:
    """One JPEG each: its class's colour under noise, of any shape."""
    rng = np.random.default_rng(seed)
    for name, label in zip(names, labels, strict=True):
        height, width = rng.integers(shortest, 2 * shortest, 2)
        noise = rng.normal(0, 25, (height, width, 3))
        pixels = np.clip(np.array(COLOURS[label % 5]) + noise, 0, 255).astype(np.uint8)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name, quality=95)


def write_list(file: Path, names: Sequence[str], labels: Sequence[int]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{name} {label}\n" for name, label in zip(names, labels, strict=True)))


def small_lists(root: Path, train: Sequence[int] = (12, 6, 4), test: int = 3, images: bool = True) -> Path:
    """A data set of kind `lists`: a folder per class, list files beside them."""
    for part, counts in (("train", train), ("test", [test] * len(train))):
        names = [f"{part}/class{'abc'[c]}/{i}.jpg" for c, n in enumerate(counts) for i in range(n)]
        labels = [c for c, n in enumerate(counts) for _ in range(n)]
        write_list(root / f"{part}.txt", names, labels)
        if images:
            write_images(root, names, labels, seed=len(part))
    return root


def tail(total: int, classes: int, largest: int, smallest: int) -> list[int]:
    """Class counts that fall geometrically from largest to smallest and sum to total."""
    steps = np.linspace(0, 1, classes)

    def counts(power: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.maximum(smallest, largest * (smallest / largest) ** (steps**power)).astype(np.int64)

    low, high = 0.01, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if counts(middle).sum() > total else (middle, high)
    found = counts(low)
    rest = total - int(found.sum())
    order = [i for i in range(1, classes - 1) if found[i] < largest - 1]
    for i in range(rest):
        found[order[i % len(order)]] += 1
    return [int(n) for n in found]
