"""Augmentation of small images: how many a core augments per second, in batches and by the loop of the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.timing import Rate, interleaved
from ltbench.data.images.policies import POLICIES
from ltbench.data.loader import ImageBatches

BATCH = 128
CLASSIC = "AutoAugment per image with PIL and torchvision, as the field does"
CONTRASTIVE = "SimAugment per image with PIL and torchvision, as the field does"


def measure(batches: int = 30, rounds: int = 5) -> dict[str, Rate]:
    """Images of 32 pixels per second of one core, in batches of 128, normalised."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4096, 32, 32, 3), dtype=np.uint8)
    index = rng.integers(0, len(x), BATCH)

    def ours(augment: str) -> Callable[[], int]:
        made = ImageBatches(x, np.zeros(len(x), np.int64), (0.5,) * 3, (0.2,) * 3, augment=augment, rng=rng)
        return lambda: sum(len(made.batch(index)[0]) for _ in range(batches))

    def one_by_one(*steps: Any) -> Callable[[], int]:
        loop = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.2,) * 3)])
        return lambda: len([loop(Image.fromarray(image)) for image in x[:BATCH]])

    variants = {f"images at 32 px, {augment}": ours(augment) for augment in ("none", "crop_flip", *POLICIES)}
    policy = transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10, fill=(128,) * 3)
    variants[f"images at 32 px, {CLASSIC}"] = one_by_one(
        transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), policy
    )
    variants[f"images at 32 px, {CONTRASTIVE}"] = one_by_one(
        transforms.RandomResizedCrop(32, scale=(0.2, 1.0)), transforms.RandomHorizontalFlip(),
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8), transforms.RandomGrayscale(p=0.2),
        transforms.RandomApply([transforms.GaussianBlur(13, sigma=(0.1, 2.0))], p=0.5),
    )  # fmt: skip
    return interleaved(variants, rounds)


def ratios(rates: Mapping[str, Rate]) -> dict[str, float]:
    """Against the loop of the field, within the run."""
    pairs = {
        "AutoAugment and Cutout": ("autoaugment_cutout", CLASSIC),
        "SimAugment": ("simaugment", CONTRASTIVE),
    }
    rate = {name: rates[f"images at 32 px, {name}"].median for pair in pairs.values() for name in pair}
    return {f"{what} in batches, times the loop over images": rate[ours] / rate[loop]
            for what, (ours, loop) in pairs.items()}  # fmt: skip
