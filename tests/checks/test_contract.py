"""The contract finds what is wrong with a method."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ltbench.api import Method, Moment, Stage, Task, hp
from ltbench.checks.contract import check_method
from ltbench.parts import Classifier


class Sound(Method):
    """Cross-entropy with a temperature."""

    paper, defaults_from = "Nobody, 2024.", "nowhere"
    temperature: float = hp(1.0, "what the logits are divided by", above=0.0)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits / self.temperature, target, now)


class IdleOption(Sound):
    """An option that does nothing."""

    idle: float = hp(1.0, "nothing at all")


class OutOfRange(Sound):
    """Draws behind the end."""

    def draw(self, index: NDArray[np.int64], now: Moment) -> NDArray[np.int64]:
        return index + 10_000


class NoDistribution(Sound):
    """Targets that sum to two."""

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        return x, 2 * self.task.one_hot(y)


class OwnDice(Sound):
    """Throws dice that no seed holds."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target, now) * float(np.random.default_rng().random())


class HiddenInTheClass(Sound):
    """Counts its steps where all methods of the class share them; every trial starts from 0."""

    steps: ClassVar[list[int]] = [0]

    def __init__(self, task: Task, **values: Any) -> None:
        super().__init__(task, **values)
        self.steps[0] = 0

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        self.steps[0] += 1
        return super().loss(logits, target, now) * (1 + self.steps[0] / 100)


class HiddenInAClosure(Sound):
    """Counts its steps in a variable that belongs to a function."""

    def __init__(self, task: Task, **values: Any) -> None:
        super().__init__(task, **values)
        steps = 0

        def grown() -> float:
            nonlocal steps
            steps += 1
            return 1 + steps / 100

        self.grown = grown

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target, now) * self.grown()


class HoldsAnIterator(Sound):
    """Counts its steps with an iterator."""

    def __init__(self, task: Task, **values: Any) -> None:
        super().__init__(task, **values)
        self.steps = itertools.count()

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target, now) * (1 + next(self.steps) / 100)


class Vector(Sound):
    """A loss per image."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return -(target * logits.log_softmax(dim=1)).sum(dim=1)


class Scatters(Sound):
    """Its head puts features into a table of float32, which takes nothing else."""

    def head(self, dim: int) -> nn.Module:
        classes = self.task.num_classes

        class Head(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(dim, classes)

            def forward(self, features: Tensor) -> Tensor:
                table = torch.zeros(len(features), classes, device=features.device)
                return table.index_add(0, torch.arange(len(features), device=features.device), self.linear(features))

        return Head()


class Overflows(Sound):
    """Right in fp32; in bf16, rounded to eight bits, two neighbours are one and what is between them is nothing."""

    def predict(self, logits: Tensor) -> Tensor:
        rounded = (logits.bfloat16().float() == logits).all()
        return torch.where(rounded, torch.full_like(logits, torch.inf), logits)


class TooLong(Sound):
    """Trains one and a half times."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage(share=0.75)
        yield Stage(share=0.75)


class LeftBehind(Sound):
    """Its weights stay on the CPU."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits * torch.arange(1.0, 6.0), target, now)


class LeftBehindLate(Sound):
    """Its weights stay on the CPU, and come into play in the last steps of a short last stage."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("most", 0.9)
        yield Stage("rest", 0.1)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        late = now.stage == "rest" and now.progress > 0.7
        return super().loss(logits * torch.arange(1.0, 6.0) if late else logits, target, now)


class Nameless(Sound):
    """States no paper."""

    paper = ""


class Misspelt(Sound):
    """Would train as plain cross-entropy: nothing calls its loss."""

    def losss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return logits.sum()


class Grows(Sound):
    """Counts its steps in a global; a second trial of the process starts where the first one ended."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        GLOBAL_STEPS.append(0.01)
        return super().loss(logits * (1 + sum(GLOBAL_STEPS)), target, now)


GLOBAL_STEPS: list[float] = []


class Labels(Sound):
    """Gives labels where a distribution is due."""

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        return x, y


def test_the_contract_finds_nothing_in_a_sound_method() -> None:
    assert check_method(Sound) == ([], [])


@pytest.mark.parametrize(
    ("cls", "sentence"),
    [
        (IdleOption, "idle has no effect"),
        (OutOfRange, "outside the training set"),
        (NoDistribution, "not distributions"),
        (OwnDice, "two runs with one seed differ"),
        (HiddenInTheClass, "keeps state where a checkpoint cannot see it (a global, a class attribute, a closure)"),
        (HiddenInAClosure, "keeps state where a checkpoint cannot see it (a global, a class attribute, a closure)"),
        (HoldsAnIterator, "method.steps: is a count, whose position cannot be saved"),
        (Vector, "single number"),
        (Scatters, "in bf16 training fails: RuntimeError: index_add"),
        (Overflows, "in bf16 the test logits are not finite"),
        (TooLong, "shares sum to 1.5"),
        (LeftBehind, "on a GPU training would fail: RuntimeError: mul: one tensor is on the device"),
        (LeftBehindLate, "on a GPU training would fail: RuntimeError: mul: one tensor is on the device"),
        (Nameless, "`paper` is not stated"),
        (Misspelt, "`losss` is no hook, and nothing calls it; did you mean `loss`?"),
        (Grows, "what changes while training must be an attribute of self"),
        (Labels, "it gives (16,); `self.task.one_hot` makes one of labels"),
    ],
)
def test_the_contract_says_what_is_wrong_with_a_broken_method(cls: type[Method], sentence: str) -> None:
    assert any(sentence in problem for problem in check_method(cls).problems)
