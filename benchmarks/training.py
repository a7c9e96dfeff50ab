"""ResNet-32, batch 128: the whole engine against the bare forward-backward-step on one ready-made batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.timing import Rate, interleaved
from ltbench.api import Task
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.engine import Clock, train
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.registry import Registry

BATCH, IMAGES, CLASSES = 128, 12_406, 10
OPTIMIZER = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 2e-4}
SCHEDULE = {"name": "multistep", "milestones": [0.8, 0.9], "gamma": 0.01, "warmup": 0.025, "warmup_stairs": 5}


def measure(steps: int = 8, rounds: int = 5) -> dict[str, Rate]:
    """Images per second of one thread's CPU time (on a GPU: by the wall clock)."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    variants = {
        "bare step, fp32, contiguous": _bare(device, steps, torch.contiguous_format, bf16=False),
        "bare step, fp32": _bare(device, steps, torch.channels_last, bf16=False),
        "engine ce, fp32": _engine(device, steps, "ce", "fp32"),
        "engine text_guided_mixup, fp32": _engine(device, steps, "text_guided_mixup", "fp32"),
        "bare step, bf16": _bare(device, steps, torch.channels_last, bf16=True),
        "engine ce, bf16": _engine(device, steps, "ce", "bf16"),
    }
    return interleaved(variants, rounds, wall=device.type == "cuda")


def ratios(rates: dict[str, Rate]) -> dict[str, float]:
    """What the harness promises, as ratios of medians."""
    median = {name: rate.median for name, rate in rates.items()}
    return {
        "engine / bare step, fp32": median["engine ce, fp32"] / median["bare step, fp32"],
        "engine / bare step, bf16": median["engine ce, bf16"] / median["bare step, bf16"],
        "text-guided mixup / bare step, fp32": median["engine text_guided_mixup, fp32"] / median["bare step, fp32"],
        "channels-last / contiguous, fp32": median["bare step, fp32"] / median["bare step, fp32, contiguous"],
        "bf16 / fp32, bare step": median["bare step, bf16"] / median["bare step, fp32"],
        "engine bf16 / bare fp32 contiguous": median["engine ce, bf16"] / median["bare step, fp32, contiguous"],
    }


def _bare(device: torch.device, steps: int, layout: torch.memory_format, *, bf16: bool) -> Callable[[], int]:
    backbone = build_backbone("resnet32", (32, 32, 3))
    model = Classifier(backbone, torch.nn.Linear(64, CLASSES)).to(device)
    model.to(memory_format=layout)
    x = torch.randn(BATCH, 3, 32, 32, device=device).to(memory_format=layout)
    y = torch.randint(0, CLASSES, (BATCH,), device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=2e-4)

    def work() -> int:
        for _ in range(steps):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                logits = model(x)
            loss = F.cross_entropy(logits.float(), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return steps * BATCH

    return work


def _engine(device: torch.device, steps: int, method: str, precision: str) -> Callable[[], int]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    y = rng.integers(0, CLASSES, IMAGES)
    text = rng.normal(size=(CLASSES, 64)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    task = Task(y, [str(c) for c in range(CLASSES)], device=device, text=text, optimizer=OPTIMIZER)
    chosen = Registry().get(method)(task)
    model = Classifier(build_backbone("resnet32", (32, 32, 3)), chosen.head(64)).to(device)
    model.to(memory_format=torch.channels_last)
    batches = ImageBatches(x, y, (0.5,) * 3, (0.25,) * 3, augment="crop_flip", device=device)
    recipe: dict[str, Any] = {"batch_size": BATCH, "epochs": (steps - 0.5) * BATCH / IMAGES, "precision": precision}
    recipe["schedule"] = SCHEDULE

    def work() -> int:
        order = BatchOrder(y, CLASSES, BATCH, np.random.default_rng(1))
        train(model, chosen, batches, order, Clock(np.random.default_rng(2), device), recipe, lambda e, loss: None)
        return steps * BATCH

    return work
