"""Images: the same on the device as on a CPU? Does a training wait for large ones?"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.common import Check

if TYPE_CHECKING:
    from ltbench.data.images.pictures import Pictures
    from ltbench.data.stream import StreamBatches

STREAMED = ("none", "flip", "resized_crop_flip", "resized_crop_flip_jitter")
SIDE = 224
"""Pixels of the large images."""
LARGE = (
    ("decoded", "auto", "none"), ("cached", "auto", "none"), ("cached", "eager", "none"), ("cached", "auto", "fused"),
)  # fmt: skip
"""Where the images come from, and a suite's `step` and `compile`."""


def images(check: Check) -> None:
    """Every `augment` of small images on this device and on the CPU, from the same random numbers: equal to the bit?
    Of large images: the largest difference, in parts of the largest number; a GPU resizes them in another way."""
    import torch

    from ltbench.data.loader import AUGMENTS, ImageBatches

    count = 512 if check.device == "cuda" else 16
    for side in (32, 64) if check.device == "cuda" else (32,):
        x = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        x[: count // 2] = x[: count // 2].cumsum(axis=1, dtype=np.uint8) // 2  # not all of it noise
        for augment in AUGMENTS:
            made = []
            for device in ("cpu", check.device):
                rng = np.random.default_rng(5)
                batches = ImageBatches(
                    x, np.arange(count), (0.5,) * 3, (0.25,) * 3, augment=augment, rng=rng, device=device
                )  # fmt: skip
                made.append(torch.cat([batches.batch(np.arange(count))[0] for _ in range(3)]).cpu())
            differ = (made[0] != made[1]).float().mean().item()
            check.say("images", augment=augment, side=side, same=differ == 0, differ=differ)
    with tempfile.TemporaryDirectory() as folder:
        pictures = _photographs(Path(folder), 16, 16)
        for augment in STREAMED:
            ours, cpus = (_stream(pictures, augment, device, 0).batch(np.arange(16))[0].cpu()
                          for device in (check.device, "cpu"))  # fmt: skip
            off = float((ours - cpus).abs().max() / cpus.abs().max())
            check.say("images", augment=augment, side=SIDE, difference=off, right=off < 1e-3)


def large(check: Check) -> None:
    """A ResNet-50 in bf16 on photographs, decoded in every epoch and from the cache: images a second, and the share of
    the time that it waited for them. The worker processes are as many as the CPUs."""
    from ltbench.data.images.pictures import DecodedCache, Pictures, Telling

    distinct, count = (256, 2048) if check.device == "cuda" else (4, 16)
    with tempfile.TemporaryDirectory() as folder:
        decoded = _photographs(Path(folder), distinct, count)
        cache = DecodedCache(Path(folder) / "cache", "train", count)
        began = time.perf_counter()
        cache.fill(decoded, [], Telling("", count))
        check.say("large", what="filling the cache", images_s=round(count / (time.perf_counter() - began)))
        cached = Pictures(Path(folder), decoded.names, 256, cache)
        images = {"decoded": decoded, "cached": cached}
        for name, step, compile in LARGE if check.device == "cuda" else LARGE[:3]:
            try:
                found = _trained_on(images[name], check.device, step, compile)
                check.say("large", images=name, compile=compile, **found)
            except Exception as error:
                message = f"{type(error).__name__}: {str(error)[:300]}"
                check.say("large", images=name, compile=compile, asked=step, error=message)


def _trained_on(pictures: Pictures, name: str, step: str, compile: str) -> dict[str, Any]:
    """How fast a training on these images is."""
    import torch

    from ltbench.api import Task
    from ltbench.data.order import BatchOrder
    from ltbench.models import build_backbone
    from ltbench.parts import Classifier
    from ltbench.registry import Registry
    from ltbench.training.engine import Clock, Setup, train
    from ltbench.training.graph.use import GraphUse

    device = torch.device(name)
    batch, steps, workers = (128, 120, os.cpu_count() or 1) if device.type == "cuda" else (4, 4, 1)
    optimizer = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
    recipe = {"batch_size": batch, "epochs": (steps - 0.5) * batch / len(pictures), "precision": "bf16",
              "compile": compile, "schedule": {"name": "constant", "warmup": 0.0, "warmup_stairs": 0}}  # fmt: skip
    y = np.arange(len(pictures)) % 10
    method = Registry().get("ce")(Task(y, list("0123456789"), device=device, optimizer=optimizer))
    backbone = build_backbone("resnet50" if device.type == "cuda" else "resnet10", (SIDE, SIDE, 3))
    model = Classifier(backbone, method.head(backbone.dim)).to(device)
    model.to(memory_format=torch.channels_last)
    batches = _stream(pictures, "resized_crop_flip_jitter", name, workers)
    order, clock = BatchOrder(y, 10, batch, np.random.default_rng(1)), Clock(np.random.default_rng(2), device)
    graphs, began = GraphUse(step, device), time.perf_counter()
    try:
        train(model, method, Setup(batches, order, clock, recipe, graphs=graphs))
        seconds = time.perf_counter() - began
        return {"step": graphs.told(), "workers": batches.workers, "images_s": round(steps * batch / seconds),
                "data_wait_share": round(batches.waiting_share(), 4), "message": batches.starved()}  # fmt: skip
    finally:
        batches.close()


def _stream(pictures: Pictures, augment: str, device: str, workers: int) -> StreamBatches:
    from ltbench.data.sources.files import MEAN, STD
    from ltbench.data.stream import Ahead, Cutter, StreamBatches

    ahead = Ahead(np.random.default_rng(3), np.random.default_rng(4))
    return StreamBatches(
        Cutter(pictures, SIDE), np.arange(len(pictures)) % 10, MEAN, STD, augment=augment, ahead=ahead,
        workers=workers, device=device,
    )  # fmt: skip


def _photographs(folder: Path, distinct: int, count: int) -> Pictures:
    """So many images of 500 x 375 pixels, of which some are the same."""
    from benchmarks.streaming import SHORTER, photograph
    from ltbench.data.images.pictures import Pictures, names_array

    for i in range(distinct):
        photograph(i).save(folder / f"{i}.jpg", quality=90)
    return Pictures(folder, names_array([f"{i % distinct}.jpg" for i in range(count)]), SHORTER)
