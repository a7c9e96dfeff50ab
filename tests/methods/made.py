"""Tasks, moments, batches and short trainings for the tests of methods."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltbench.api import Method, Moment, Stage, Task
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.registry import Registry
from ltbench.training.engine import Clock, Setup, train
from ltbench.training.evaluation import logits_of
from ltbench.training.madeup import text_tower

REGISTRY = Registry()
NAMES = REGISTRY.names()
OPTIONS = [(name, field) for name in NAMES for field in REGISTRY.get(name).hyperparameters]
ALWAYS = ("bbn", "coop", "lift", "paco", "shike", "temperature", "text_guided_mixup")
"""Methods that use every hook, alone and together, and need everything that a method can need."""
COUNTS = (100, 50, 20, 10, 5)
CIFAR100_IF100 = tuple(int(500 * 0.01 ** (c / 99)) for c in range(100))
CPU = torch.device("cpu")
RECIPE: dict[str, Any] = {
    "epochs": 2.0,
    "batch_size": 32,
    "precision": "fp32",
    "schedule": {"name": "constant", "warmup": 0.0, "warmup_stairs": 0},
}
every_method = pytest.mark.parametrize("name", NAMES)


def make(name: str, task: Task, **values: Any) -> Any:
    return REGISTRY.get(name)(task, **values)


def moment(progress: float = 0.0, seed: int = 0) -> Moment:
    return Moment("train", progress, np.random.default_rng(seed), CPU)


def loaded(weight: float) -> Moment:
    """A moment whose Beta always gives `weight`."""

    class Loaded(Moment):
        def beta(self, a: float, b: float, size: int | tuple[int, ...] = ()) -> Tensor:
            return torch.full((size,) if isinstance(size, int) else size, weight)

    return Loaded("train", 0.0, np.random.default_rng(0), CPU)


EXPERTS = {"ride": 3, "sade": 3, "ncl": 3, "ncl_contrastive": 3, "shike": 3}
"""Methods whose losses and corrections take the logits of several experts, and how many these are."""


def out_of(name: str, logits: Tensor) -> Tensor:
    """What a method's model gives where every expert gives these logits: (N, C), or (N, K, C)."""
    return logits[:, None].expand(-1, EXPERTS[name], -1) if name in EXPERTS else logits


def forward_of(name: str, logits: Tensor) -> Any:
    """What a method's `forward` gives with these logits; whatever else is in it stays the same."""
    n = len(logits)

    def fixed(rows: int, width: int = 8, seed: int = 6) -> Tensor:
        return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).to(logits)

    if name == "bcl":
        return logits, fixed(2 * n), fixed(5, seed=7)
    if name == "paco":
        return logits, fixed(n), fixed(n, seed=7), (fixed(12, seed=8), torch.arange(12) % 6 - 1)
    if name == "proco":
        unit = torch.nn.functional.normalize(torch.stack([fixed(n), fixed(n, seed=7)]), dim=2)
        return (
            logits,
            unit,
            0.8 * torch.nn.functional.normalize(torch.stack([fixed(5, seed=8), fixed(5, seed=9)]), dim=2),
        )
    if name == "ncl_contrastive":
        held = torch.nn.functional.normalize(torch.stack([fixed(12, seed=8 + k) for k in range(3)]), dim=2)
        query, keys = (torch.stack([fixed(n, seed=s + k) for k in range(3)], dim=1) for s in (6, 20))
        return (
            out_of(name, logits),
            query,
            torch.nn.functional.normalize(keys, dim=2),
            held,
            (torch.arange(36).view(3, 12) % 6 - 1),
        )
    if name == "glmc":
        return logits, logits, fixed(n), fixed(n, seed=7), torch.tensor(0.7).to(logits)
    if name == "mean_teacher":
        return logits, fixed(n, 5), torch.tensor(0.7).to(logits)
    return out_of(name, logits)


def views_of(name: str, x: Tensor) -> Tensor:
    """What a method's `mix` is given: images (N, ...), or as many equal views of them as it takes, (V, N, ...)."""
    views = len(REGISTRY.get(name).views)
    return x if views == 1 else torch.unflatten(torch.cat([x] * views), 0, (views, len(x)))


def task_of(counts: tuple[int, ...], text: NDArray[np.float32] | None = None, seed: int = 0) -> Task:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    names = [f"class {c}" for c in range(len(counts))]
    task = Task(labels, names, text=text, optimizer={"name": "sgd", "lr": 0.05, "momentum": 0.9}, seed=seed)
    task.make_text_tower = None if text is None else partial(text_tower, text.shape[1])
    return task


def near_names(num_classes: int = 5, dim: int = 128) -> NDArray[np.float32]:
    """Unit vectors that are all somewhat alike, as those of class names are; by default as long as mlp's features."""
    text = np.random.default_rng(3).normal(size=(num_classes, dim)) + 0.7
    return (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)


def labels_of(size: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 5, size))


def some_logits(rows: int = 16, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(rows, 5, generator=torch.Generator().manual_seed(0))


def some_targets(rows: int = 16) -> Tensor:
    return (3 * torch.randn(rows, 5, generator=torch.Generator().manual_seed(1))).softmax(dim=1)


def one_hot(labels: Tensor) -> Tensor:
    return torch.eye(5)[labels]


def images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noisy 6x6 patterns, one per class."""
    rng, labels = np.random.default_rng(7), np.repeat(np.arange(5), COUNTS)
    patterns, noise = rng.integers(0, 160, (5, 6, 6, 1)), rng.integers(0, 96, (len(labels), 6, 6, 1))
    return (patterns[labels] + noise).astype(np.uint8), labels


def body_of(cls: type[Method]) -> str:
    """A small backbone of the kind that a method needs."""
    return "vit_small" if "blocks" in cls.needs else "cnn_small" if "maps" in cls.needs else "mlp"


def names_for(name: str) -> NDArray[np.float32]:
    """Class-name vectors as long as the features of `body_of`."""
    return near_names(dim=build_backbone(body_of(REGISTRY.get(name)), (6, 6, 1)).dim)


def trained(method: Method, backbone: str | None = None, seed: int = 0, epochs: float = 2.0) -> Classifier:
    """The method's model after a short training on the patterns."""
    x, y = images()
    torch.manual_seed(seed)
    body = build_backbone(backbone or body_of(type(method)), (6, 6, 1))
    model = Classifier(body, method.head(body.dim))
    order = BatchOrder(y, 5, RECIPE["batch_size"], np.random.default_rng([seed, 1]))
    clock, recipe = Clock(np.random.default_rng([seed, 2]), CPU), {**RECIPE, "epochs": epochs}
    batches = ImageBatches(x, y, (0.5,), (0.25,), further=("crop",) * (len(method.views) - 1))
    train(model, method, Setup(batches, order, clock, recipe))
    return model


def final_logits(name: str, seed: int = 0, epochs: float = 2.0, **values: Any) -> NDArray[np.float32]:
    """Corrected logits of the training images after a short training. Several tests ask for the same one: each process
    trains it once."""
    return _final_logits(name, seed, epochs, tuple(values.items()))


@cache
def _final_logits(name: str, seed: int, epochs: float, values: tuple[tuple[str, Any], ...]) -> NDArray[np.float32]:
    logits = logits_of_a_training(name, seed, epochs, **dict(values))
    logits.setflags(write=False)
    return logits


def logits_of_a_training(name: str, seed: int = 0, epochs: float = 2.0, **values: Any) -> NDArray[np.float32]:
    """As `final_logits`, always trained anew."""
    method: Method = make(name, task_of(COUNTS, names_for(name), seed), **values)
    model = trained(method, seed=seed, epochs=epochs)
    raw = torch.from_numpy(logits_of(model, ImageBatches(*images(), (0.5,), (0.25,)), RECIPE))
    method.fit(raw, torch.from_numpy(images()[1]))
    return np.array(method.predict(raw).numpy())


def spied(name: str) -> Any:
    """The method, noting the model's state at each yield and after the last, and the classes of every batch."""

    class Spied(REGISTRY.get(name)):  # type: ignore[misc]
        """Tells what it did."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            self.states: list[dict[str, Tensor]] = []
            self.drawn: dict[str, list[NDArray[np.int64]]] = {}
            inner = super().stages(model)
            while True:
                self.before = {k: v.clone() for k, v in model.state_dict().items()}
                stage = next(inner, None)
                self.states.append({k: v.clone() for k, v in model.state_dict().items()})
                if stage is None:
                    return
                yield stage

        def draw(self, index: NDArray[np.int64], now: Moment) -> NDArray[np.int64]:
            self.drawn.setdefault(now.stage, []).append(index)
            return super().draw(index, now)  # type: ignore[no-any-return]

    return Spied
