"""Augmentation of small images: how many a core augments per second, in batches and by the loop of the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.timing import Rate, interleaved
from ltbench.data.images.policies import POLICIES
from ltbench.data.loader import ImageBatches

BATCH = 128
CLASSIC = "AutoAugment per image with PIL and torchvision, as the field does"


def measure(batches: int = 30, rounds: int = 5) -> dict[str, Rate]:
    """Images of 32 pixels per second of one core, in batches of 128, normalised."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4096, 32, 32, 3), dtype=np.uint8)
    index = rng.integers(0, len(x), BATCH)

    def ours(augment: str) -> Callable[[], int]:
        made = ImageBatches(x, np.zeros(len(x), np.int64), (0.5,) * 3, (0.2,) * 3, augment=augment, rng=rng)
        return lambda: sum(len(made.batch(index)[0]) for _ in range(batches))

    one_by_one = transforms.Compose([
        transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(),
        transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10, fill=(128,) * 3), transforms.ToTensor(),
        transforms.Normalize((0.5,) * 3, (0.2,) * 3),
    ])  # fmt: skip
    variants = {f"images at 32 px, {augment}": ours(augment) for augment in ("none", "crop_flip", *POLICIES)}
    variants[f"images at 32 px, {CLASSIC}"] = lambda: len([one_by_one(Image.fromarray(image)) for image in x[:BATCH]])
    return interleaved(variants, rounds)


def ratios(rates: Mapping[str, Rate]) -> dict[str, float]:
    """Against the loop of the field, within the run."""
    ours, classic = (rates[f"images at 32 px, {name}"].median for name in ("autoaugment_cutout", CLASSIC))
    return {"AutoAugment and Cutout in batches, times the loop over images": ours / classic}
