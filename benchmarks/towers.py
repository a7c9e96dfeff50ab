"""Fine-tuning a ViT at 224 pixels in bf16: the engine with `clip_full_finetune` against the bare step on a ready batch.

The network is torchvision's ViT-B/16 (on a CPU ViT-B/32), which costs what CLIP's image tower costs and needs no
weights; images of 32x32 pixels are brought to its size on the device, as in the CLIP suites on CIFAR.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from benchmarks.timing import Rate
from benchmarks.training import images
from benchmarks.turns import in_turns
from ltbench.api import Task
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.models.towers import RAW, PreparedBatches, Tower
from ltbench.parts import Classifier
from ltbench.registry import Registry
from ltbench.training.device.allocator import keep_memory
from ltbench.training.engine import Clock, Setup, train

CLASSES, WIDTH, LENGTH = 100, 768, 512
NAMES = ("bare step, bf16", "engine clip_full_finetune, bf16", "bare step, fp32", "engine clip_full_finetune, fp32")
DESCRIPTION = {"image_size": 224, "interpolation": "bicubic", "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28],
               "dim": LENGTH}  # fmt: skip


def measure(steps: int = 2, rounds: int = 3) -> dict[str, Rate]:
    """Images per second of one thread's CPU time (on a GPU: by the wall clock)."""
    gpu = torch.cuda.is_available()
    return in_turns("benchmarks.towers", NAMES, steps * (10 if gpu else 1), rounds, wall=gpu)


def ratios(rates: dict[str, Rate]) -> dict[str, float]:
    """What the engine leaves of the bare step."""
    return {f"fine-tuning a ViT: engine / bare step, {precision}":
            rates[f"engine clip_full_finetune, {precision}"].median / rates[f"bare step, {precision}"].median
            for precision in ("bf16", "fp32")}  # fmt: skip


def variant(name: str, steps: int) -> Callable[[], int]:
    """One way of fine-tuning by its name: does so many steps, and returns how many images that was."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        keep_memory()
    batch = 128 if device.type == "cuda" else 8
    what, precision = name.split(", ")
    return (_bare if what == "bare step" else _engine)(device, steps, batch, precision)


def _tower(device: torch.device) -> Tower:
    build = models.vit_b_16 if device.type == "cuda" else models.vit_b_32
    visual = build(weights=None)
    visual.heads = nn.Linear(WIDTH, LENGTH, bias=False)  # CLIP's projection into the space of text
    return Tower(visual, DESCRIPTION, device)


def _bare(device: torch.device, steps: int, batch: int, precision: str) -> Callable[[], int]:
    tower = _tower(device)
    model = Classifier(tower, nn.Linear(LENGTH, CLASSES)).to(device).train()
    model.to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 224, 224, device=device).to(memory_format=torch.channels_last)
    y = torch.randint(0, CLASSES, (batch,), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5, weight_decay=0.1, foreach=True)

    def work() -> int:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
                logits = model(x)
            F.cross_entropy(logits.float(), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return steps * batch

    return work


def _engine(device: torch.device, steps: int, batch: int, precision: str) -> Callable[[], int]:
    x, y = images(50 * batch)
    rng = np.random.default_rng(0)
    text = rng.normal(size=(CLASSES, LENGTH)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    task = Task(y, [str(c) for c in range(CLASSES)], device=device, text=text, logit_scale=100.0)
    method = Registry().get("clip_full_finetune")(task)
    tower = _tower(device)
    model = Classifier(tower, method.head(LENGTH)).to(device)
    model.to(memory_format=torch.channels_last)
    small = ImageBatches(x, y, *RAW, augment="flip", device=device)
    recipe = {"batch_size": batch, "epochs": (steps - 0.5) / 50, "precision": precision,
              "schedule": {"name": "constant", "warmup": 0.0, "warmup_stairs": 0}}  # fmt: skip

    def work() -> int:
        order = BatchOrder(y, CLASSES, batch, np.random.default_rng(1))
        batches = PreparedBatches(small, y, tower.prepare, ["benchmark"])
        train(model, method, Setup(batches, order, Clock(np.random.default_rng(2), device), recipe))
        return steps * batch

    return work
