"""Recorded passes, on a CPU by the stand-in that has a CUDA graph's rules: the numbers of a training operation by
operation, or a reason why not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ltbench.api import Method, Moment, Stage
from ltbench.parts import Classifier, Queue, cross_entropy
from ltbench.registry import Registry
from ltbench.spec import TrialSpec
from ltbench.training import attempt
from ltbench.training.checkpoints.checkpoint import Checkpoints, Stopped
from ltbench.training.graph import passes
from ltbench.training.graph.passes import Unfaithful
from ltbench.training.graph.use import GraphUse
from ltbench.training.madeup import model_for, task_for, train_on_it
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

REGISTRY = Registry()


def trained(
    cls: type[Method], graphs: GraphUse | None = None, precision: str = "fp32", checkpoints: Checkpoints | None = None
) -> tuple[list[float], dict[str, Tensor]]:
    """The losses of all epochs, and the weights and statistics after them."""
    torch.manual_seed(0)
    method, losses = cls(task_for(cls)), list[float]()
    model = model_for(method).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if checkpoints is not None:
        checkpoints.begin(losses=losses)
    train_on_it(
        method,
        model,
        watch=lambda epochs, loss: losses.append(loss),
        checkpoints=checkpoints,
        precision=precision,
        graphs=graphs,
    )
    return losses, model.state_dict()


def same(a: tuple[list[float], dict[str, Tensor]], b: tuple[list[float], dict[str, Tensor]]) -> bool:
    """Equal to the bit."""
    return a[0] == b[0] and all(torch.equal(value, b[1][name]) for name, value in a[1].items())


@pytest.mark.parametrize("name", ["ce", "mixup", "ldam_drw", "seesaw", "sam", "ride", "crt", "ema", "lade", "glmc"])
def test_recorded_passes_in_bf16_give_the_same_numbers(name: str) -> None:
    """In float32 tests/methods/test_contract.py asks it of every method. glmc uses convolutions twice in a pass."""
    cls, graphs = REGISTRY.get(name), GraphUse.emulated()
    assert same(trained(cls, None, "bf16"), trained(cls, graphs, "bf16"))
    assert graphs.told() == "graph"


def test_most_passes_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """56 steps, of which two are watched; those after 0, 1, 2, 4, 8, 16, 32 replays are also run as they are."""
    counts = {"replayed": 0, "compared": 0}
    for what, name in (("replayed", "_replay"), ("compared", "_compare")):
        plain = getattr(passes.RecordedPasses, name)

        def counted(self: Any, *given: Any, _plain: Any = plain, _what: str = what) -> Any:
            counts[_what] += 1
            return _plain(self, *given)

        monkeypatch.setattr(passes.RecordedPasses, name, counted)
    trained(REGISTRY.get("ce"), GraphUse.emulated())
    assert counts == {"replayed": 54, "compared": 7}


def test_a_pass_is_recorded_for_each_way_that_progress_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[int] = []
    plain = passes.RecordedPasses._record

    def counted(self: Any, *given: Any) -> None:
        recorded.append(1)
        plain(self, *given)

    monkeypatch.setattr(passes.RecordedPasses, "_record", counted)
    assert same(trained(REGISTRY.get("ce_drw")), trained(REGISTRY.get("ce_drw"), GraphUse.emulated()))
    assert len(recorded) == 2


class DrawsInLoss(Method):
    """Random numbers within a pass: logits with noise, of another order for every batch."""

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        order, noise = now.permutation(len(out)), now.uniform(-1.0, 1.0, tuple(out.shape))
        return cross_entropy((out + noise * now.beta(1.0, 2.0))[order], target[order])


class Remembers(Method):
    """Features of earlier batches, in a queue that is filled within the pass."""

    def stages(self, model: Classifier) -> Iterator[Stage]:
        self.queue = Queue(40, model.backbone.dim).to(self.task.device)
        yield Stage()

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
        return model.backbone(x), model(x)

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        features, logits = out
        near = (features @ self.queue.features.clone().T).mean()
        self.queue.push(features.detach(), target.argmax(dim=1))
        return cross_entropy(logits, target) + 0.01 * near


class RunningMean(Method):
    """A tensor that is made anew by `mix` and changed in place by `loss`."""

    def __init__(self, task: Any, **values: Any) -> None:
        super().__init__(task, **values)
        self.mean = torch.zeros(task.num_classes)
        self.logits = torch.zeros(task.num_classes)

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        x, target = super().mix(x, y, now)
        self.mean = 0.9 * self.mean + 0.1 * target.mean(dim=0)
        return x, target

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        self.logits.lerp_(out.detach().mean(dim=0), 0.1)
        return cross_entropy(out + self.mean - 0.1 * self.logits, target)


@pytest.mark.parametrize("cls", [DrawsInLoss, Remembers, RunningMean])
def test_state_and_random_numbers_within_a_pass_are_those_of_every_step(cls: type[Method]) -> None:
    graphs = GraphUse.emulated()
    assert same(trained(cls), trained(cls, graphs))
    assert graphs.told() == "graph"


class Computes(Method):
    """A weight that follows `progress`."""

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(out, target) * (1.0 - 0.5 * now.progress)


class Reads(Method):
    """A decision of the host's by a number of the device."""

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(out if out.max() < 3 else out / 2, target)


class Selects(Method):
    """As many examples as the numbers say."""

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        wrong = out.argmax(dim=1) != target.argmax(dim=1)
        return cross_entropy(out[wrong], target[wrong]) if len(out[wrong]) else cross_entropy(out, target)


class ByRow(Method):
    """Something of every image, by its row."""

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        assert now.index is not None
        return cross_entropy(out, target, torch.from_numpy(now.index % 2 + 1.0).float().mean().expand(5))


class Counts(Method):
    """A Python number that the pass itself moves."""

    passes = 0

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        self.passes += 1
        return cross_entropy(out, target) / self.passes


class EveryWay(Method):
    """Another comparison in every step."""

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        below = sum(now.progress < edge for edge in np.linspace(0.1, 1.0, 10))
        return cross_entropy(out, target) * (1 + below)


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Computes, "computes with now.progress"),
        (Reads, "test_passes.py, line {line} reads a number of the device"),
        (Selects, "makes a tensor of a size that only the numbers tell"),
        (ByRow, "reads now.index"),
        (Counts, "sets self.passes anew"),
        (EveryWay, "more than 8 kinds"),
    ],
)
def test_what_cannot_be_recorded_runs_operation_by_operation(cls: type[Method], reason: str) -> None:
    graphs = GraphUse.emulated()
    assert same(trained(cls), trained(cls, graphs))
    told = graphs.told()
    assert told is not None
    assert told.startswith("eager: ")
    assert reason.format(line=inspect.getsourcelines(cls.loss)[1] + 1) in told


class Hidden(Method):
    """A number of the host's where it is not looked for, moved by `mix` and used by `loss` from some step on."""

    begin = 0

    def __init__(self, task: Any, **values: Any) -> None:
        super().__init__(task, **values)
        self.inside = {"steps": 0}

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        self.inside["steps"] += 1
        return super().mix(x, y, now)

    def loss(self, out: Any, target: Tensor, now: Moment) -> Tensor:
        return cross_entropy(out, target) * (2.0 if self.inside["steps"] > self.begin else 1.0)


class HiddenLate(Hidden):
    """The same from a step on in which a recorded pass has long been in use."""

    begin = 30


def test_a_recorded_pass_that_became_untrue_is_found_out() -> None:
    with pytest.raises(Unfaithful, match="other numbers"):
        trained(HiddenLate, GraphUse.emulated())
    assert same(trained(Hidden), trained(Hidden, GraphUse.emulated()))  # the same in every step that is recorded


def test_a_trial_whose_recorded_pass_is_untrue_is_trained_anew(
    make_spec: Callable[..., TrialSpec], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here every comparison fails, which a CPU's own trials never make."""
    spec = make_spec("mixup", recipe={"epochs": 2.0})
    plain = run_trial(spec, site)
    asked: list[str] = []

    def use(step: str, device: torch.device, compile: str) -> GraphUse:
        asked.append(step)
        return GraphUse.emulated() if step == "auto" else GraphUse(step, device, compile)

    monkeypatch.setattr(attempt, "GraphUse", use)
    recorded = run_trial(spec, site)
    assert (recorded.metrics, recorded.curves, recorded.per_class) == (plain.metrics, plain.curves, plain.per_class)
    assert recorded.environment["step"] == "graph"
    assert "step" not in plain.environment
    monkeypatch.setattr(passes, "_equal", lambda a, b: False)
    again = run_trial(spec, site)
    assert asked[1:] == ["auto", "eager: a recorded pass gives other numbers than a pass step by step"]
    assert again.status == "ok"
    assert (again.metrics, again.curves, again.per_class) == (plain.metrics, plain.curves, plain.per_class)


@pytest.mark.parametrize("name", ["mixup", "crt", "ldam_drw"])
def test_an_interrupted_training_goes_on_with_the_same_numbers(name: str, tmp_path: Path) -> None:
    """Stopped every 17 steps, and taken up with nothing recorded."""
    cls = REGISTRY.get(name)
    whole = trained(cls)
    resumed = None
    for _ in range(9):
        asked = iter([False] * 17 + [True])
        checkpoints = Checkpoints(tmp_path / "trial", {"key": name}, 1e9, lambda asked=asked: next(asked, True))
        try:
            resumed = trained(cls, GraphUse.emulated(), checkpoints=checkpoints)
            break
        except Stopped:
            assert not checkpoints.messages
    assert resumed is not None
    assert same(whole, resumed)


def test_a_gpu_is_needed_for_a_graph_and_a_compiled_network_has_none() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert GraphUse("auto", cpu).told() is None
    assert GraphUse("graph", cpu).told() == "eager: there is no GPU"
    assert GraphUse("eager", gpu).told() == "eager: asked for"
    assert GraphUse("auto", gpu, "default").told() == "eager: the network is compiled"
    assert GraphUse("auto", gpu).told() == "graph"


def test_a_graph_that_was_asked_for_and_cannot_be_had_fails_the_trial(
    make_spec: Callable[..., TrialSpec], site: Site
) -> None:
    record = run_trial(make_spec("ce", recipe={"epochs": 1.0}), replace(site, step="graph"))
    assert record.status == "failed"
    assert "`graph` was asked for, but there is no GPU" in (record.error or "")


def test_a_pass_that_cannot_be_recorded_is_an_error_where_a_graph_was_asked_for() -> None:
    graphs = GraphUse.emulated()
    graphs._strict = True
    with pytest.raises(Unfaithful, match=r"computes with now\.progress"):
        trained(Computes, graphs)
