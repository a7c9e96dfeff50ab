"""A made-up task that any method trains on in a tenth of a second: five long-tailed classes of noisy 8x8 patterns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltbench.api import Method, Task
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.models import build_backbone
from ltbench.models.prompts import TextEncoder, TextTower
from ltbench.parts import Classifier
from ltbench.stats.priors import prior_weights
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.engine import Clock, Setup, train
from ltbench.training.graph.use import GraphUse

COUNTS = (120, 60, 24, 12, 6)
RECIPE: dict[str, Any] = {
    "epochs": 4.0,
    "batch_size": 16,
    "precision": "fp32",
    "schedule": {"name": "multistep", "milestones": [0.6], "gamma": 0.1, "warmup": 0.0, "warmup_stairs": 0},
}
_SHAPE = (8, 8, 1)
_OPTIMIZER = {"name": "sgd", "lr": 0.05, "momentum": 0.9}


def images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(222, 8, 8, 1) images and their labels."""
    rng = np.random.default_rng(7)
    y = np.repeat(np.arange(len(COUNTS)), COUNTS).astype(np.int64)
    patterns = rng.integers(0, 160, (len(COUNTS), 8, 8, 1))
    noise = rng.integers(0, 96, (len(y), 8, 8, 1))
    return (patterns[y] + noise).astype(np.uint8), y


def batches(device: torch.device | str = "cpu", views: int = 1) -> ImageBatches:
    """Batches of `images`, plain; further views are cropped."""
    return ImageBatches(*images(), (0.5,), (0.25,), further=("crop",) * (views - 1), device=device)


class DrawnAhead(ImageBatches):
    """Batches whose `draw` runs ahead of the training, as that of streamed images does, on a script of what it gave
    before: what else the method does may then depend on the batch that it has, and not on which was drawn last.

    Args:
        ahead: batches that are drawn before the one that is trained on. script: the indices of all steps, taken in
            place of what is drawn; an empty one is filled. views: of every image, as of `batches`.
    """

    def __init__(self, ahead: int, script: list[NDArray[np.int64]], views: int = 1) -> None:
        super().__init__(*images(), (0.5,), (0.25,), further=("crop",) * (views - 1))
        self._ahead, self._script, self._fills = ahead, script, not script
        self._drawn = self._step = 0

    def next(
        self, draw: Callable[[int], NDArray[np.int64]], step: int, steps: int
    ) -> tuple[NDArray[np.int64], Tensor, Tensor]:
        self._drawn = 0 if step == 0 else self._drawn
        while self._drawn < min(steps, step + 1 + self._ahead):
            index = draw(self._drawn)
            self._drawn += 1
            if self._fills:
                self._script.append(index)
        index = self._script[self._step]
        self._step += 1
        return index, *self.batch(index)


def task_for(cls: type[Method], seed: int = 0, device: torch.device | str = "cpu") -> Task:
    """Class-name vectors are of another length than the features, unless the method wants both in one space."""
    clip = "clip" in cls.needs
    dim = build_backbone(_backbone(cls), _SHAPE).dim if clip else 16
    text = np.random.default_rng(3).normal(size=(len(COUNTS), dim)) + 1.0
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    task = Task(
        images()[1],
        [f"class {c}" for c in range(len(COUNTS))],
        device=device,
        text=text.astype(np.float32),
        optimizer=_OPTIMIZER,
        seed=seed,
        logit_scale=100.0 if clip else None,
        test_prior=prior_weights("backward10", COUNTS) if "test_prior" in cls.needs else None,
    )
    task.pixel_mean, task.pixel_std = torch.tensor([0.5], device=device), torch.tensor([0.25], device=device)
    task.make_text_tower = partial(text_tower, dim) if "words" in cls.needs else None
    return task


def text_tower(dim: int) -> TextTower:
    """A text tower of random weights, always the same, that reads letters; its vectors have `dim` numbers."""
    width, context, end = 32, 77, 256
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        places, projection = 0.1 * torch.randn(context, width), torch.randn(width, dim) / width**0.5
        encoder = TextEncoder(transformer, places, nn.LayerNorm(width), projection).requires_grad_(False)
        words = nn.Embedding(end + 1, width).requires_grad_(False)

    def tokens(prompts: Sequence[str]) -> Tensor:
        rows = torch.zeros(len(prompts), context, dtype=torch.int64)
        for row, prompt in zip(rows, prompts, strict=True):
            read = list(prompt.encode()[: context - 2])
            row[1 : len(read) + 2] = torch.tensor([*read, end])
        return rows

    return TextTower(encoder, words, tokens)


def model_for(method: Method) -> Classifier:
    """A fresh model with the method's head, on the task's device."""
    backbone = build_backbone(_backbone(type(method)), _SHAPE)
    return Classifier(backbone, method.head(backbone.dim)).to(method.task.device)


def order_for(seed: int) -> BatchOrder:
    """The order in which a seed sees the images."""
    return BatchOrder(images()[1], len(COUNTS), RECIPE["batch_size"], np.random.default_rng([seed, 1]))


class Variation(TypedDict, total=False):
    """How a short training differs from the plain one.

    Attributes:
        watch: told the epochs done and the mean loss. checkpoints, graphs: as of `Setup`. clock: the method's random
            numbers. precision: as in a recipe. source: the images, instead of `batches`.
    """

    watch: Callable[[float, float], None]
    checkpoints: Checkpoints | None
    clock: Clock | None
    precision: str
    source: ImageBatches | None
    graphs: GraphUse | None


def train_on_it(method: Method, model: Classifier, seed: int = 0, **how: Unpack[Variation]) -> None:
    """All steps of the recipe, on the task's device."""
    device = method.task.device
    setup = Setup(
        how.get("source") or batches(device, len(method.views)),
        order_for(seed),
        how.get("clock") or Clock(np.random.default_rng([seed, 2]), device),
        {**RECIPE, "precision": how.get("precision", "fp32")},
        how.get("watch", lambda epochs, loss: None),
        how.get("checkpoints") or Checkpoints(),
        graphs=how.get("graphs"),
    )
    train(model, method, setup)


def _backbone(cls: type[Method]) -> str:
    return "vit_small" if "blocks" in cls.needs else "cnn_small"
