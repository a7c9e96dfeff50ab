"""`forward`, `step` and `now.index`: what reaches which hook, in which precision, and of which batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltbench.api import Method, Moment, Stage, Task
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.data.stream import AHEAD
from ltbench.parts import Classifier
from ltbench.spec import TrialSpec
from ltbench.training.checkpoints.checkpoint import Checkpoints, Stopped
from ltbench.training.engine import Clock, Setup, in_float32, train
from ltbench.training.evaluation import logits_of
from ltbench.training.madeup import COUNTS, RECIPE, batches, images, model_for, task_for, train_on_it
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.data.made import small_lists
from tests.data.test_stream import source, train_batches

CPU = torch.device("cpu")
Index = NDArray[np.int64]


def final(method: Method, precision: str = "fp32") -> NDArray[np.float32]:
    torch.manual_seed(0)
    model = model_for(method)
    train_on_it(method, model, precision=precision)
    return logits_of(model, batches(), RECIPE)


class Spelled(Method):
    """Cross-entropy with both hooks written out."""

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> dict[str, Any]:
        features = model.backbone(x)
        return {"features": features, "logits": model.classify(features)}

    def loss(self, out: dict[str, Tensor], target: Tensor, now: Moment) -> Tensor:
        assert out["features"].shape == (16, 64)
        return super().loss(out["logits"], target, now)

    def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
        loss = gradients()
        optimizer.step()
        return loss


def test_hooks_that_do_what_the_defaults_do_change_no_bit() -> None:
    np.testing.assert_array_equal(final(Spelled(task_for(Spelled))), final(Method(task_for(Method))))


def test_gradients_may_be_asked_for_twice_and_replace_each_other() -> None:
    class Twice(Method):
        """Two passes at the same weights."""

        def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            first = gradients()
            before = [p.grad.clone() for p in parameters]
            assert not first.requires_grad
            assert torch.equal(gradients(), first)
            assert all(torch.equal(p.grad, g) for p, g in zip(parameters, before, strict=True))
            optimizer.step()
            return first

    final(Twice(task_for(Twice)))


def test_the_loss_that_is_reported_is_the_one_that_step_returns() -> None:
    class Silent(Method):
        """Reports 7."""

        def step(self, gradients: Callable[[], Tensor], optimizer: torch.optim.Optimizer, now: Moment) -> Tensor:
            super().step(gradients, optimizer, now)
            return torch.tensor(7.0, requires_grad=True)

    told: list[float] = []
    method = Silent(task_for(Silent))
    train_on_it(method, model_for(method), watch=lambda epochs, loss: told.append(loss))
    assert told == [7.0] * 4


class Pair(NamedTuple):
    """Two of what a forward gives."""

    a: Tensor
    rest: list[Any]


def test_floats_arrive_in_float32_and_all_else_as_it_is() -> None:
    out = in_float32(
        {"x": torch.ones(2, dtype=torch.bfloat16), "p": Pair(torch.ones(1).half(), [torch.tensor(3), None])}
    )
    assert out["x"].dtype == torch.float32
    assert type(out["p"]) is Pair
    assert out["p"].a.dtype == torch.float32
    assert out["p"].rest[0].dtype == torch.int64
    assert out["p"].rest[1] is None
    logits = torch.randn(3, 2)
    assert in_float32(logits) is logits


def test_forward_runs_in_the_recipes_precision_and_loss_does_not() -> None:
    class Noted(Method):
        """Notes what it is given."""

        def forward(self, model: Classifier, x: Tensor, now: Moment) -> Any:
            out = super().forward(model, x, now)
            seen.add(("forward", out.dtype, torch.is_autocast_enabled("cpu")))
            return out

        def loss(self, out: Tensor, target: Tensor, now: Moment) -> Tensor:
            seen.add(("loss", out.dtype, torch.is_autocast_enabled("cpu")))
            return super().loss(out, target, now)

    seen: set[Any] = set()
    final(Noted(task_for(Noted)), precision="bf16")
    assert seen == {("forward", torch.bfloat16, True), ("loss", torch.float32, False)}


# -- now.index --------------------------------------------------------------------------------------------------------


class Remembers(Method):
    """Keeps what it drew for each batch on `self`, as no method may, and by its rows, as every method may."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.last: Index | None = None
        self.stale = 0
        self.rows: list[Index] = []

    def draw(self, index: Index, now: Moment) -> Index:
        assert now.index is None
        self.last = np.concatenate([index, index[:2]])
        return self.last

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        assert now.index is not None
        assert np.array_equal(self.task.labels[now.index], y.numpy()), "the rows of this batch and no other"
        assert np.array_equal(now.index[-2:], now.index[:2]), "as `draw` gave them"
        self.stale += not np.array_equal(self.last, now.index)
        self.rows.append(now.index)
        return super().mix(x, y, now)

    def loss(self, out: Tensor, target: Tensor, now: Moment) -> Tensor:
        assert now.index is self.rows[-1]
        return super().loss(out, target, now)


def test_the_index_is_that_of_the_batch_in_memory() -> None:
    method = Remembers(task_for(Remembers))
    train_on_it(method, model_for(method))
    assert len(method.rows) == math.ceil(4 * sum(COUNTS) / 16)
    assert method.stale == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_the_index_is_that_of_the_batch_where_draws_run_ahead(workers: int, tmp_path: Any) -> None:
    arrays = source(small_lists(tmp_path / "root"), tmp_path, cache=True).arrays()
    labels = np.asarray(arrays.train_y)
    stream = train_batches(arrays.train_x, labels, workers=workers)
    task = Task(labels, [str(c) for c in range(labels.max() + 1)], optimizer={"name": "sgd", "lr": 0.01})
    method = Remembers(task)
    order = BatchOrder(labels, task.num_classes, 4, np.random.default_rng(1))
    clock = Clock(np.random.default_rng(2), CPU, stream.state.draws)
    model = Classifier(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), method.head(3))
    recipe = {**RECIPE, "epochs": (AHEAD + 20) * 4 / len(labels), "batch_size": 4}
    train(model, method, Setup(stream, order, clock, recipe, checkpoints=Checkpoints()))
    stream.close()
    assert len(method.rows) == AHEAD + 20
    assert method.stale > AHEAD, "what `draw` left on self was of another batch nearly every time"


def test_images_and_labels_are_unchanged_by_the_index() -> None:
    x, _ = images()
    made = batches()
    index, pixels, y = made.next(lambda step: np.array([3, 1, 200]), 0, 1)
    assert index.tolist() == [3, 1, 200]
    assert torch.equal(pixels, made.batch(index)[0])
    assert len(x) == 222
    assert y.tolist() == images()[1][[3, 1, 200]].tolist()


# -- plain stages -----------------------------------------------------------------------------------------------------


class Means(Method):
    """Trains, looks at the images, trains on."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.rows: list[Index] = []
        self.steps = 0

    def stages(self, model: Classifier) -> Any:
        yield Stage("first", share=0.4)
        self.before = {name: value.clone() for name, value in model.state_dict().items()}
        self.seen = torch.empty(0, 1, 8, 8)
        yield Stage("look", share=0.9, plain=True)
        assert all(torch.equal(self.before[name], value) for name, value in model.state_dict().items())
        yield Stage("second", share=0.6)

    def draw(self, index: Index, now: Moment) -> Index:
        assert now.stage != "look"
        return super().draw(index, now)

    def mix(self, x: Tensor, y: Tensor, now: Moment) -> tuple[Tensor, Tensor]:
        assert now.stage != "look"
        return super().mix(x, y, now)

    def forward(self, model: Classifier, x: Tensor, now: Moment) -> Tensor:
        out = super().forward(model, x, now)
        if now.stage == "look":
            assert not any(m.training for m in model.modules())
            assert not out.requires_grad
            self.seen = torch.cat([self.seen, x])
        return out

    def loss(self, out: Tensor, target: Tensor, now: Moment) -> Tensor:
        if now.stage == "look":
            assert now.index is not None
            assert torch.equal(target.argmax(dim=1), torch.from_numpy(self.task.labels[now.index]))
            self.rows.append(now.index)
        else:
            self.steps += 1
        return super().loss(out, target, now)


def test_a_plain_stage_sees_every_image_once_in_order_and_has_no_share() -> None:
    method = Means(task_for(Means))
    torch.manual_seed(0)
    model = model_for(method)
    train_on_it(method, model, source=augmented())
    assert np.concatenate(method.rows).tolist() == list(range(sum(COUNTS)))
    assert torch.equal(method.seen, torch.cat(list(batches().in_order(50)))), "not augmented"
    assert method.steps == math.ceil(4 * sum(COUNTS) / 16)


def augmented() -> ImageBatches:
    return ImageBatches(*images(), (0.5,), (0.25,), augment="crop_flip", rng=np.random.default_rng(5))


def test_a_plain_stage_changes_nothing_in_the_training_around_it() -> None:
    class Without(Means):
        """The same stages without the look."""

        def stages(self, model: Classifier) -> Any:
            yield Stage("first", share=0.4)
            yield Stage("second", share=0.6)

    np.testing.assert_array_equal(final(Means(task_for(Means))), final(Without(task_for(Without))))


def test_a_plain_stage_may_be_the_last() -> None:
    class Last(Method):
        """Looks when all is trained."""

        def stages(self, model: Classifier) -> Any:
            yield Stage()
            self.images = torch.zeros(())
            yield Stage("look", plain=True)
            looked.append(float(self.images))

        def loss(self, out: Tensor, target: Tensor, now: Moment) -> Tensor:
            if now.stage == "look":
                self.images += len(out)
            return super().loss(out, target, now)

    looked: list[float] = []
    final(Last(task_for(Last)))
    assert looked == [sum(COUNTS)]


# -- whole trials -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sam", "ema", "ride", "sade", "ncm", "mislas", "disalign", "seesaw"])
def test_a_trial_that_was_stopped_goes_on_bit_for_bit(
    name: str, make_spec: Callable[..., TrialSpec], site: Site, tmp_path: Path
) -> None:
    """With curves on the test set, whose passes come between the steps."""
    recipe = {"backbone": "cnn_small", "epochs": 4.0, "batch_size": 64}
    spec = dataclasses.replace(make_spec(name, recipe=recipe), curves="test")
    undisturbed = run_trial(spec, site)
    assert undisturbed.status == "ok", undisturbed.error
    there = dataclasses.replace(site, checkpoints=tmp_path)
    stops = 0
    while True:
        asked = iter(range(1000))
        try:
            resumed = run_trial(spec, there, stop=lambda asked=asked: next(asked) == 12)  # type: ignore[misc]
            break
        except Stopped:
            stops += 1
    assert stops >= 2
    assert resumed.environment["resumed"] == stops
    assert "checkpoint_messages" not in resumed.environment
    assert resumed.curves == undisturbed.curves
    assert resumed.numbers() == undisturbed.numbers()
