"""ResNet-32, batch 128: the whole engine against the classic loop, and against the bare step on one ready batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from benchmarks import classic
from benchmarks.timing import Rate
from benchmarks.turns import in_turns
from ltbench.api import Task
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.registry import Registry
from ltbench.training.device.allocator import keep_memory
from ltbench.training.device.compiled import can_compile
from ltbench.training.device.determinism import use_deterministic_algorithms
from ltbench.training.engine import Clock, Setup, train
from ltbench.training.graph.use import GraphUse

BATCH, IMAGES, CLASSES = 128, 12_406, 10
OPTIMIZER = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 2e-4}
SCHEDULE = {"name": "multistep", "milestones": [0.8, 0.9], "gamma": 0.01, "warmup": 0.025, "warmup_stairs": 5}


WORKERS = 8
"""Of the classic loop's loader beside a GPU; on a CPU it loads in process, as what counts is the sum of CPU time."""
NAMES = (
    "classic loop, fp32",
    "bare step, fp32, contiguous",
    "bare step, fp32",
    "engine ce, fp32",
    "engine text_guided_mixup, fp32",
    "bare step, bf16",
    "engine ce, bf16",
)
COMPILED = {"cpu": ("engine ce, fp32, default", "engine ce, bf16, default"),
            "cuda": ("engine ce, bf16, default", "engine ce, bf16, reduce-overhead")}  # fmt: skip
"""With torch.compile, where there is a compiler; beside a GPU also with CUDA graphs."""
RECORDED = ("engine ce, bf16, recorded", "engine ce, bf16, recorded and fused")
"""Beside a GPU: as a trial runs there, a step being one CUDA graph; and with batch-norm, addition and ReLU fused."""
LONGER = 20
"""Times as many steps of what is recorded: recording takes a part of a second."""


def measure(steps: int = 8, rounds: int = 5) -> dict[str, Rate]:
    """Images per second of one thread's CPU time (on a GPU: by the wall clock)."""
    gpu = torch.cuda.is_available()
    names = NAMES + (COMPILED["cuda" if gpu else "cpu"] if can_compile(torch.device("cuda" if gpu else "cpu")) else ())
    return in_turns("benchmarks.training", names + RECORDED * gpu, steps, rounds, wall=gpu)


def variant(name: str, steps: int) -> Callable[[], int]:
    """One way of training by its name: does so many steps, and returns how many images that was. The engine and the
    bare steps it is compared with have the memory settings of a trial, the classic loop has those of any process."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    what, precision, *mode = name.split(", ")
    if what == "classic loop":
        return _classic(device, steps)
    if name.endswith("contiguous"):
        return _bare(device, steps, torch.contiguous_format, bf16=False)
    if device.type == "cpu":
        keep_memory()
    use_deterministic_algorithms(device)
    if what == "bare step":
        return _bare(device, steps, torch.channels_last, bf16=precision == "bf16")
    return _engine(device, steps, what.removeprefix("engine "), precision, *mode)


def ratios(rates: dict[str, Rate]) -> dict[str, float]:
    """What the harness promises, as ratios of medians."""
    median = {name: rate.median for name, rate in rates.items()}
    return {
        "training: engine / classic loop, fp32": median["engine ce, fp32"] / median["classic loop, fp32"],
        "training: engine in bf16 / classic loop": median["engine ce, bf16"] / median["classic loop, fp32"],
        "training: engine / bare step, fp32": median["engine ce, fp32"] / median["bare step, fp32"],
        "training: engine / bare step, bf16": median["engine ce, bf16"] / median["bare step, bf16"],
        "training: text-guided mixup / bare step, fp32": median["engine text_guided_mixup, fp32"]
        / median["bare step, fp32"],
        "training: channels-last / contiguous, fp32": median["bare step, fp32"] / median["bare step, fp32, contiguous"],
        "training: bf16 / fp32, bare step": median["bare step, bf16"] / median["bare step, fp32"],
        **{f"training: {name} / {base}": median[name] / median[base]
           for name in median if name.startswith("engine ce, ") and name.count(",") == 2
           for base in ("classic loop, fp32", name.rpartition(", ")[0])},
    }  # fmt: skip


def _classic(device: torch.device, steps: int) -> Callable[[], int]:
    x, y = images()
    model = _model(nn.Linear(64, CLASSES)).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=2e-4)
    workers = WORKERS if device.type == "cuda" else 0
    loader = classic.train_loader(x, y, (0.5,) * 3, (0.25,) * 3, workers=workers, batch_size=BATCH)
    batches = (batch for _ in itertools.count() for batch in loader if len(batch[1]) == BATCH)
    meters = [classic.Average(), classic.Average(), classic.Average()]

    def work() -> int:
        for images_, labels in itertools.islice(batches, steps):
            classic.step(model, optimizer, images_.to(device), labels.to(device), meters)
        return steps * BATCH

    return work


def images(count: int = IMAGES) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Made-up images of CIFAR's shape, and labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, CLASSES, count)


def _model(head: nn.Module) -> Classifier:
    return Classifier(build_backbone("resnet32", (32, 32, 3)), head)


def _bare(device: torch.device, steps: int, layout: torch.memory_format, *, bf16: bool) -> Callable[[], int]:
    model = _model(nn.Linear(64, CLASSES)).to(device)
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


def _engine(device: torch.device, steps: int, method: str, precision: str, mode: str = "none") -> Callable[[], int]:
    x, y = images()
    rng = np.random.default_rng(0)
    text = rng.normal(size=(CLASSES, 64)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    task = Task(y, [str(c) for c in range(CLASSES)], device=device, text=text, optimizer=OPTIMIZER)
    chosen = Registry().get(method)(task)
    model = _model(chosen.head(64)).to(device)
    model.to(memory_format=torch.channels_last)
    batches = ImageBatches(x, y, (0.5,) * 3, (0.25,) * 3, augment="crop_flip", device=device)
    recorded = mode.startswith("recorded")
    steps = steps * LONGER if recorded else steps
    recipe: dict[str, Any] = {"batch_size": BATCH, "epochs": (steps - 0.5) * BATCH / IMAGES, "precision": precision}
    recipe |= {"schedule": SCHEDULE, "compile": mode if not recorded else "fused" if "fused" in mode else "none"}

    def work() -> int:
        order, clock = BatchOrder(y, CLASSES, BATCH, np.random.default_rng(1)), Clock(np.random.default_rng(2), device)
        graphs = GraphUse("auto", device) if recorded else None
        train(model, chosen, Setup(batches, order, clock, recipe, graphs=graphs))
        if device.type == "cuda":
            torch.cuda.synchronize()
        return steps * BATCH

    return work
