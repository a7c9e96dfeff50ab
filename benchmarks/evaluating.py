"""The test pass of a ResNet-32, metrics included, against the classic loop's; and what the metrics alone cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks import classic
from benchmarks.timing import Rate, interleaved
from benchmarks.training import CLASSES, images
from benchmarks.turns import in_turns
from ltbench.data.loader import ImageBatches
from ltbench.metrics import evaluate
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.training import evaluation
from ltbench.training.device.allocator import keep_memory

SHOTS = {"many": 100, "few": 20}


NAMES = (
    "classic test pass, fp32",
    "classic test pass with 2 workers, fp32",
    "test pass, fp32",
    "test pass for curves (batch-norm folded), fp32",
    "test pass, bf16",
    "test pass for curves (batch-norm folded), bf16",
)


def measure(count: int = 2048, rounds: int = 5) -> dict[str, Rate]:
    """Test images per second of one thread's CPU time, worker processes included (on a GPU: by the wall clock)."""
    return in_turns("benchmarks.evaluating", NAMES, count, rounds, wall=torch.cuda.is_available())


def variant(name: str, count: int) -> Callable[[], int]:
    """One way of testing by its name, of so many images. Ours has the memory settings of a trial, the classic pass
    those of any process."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("classic"):
        return _classic(device, count, workers=2 if "2 workers" in name else 0)
    if device.type == "cpu":
        keep_memory()
    return _ours(device, count, name.rpartition(", ")[2], fold="folded" in name)


def ratios(rates: dict[str, Rate]) -> dict[str, float]:
    ours = {name: rate.median for name, rate in rates.items() if "classic" not in name}
    theirs = {name.removesuffix(", fp32"): rate.median for name, rate in rates.items() if "classic" in name}
    return {f"{mine} / {other}": a / b for mine, a in ours.items() for other, b in theirs.items()}


def metrics(rounds: int = 30) -> dict[str, Rate]:
    """Milliseconds of all metrics of 10,000 test images, and of the classic loop's counting."""
    rng, found = np.random.default_rng(0), {}
    for classes in (10, 100):
        truth = rng.integers(0, classes, 10_000)
        logits = rng.normal(size=(10_000, classes)).astype(np.float32)
        ways = {"metrics": _metrics(logits, truth, [10] * classes), "classic counting": _counting(logits, truth)}
        for name, rate in interleaved(ways, rounds).items():
            found[f"{name}, 10,000 images, {classes} classes"] = Rate(*(1000 / r for r in (rate[0], rate[2], rate[1])))
    return found


def _metrics(logits: np.ndarray, truth: np.ndarray, counts: Sequence[int]) -> Callable[[], int]:
    def work() -> int:
        evaluate(logits, truth, counts, SHOTS)
        return 1

    return work


def _counting(logits: np.ndarray, truth: np.ndarray) -> Callable[[], int]:
    predicted, labels, classes = list(logits.argmax(axis=1)), list(truth), logits.shape[1]

    def work() -> int:
        classic.count(labels, predicted, classes)
        return 1

    return work


def _model(device: torch.device) -> Classifier:
    return Classifier(build_backbone("resnet32", (32, 32, 3)), torch.nn.Linear(64, CLASSES)).to(device)


def _classic(device: torch.device, count: int, workers: int) -> Callable[[], int]:
    model = _model(device)
    loader = classic.evaluation_loader(*images(count), (0.5,) * 3, (0.25,) * 3, workers=workers)

    def work() -> int:
        classic.evaluate(model, loader, CLASSES, device)
        return count

    return work


def _ours(device: torch.device, count: int, precision: str, *, fold: bool) -> Callable[[], int]:
    model = _model(device).to(memory_format=torch.channels_last)
    x, y = images(count)
    batches = ImageBatches(x, y, (0.5,) * 3, (0.25,) * 3, device=device)

    def work() -> int:
        kept, evaluation.FOLD_FROM = evaluation.FOLD_FROM, 0
        logits = evaluation.logits_of(model, batches, {"precision": precision}, fold=fold)
        evaluation.FOLD_FROM = kept
        evaluate(logits, y, [100] * CLASSES, SHOTS)
        return count

    return work
