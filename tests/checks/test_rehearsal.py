"""What a GPU asks, tried where there is none: whole trials and every method on a device whose numbers nobody reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ltbench.api import Method, Moment, Stage
from ltbench.checks.rehearsal import READ, SELECTED, SENT, UNTRIED, CountedSteps, Host, rehearse
from ltbench.parts import Classifier, cross_entropy
from ltbench.registry import Registry
from ltbench.spec import TrialSpec
from ltbench.training.madeup import COUNTS, RECIPE, model_for, task_for, train_on_it
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

META = torch.device("meta")
REGISTRY = Registry()


@pytest.mark.parametrize("name", ["ce", "mixup", "ldam_drw", "text_guided_mixup"])
def test_the_engine_reads_one_number_an_epoch_and_sends_nothing_it_waits_for(name: str) -> None:
    host, method = Host([]), REGISTRY.get(name)(task_for(REGISTRY.get(name), device=META))
    epochs: list[float] = []
    clock = CountedSteps(host, np.random.default_rng(0), META)
    with host:
        train_on_it(method, model_for(method), watch=lambda epoch, loss: epochs.append(epoch), clock=clock)
    assert len(epochs) == RECIPE["epochs"]
    assert host.step == RECIPE["epochs"] * math.ceil(sum(COUNTS) / RECIPE["batch_size"])
    assert host.count(READ) == len(epochs)
    assert host.count(SENT) == 0


@pytest.mark.parametrize("backbone", ["mlp", "cnn_small", "resnet20", "vit_small"])
def test_a_whole_trial_has_everything_on_the_device_and_waits_for_it_once_an_epoch(
    make_spec: Callable[..., TrialSpec], site: Site, backbone: str
) -> None:
    times = []
    for epochs in (1.0, 2.0):
        spec = make_spec("ce", recipe={"backbone": backbone, "epochs": epochs, "batch_size": 128})
        with Host([]) as host:
            record = run_trial(spec, replace(site, device="meta"))
        assert record.status == "ok", record.error
        assert record.metrics["accuracy"] is not None
        times.append(host.times)
    assert times[1] - times[0] == {READ: 1}


def test_a_trial_with_curves_has_everything_on_the_device(make_spec: Callable[..., TrialSpec], site: Site) -> None:
    spec = replace(make_spec("ldam_drw", recipe={"backbone": "cnn_small"}), curves="test")
    with Host([]):
        record = run_trial(spec, replace(site, device="meta"))
    assert record.status == "ok", record.error
    assert record.curves["curve/test_balanced_accuracy"]


# -- what it finds ----------------------------------------------------------------------------------------------------


class Base(Method):
    """A method of these tests."""

    paper = defaults_from = "none"


class LeftBehind(Base):
    """Its weights stay on the CPU."""

    @cached_property
    def weights(self) -> Tensor:
        return torch.arange(1.0, 6.0)

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits * self.weights, target)


class LeftBehindInAProduct(LeftBehind):
    """Torch itself multiplies these matrices on the meta device without a word."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits @ torch.diag(self.weights), target)


class LeftBehindWhenPredicting(LeftBehind):
    """Right while it trains."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits, target)

    def predict(self, logits: Tensor) -> Tensor:
        return logits - self.weights


class TakesToNumpy(Base):
    """A GPU's tensor cannot be seen by numpy."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits, target) * float(np.mean(target.numpy()))


class Complains(LeftBehind):
    """Its own words stay its own."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        if logits.device.type != "cpu":
            raise ValueError("no metadata on meta")
        return cross_entropy(logits, target)


class Asks(Base):
    """Asks how large the loss is."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        loss = cross_entropy(logits, target)
        return loss if loss.item() > 1.0 else 0.5 * loss


class TakesHome(Base):
    """Weights the batch with numpy, properly."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        share = target.cpu().numpy().mean(axis=0)
        return cross_entropy(logits, target) * float(share.max() + 1.0)


class SendsInEveryStep(Base):
    """Makes its weights anew for every batch."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits + torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).to(logits.device), target)


class PicksByTheCpu(Base):
    """Positions that lie on the CPU are sent first."""

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        return x[torch.arange(len(x))], self.task.one_hot(y)


class Selects(Base):
    """Looks at the images of rare classes only."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        rare = target[:, 3:].sum(dim=1) > 0
        return cross_entropy(logits, target) + 0.0 * logits[rare].sum()


class SelectsAndForgets(LeftBehind):
    """What is wrong comes after the selections, which must not hide it."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        y = target.argmax(dim=1)
        loss = cross_entropy(logits, target)
        for c in y.unique():
            loss = loss + 0.0 * logits[y == c].mean(dim=0).sum() + 0.0 * logits.masked_select(target > 0).sum()
        loss = loss + 0.0 * y.bincount(minlength=5).sum() + 0.0 * torch.nonzero(y).sum()
        return loss + 0.0 * self.weights[y].sum()


class SortsByNumbers(Base):
    """An operation whose shape follows from numbers in a way that is not made up."""

    def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(logits, target) + 0.0 * torch.unique_consecutive(target.argmax(dim=1)).sum()


class ReadsBetweenStages(Base):
    """Once per stage nobody minds."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        yield Stage("first", 0.5)
        with torch.no_grad():
            norm = float(model.head.weight.norm())
            model.head.weight.copy_(torch.tensor(model.head.weight.cpu().numpy() / max(norm, 1e-6)))
        yield Stage("second", 0.5)


def line_of(cls: type[Method], text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"class {cls.__name__}("))
    return 1 + next(i for i in range(first, len(lines)) if text in lines[i])


@pytest.mark.parametrize(
    ("cls", "line"),
    [
        (LeftBehind, "logits * self.weights"),
        (LeftBehindInAProduct, "logits @"),
        (LeftBehindWhenPredicting, "logits - self.weights"),
        (TakesToNumpy, "target.numpy()"),
        (SelectsAndForgets, "self.weights[y]"),
    ],
)
def test_what_would_fail_is_told_with_its_line(cls: type[Method], line: str) -> None:
    failure = rehearse(cls).failure
    assert failure is not None
    assert failure.endswith(f"(test_rehearsal.py, line {line_of(cls, line)})")
    assert "meta" not in failure


def test_the_stand_in_is_called_what_it_stands_for_and_nothing_else_is_renamed() -> None:
    assert str(rehearse(Complains).failure).startswith("ValueError: no metadata on cuda (")


@pytest.mark.parametrize(
    ("cls", "line", "what"),
    [
        (Asks, "loss.item()", READ),
        (TakesHome, "target.cpu()", READ),
        (SendsInEveryStep, "torch.tensor", SENT),
        (PicksByTheCpu, "x[torch.arange", SENT),
        (Selects, "logits[rare]", SELECTED),
        (SortsByNumbers, "torch.unique_consecutive", UNTRIED),
    ],
)
def test_what_would_wait_is_told_with_its_line(cls: type[Method], line: str, what: str) -> None:
    found = rehearse(cls)
    assert found.failure is None
    assert found.waits == [f"test_rehearsal.py, line {line_of(cls, line)}, {what}"]


def test_what_is_waited_for_once_per_stage_is_not_told() -> None:
    assert rehearse(ReadsBetweenStages) == (None, [])
