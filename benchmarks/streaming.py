"""Large images: how many a core makes ready per second, decoded, from the cache, and by the loop of the field."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from benchmarks.timing import Rate, interleaved
from ltbench.data.images.crops import draw_uniforms
from ltbench.data.images.pictures import DecodedCache, Pictures, Telling, names_array
from ltbench.data.sources.files import MEAN, STD
from ltbench.data.stream import Cutter, Job, StreamBatches

SHORTER, SIZE = 256, 224
"""The usual sides: the images' shorter one, and the network's."""
CLASSIC = "per image with PIL and torchvision, as the field does"


def measure(images: int = 64, rounds: int = 5) -> dict[str, Rate]:
    """Images per second of one core, for batches of all of them: random resized crop, flip, colour jitter."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{i}.jpg" for i in range(images)]
        for i, name in enumerate(names):
            photograph(i).save(Path(folder) / name, quality=90)
        straight = Pictures(Path(folder), names_array(names), SHORTER)
        cache = DecodedCache(Path(folder) / "cache", "train", images)
        cache.fill(straight, [], Telling("", images))
        cached = Pictures(Path(folder), straight.names, SHORTER, cache)
        index, rng = np.arange(images), np.random.default_rng(0)
        batches = {name: StreamBatches(Cutter(x, SIZE), index, MEAN, STD, augment="resized_crop_flip_jitter")
                   for name, x in (("decoded", straight), ("cached", cached))}  # fmt: skip

        def crops(x: Pictures) -> int:
            return len(Cutter(x, SIZE)[Job(index, draw_uniforms(rng, images))].pixels)

        def finished(name: str) -> int:
            return len(batches[name].batch(index)[0])

        return interleaved(
            {
                "images at 224 px, " + CLASSIC: lambda: classic(Path(folder), names),
                "images at 224 px, decoded in every epoch: what a worker does": lambda: crops(straight),
                "images at 224 px, from the cache: what a worker does": lambda: crops(cached),
                "images at 224 px, decoded in every epoch, device's part on the same core": lambda: finished("decoded"),
                "images at 224 px, from the cache, device's part on the same core": lambda: finished("cached"),
            },
            rounds,
        )


def ratios(rates: Mapping[str, Rate]) -> dict[str, float]:
    """Against the loop of the field, within the run."""
    base, *others = rates.items()
    return {f"{name.removeprefix('images at 224 px, ')} / the field's loop": rate.median / base[1].median
            for name, rate in others}  # fmt: skip


def classic(folder: Path, names: list[str]) -> int:
    """The training transforms of the field's large data sets, an image at a time, and a batch of the results."""
    transform = transforms.Compose([
        transforms.RandomResizedCrop(SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(0.4, 0.4, 0.4),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])  # fmt: skip
    made = []
    for name in names:
        with Image.open(folder / name) as image:
            made.append(transform(image.convert("RGB")))
    return len(torch.stack(made))


def photograph(seed: int) -> Image.Image:
    """500 x 375 with large shapes and fine grain, about 60 kB as a JPEG: the size of a usual image of ImageNet."""
    rng = np.random.default_rng(seed)
    pixels: NDArray[np.float64] = np.zeros((375, 500, 3))
    for cells in (4, 16, 64):
        coarse = Image.fromarray(rng.integers(0, 256, (cells * 3 // 4, cells, 3), dtype=np.uint8))
        pixels += np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.float64) / 3
    return Image.fromarray(np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8))


if __name__ == "__main__":
    found = measure()
    for name, rate in found.items():
        print(f"{name}: {rate.median:,.0f} ({rate.spread})")
    for name, ratio in ratios(found).items():
        print(f"{name}: {ratio:.2f}")
