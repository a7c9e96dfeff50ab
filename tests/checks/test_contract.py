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
from ltbench.checks.held import HeldOptimizers
from ltbench.parts import Classifier
from ltbench.training.madeup import model_for, task_for, train_on_it
from tests.sampling import sampled


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


class FromDrawToMix(Sound):
    """Keeps on self what it drew, for `mix`: of another batch where images are streamed."""

    def draw(self, index: NDArray[np.int64], now: Moment) -> NDArray[np.int64]:
        self.drawn = index
        return index

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        odd = torch.from_numpy(self.drawn % 2 == 1).to(x.device)
        return torch.where(odd[:, None, None, None], -x, x), self.task.one_hot(y)


class ByItsRows(Sound):
    """The same, found by the rows of the batch."""

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        assert now.index is not None
        odd = torch.from_numpy(now.index % 2 == 1).to(x.device, non_blocking=True)
        return torch.where(odd[:, None, None, None], -x, x), self.task.one_hot(y)


class QueueOfDraws(FromDrawToMix):
    """As many draws wait as were made; a queue of one is too short."""

    def draw(self, index: NDArray[np.int64], now: Moment) -> NDArray[np.int64]:
        assert getattr(self, "waits", None) is None, "the last batch has not been mixed yet"
        self.waits = self.drawn = index
        return index

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        self.waits = None
        return super().mix(x, y, now)


class FollowsItsLoss(Sound):
    """What it draws follows from the losses so far; on streamed images later, and as right."""

    def __init__(self, task: Task, **values: Any) -> None:
        super().__init__(task, **values)
        self.steps = 0

    def draw(self, index: NDArray[np.int64], now: Moment) -> NDArray[np.int64]:
        return np.roll(index, self.steps) if self.steps % 2 else np.sort(index)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        self.steps += 1
        return super().loss(logits, target, now)


class ExpertsInTheBatch(Sound):
    """Three experts whose features are one behind the other, as many as three batches."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        body = model.backbone

        class Thrice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body = body

            def forward(self, x: Tensor) -> Tensor:
                return torch.cat([self.body(x)] * 3)

        model.backbone = Thrice()
        yield Stage()

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target.repeat(len(logits) // len(target), 1), now)


class ForwardLosesTheGradient(Sound):
    """Detaches what it gives."""

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        return model(x).detach().requires_grad_()


class StepReturnsNothing(Sound):
    """Forgets to return the loss."""

    def step(self, gradients: Any, optimizer: torch.optim.Optimizer, now: Moment) -> Any:
        gradients()
        optimizer.step()


class PredictsPerExpert(Sound):
    """Gives two rows of logits per image."""

    def predict(self, logits: Tensor) -> Tensor:
        return torch.stack([logits, logits], dim=1)


class PredictsFromTheTraining(Sound):
    """Takes off what the trained model gives on average, which nothing is before the training."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield from super().stages(model)
        self.mass = torch.zeros(5, device=self.task.device)
        yield Stage("look", plain=True)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        if now.stage == "look":
            self.mass += logits.softmax(dim=1).sum(dim=0)
        return super().loss(logits, target, now)

    def predict(self, logits: Tensor) -> Tensor:
        return logits - self.mass.log()


class NeverPredicts(Sound):
    """Reads something that the training does not bring either."""

    def predict(self, logits: Tensor) -> Tensor:
        return logits - self.never_made  # type: ignore[attr-defined,no-any-return]


class Hooked(Sound):
    """Registers a hook with its optimizer, which torch numbers anew in every trial, and takes it off at the end."""

    def __init__(self, task: Task, **values: Any) -> None:
        super().__init__(task, **values)
        self.updates = torch.zeros(())

    def stages(self, model: Classifier) -> Iterator[Stage]:
        optimizer = self.task.optimizer(model.parameters())
        self.handle = optimizer.register_step_post_hook(self.count)
        yield Stage(optimizer=optimizer)
        self.handle.remove()

    def count(self, *_: Any) -> None:
        self.updates += 1

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return super().loss(logits, target, now) * (1 + self.updates / 100).to(logits.device, non_blocking=True)


class Looks(Sound):
    """Starts its classifier at the means of the features, of all images as they are."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("warm-up", share=0.5)
        self.sums = torch.zeros(self.task.num_classes, model.backbone.dim, device=self.task.device)
        yield Stage("means", plain=True)
        with torch.no_grad():
            model.head.weight.copy_(self.sums / self.task.counts[:, None])
        yield Stage(share=0.5)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        return model.backbone(x) if now.stage == "means" else model(x)

    def loss(self, out: Tensor, target: Tensor, now: Moment) -> Tensor:
        if now.stage == "means":
            self.sums += target.T @ out
            return out.sum()
        return super().loss(out, target, now)


class SecondOptimizer(Sound):
    """The head is updated by an optimizer of its own, and stands in the stage's with a rate of 0."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        self.second = torch.optim.Adam(model.head.parameters(), lr=0.01)
        head = {"params": [*model.head.parameters()], "lr": 0.0}
        yield Stage(optimizer=self.task.optimizer([{"params": [*model.backbone.parameters()]}, head]))

    def step(self, gradients: Any, optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        loss = super().step(gradients, optimizer, now)
        self.second.step()
        return loss


class FrozenOptimizer(SecondOptimizer):
    """As it is first written: the head is in no stage's optimizer, so that it never trains."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        self.second = torch.optim.Adam(model.head.parameters(), lr=0.01)
        yield Stage(optimizer=self.task.optimizer(model.backbone.parameters()))


class RateBetweenStages(Sound):
    """Lowers the rate where the schedule would overwrite it."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        optimizer = self.task.optimizer(model.parameters())
        yield Stage("first", share=0.5, optimizer=optimizer)
        for group in optimizer.param_groups:
            group["lr"] = 0.001
        yield Stage("second", share=0.5, optimizer=optimizer)


class OwnSchedule(Sound):
    """Schedules the optimizer of its stage, whose rate the recipe's schedule sets before every step."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        optimizer = self.task.optimizer(model.parameters())
        self.falling = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.1)
        yield Stage(optimizer=optimizer)

    def step(self, gradients: Any, optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        loss = super().step(gradients, optimizer, now)
        self.falling.step()
        return loss


class NoStage(Sound):
    """Forgets what it yields."""

    def stages(self, model: Classifier) -> Iterator[Any]:
        yield


class NoStages(Sound):
    """Forgets to yield."""

    def stages(self, model: Classifier) -> Any:
        return None


class NoDistributionOfClasses(Sound):
    """Draws classes by what does not sum to 1."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage(class_probs=np.ones(self.task.num_classes))


class FitsABias(Sound):
    """What `predict` adds is there when `fit` was called, and not before."""

    needs = frozenset({"holdout"})

    def fit(self, logits: Tensor, labels: Tensor) -> None:
        self.bias = torch.bincount(labels, minlength=self.task.num_classes).to(logits).log()

    def predict(self, logits: Tensor) -> Tensor:
        return logits + self.bias


@pytest.mark.parametrize("cls", [Sound, ByItsRows, FollowsItsLoss, Hooked, Looks, PredictsFromTheTraining, FitsABias])
def test_the_contract_finds_nothing_in_what_is_right(cls: type[Method]) -> None:
    assert check_method(cls)[:2] == ([], [])


def test_the_contract_says_what_it_is_trying() -> None:
    told: list[str] = []
    check_method(FollowsItsLoss, told.append)
    assert len(told) == 8
    assert told[0] == "one batch through all hooks"
    assert told[-1] == "trainings with other values of temperature"


def test_the_contract_finds_nothing_in_a_sound_method() -> None:
    assert check_method(Sound)[:3] == ([], [], None)


BROKEN: list[tuple[type[Method], str]] = [
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
    (FromDrawToMix, "what it leaves on self is of another batch; look it up by `now.index`"),
    (QueueOfDraws, "where `draw` runs ahead training fails: AssertionError: the last batch has not been mixed yet"),
    (ExpertsInTheBatch, "the backbone gives features of length 48 for 16 images"),
    (ForwardLosesTheGradient, "loss has no finite gradient"),
    (StepReturnsNothing, "step must return the loss"),
    (NeverPredicts, "training fails: AttributeError: 'NeverPredicts' object has no attribute 'never_made'"),
    (PredictsPerExpert, "predict must give logits of shape (16, 5), it gives (16, 2, 5)"),
    (RateBetweenStages, "sets the learning rate of an optimizer between two stages (0.005 -> 0.001), which"),
    (NoStage, "must yield stages, such as `yield Stage()`, it yields None"),
    (NoStages, "must yield stages, such as `yield Stage()`, it returned None"),
    (NoDistributionOfClasses, "class_probs must be 5 probabilities that sum to 1, they are 5 that sum to 5"),
    (OwnSchedule, "self.falling has no effect: the recipe's schedule sets the learning rate"),
    (Labels, "it gives (16,); `self.task.one_hot` makes one of labels"),
]
BY_DAY = (
    IdleOption,
    OutOfRange,
    OwnDice,
    HiddenInAClosure,
    HoldsAnIterator,
    Vector,
    Overflows,
    LeftBehind,
    Misspelt,
    FromDrawToMix,
    StepReturnsNothing,
    PredictsPerExpert,
    RateBetweenStages,
    NoStage,
)


@sampled("cls, sentence", BROKEN, [(cls, sentence) for cls, sentence in BROKEN if cls in BY_DAY])
def test_the_contract_says_what_is_wrong_with_a_broken_method(cls: type[Method], sentence: str) -> None:
    assert any(sentence in problem for problem in check_method(cls).problems)


@pytest.mark.parametrize("cls", [FrozenOptimizer, SecondOptimizer])
def test_an_optimizer_of_the_methods_own_that_trains_nothing_is_found(cls: type[Method]) -> None:
    held, method = HeldOptimizers(), cls(task_for(cls))
    model = model_for(method)
    before = model.head.weight.clone()
    held.begin()
    train_on_it(method, model, checkpoints=held)
    found = [*held.problems()]
    assert bool(found) == torch.equal(before, model.head.weight) == (cls is FrozenOptimizer)
    assert all(
        "self.second trains nothing: head.weight, head.bias is in no stage's optimizer" in told for told in found
    )


def test_a_rate_that_is_said_to_be_the_first_one_is_scaled_by_the_schedule() -> None:
    class Said(Sound):
        """Lowers the rate as the message says."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            self.optimizer = optimizer = self.task.optimizer(model.parameters())
            yield Stage("first", share=0.5, optimizer=optimizer)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] = 0.001
            yield Stage("second", share=0.5, optimizer=optimizer)

    method = Said(task_for(Said))
    train_on_it(method, model_for(method))
    assert method.optimizer.param_groups[0]["lr"] == pytest.approx(0.0001)
