"""Where the time goes: every step on a CPU, sampled steps on a device that runs behind the host."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ltbench import stopwatch as module
from ltbench.api import Task
from ltbench.data.loader import ImageBatches
from ltbench.data.order import BatchOrder
from ltbench.engine import Clock, train
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.registry import Registry
from ltbench.site import Site
from ltbench.spec import TrialSpec
from ltbench.stopwatch import EVERY, Stopwatch
from ltbench.trial import run_trial

CPU = torch.device("cpu")


def test_data_and_steps_are_told_apart() -> None:
    watch = Stopwatch(CPU)
    for _ in range(3):
        watch.start()
        time.sleep(0.02)
        watch.data_ready()
        time.sleep(0.005)
        watch.stop()
        time.sleep(0.05)  # between steps: counted nowhere
    data, step = watch.seconds()
    assert data >= 0.06
    assert step >= 0.015
    assert data + step < 0.15


def test_no_step_is_no_time() -> None:
    assert Stopwatch(CPU).seconds() == (0.0, 0.0)


class Event:
    """Stands in for a CUDA event: data take 10 ms a step on this device, the model 30, and it is 5 steps behind."""

    clock = 0
    recorded = 0
    read = 0
    waited = 0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        Event.recorded += 1
        self.at = Event.clock

    def query(self) -> bool:
        return Event.clock - self.at >= 5 * 40

    def synchronize(self) -> None:
        Event.waited += 1

    def elapsed_time(self, later: Event) -> float:
        Event.read += 1
        return later.at - self.at


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    monkeypatch.setattr(module.torch.cuda, "Event", Event)
    Event.clock = Event.recorded = Event.read = Event.waited = 0
    return Stopwatch(torch.device("cuda"))


def steps(watch: Stopwatch, n: int) -> None:
    for _ in range(n):
        watch.start()
        Event.clock += 10
        watch.data_ready()
        Event.clock += 30
        watch.stop()


def test_on_a_gpu_sampled_steps_stand_for_all_and_nothing_waits_while_training(gpu: Stopwatch) -> None:
    steps(gpu, 10 * EVERY)
    assert Event.recorded == 3 * 10
    assert Event.waited == 0
    assert Event.read > 0, "what has passed is read while training, or events would pile up"
    assert gpu.seconds() == pytest.approx((0.01 * 10 * EVERY, 0.03 * 10 * EVERY))
    assert Event.waited == 1  # for the one that had not passed


def test_a_training_of_fewer_steps_than_a_sample_is_clocked_all_the_same(gpu: Stopwatch) -> None:
    steps(gpu, 2)
    assert gpu.seconds() == pytest.approx((0.02, 0.06))


def test_a_record_says_where_the_time_went(make_spec: Callable[..., TrialSpec], site: Site) -> None:
    facts = run_trial(make_spec("ce"), site).environment
    shares = [facts[f"{name}_share"] for name in ("data", "step", "evaluation")]
    assert all(share > 0 for share in shares)
    assert sum(shares) <= 1.0
    assert facts["peak_memory_bytes"] > 2**20
    assert facts["device_kind"] == "cpu"
    assert facts["images_per_second"] > 0


def test_peak_memory_is_that_of_the_trial_and_not_of_an_earlier_one(
    make_spec: Callable[..., TrialSpec], site: Site
) -> None:
    before = run_trial(make_spec("ce"), site).environment["peak_memory_bytes"]
    np.ones(2**28, np.uint8).sum()  # a quarter of a GiB, and gone
    after = run_trial(make_spec("ce"), site).environment["peak_memory_bytes"]
    assert after < before + 2**27


class Reads(TorchDispatchMode):
    """Notes every operation for which the host would wait for a device."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in str(func) for name in self.WAITS):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["ce", "ldam_drw", "mixup", "remix", "text_guided_mixup", "focal", "crt"])
def test_within_an_epoch_nothing_waits_for_the_device(method: str) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), [40, 20, 10, 5]).astype(np.int64)
    text = rng.normal(size=(4, 8)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    task = Task(y, list("abcd"), text=text, optimizer={"name": "sgd", "lr": 0.01, "momentum": 0.9})
    chosen = Registry().get(method)(task)
    backbone = build_backbone("cnn_small", (8, 8, 3))
    model = Classifier(backbone, chosen.head(backbone.dim))
    pixels = rng.integers(0, 256, (75, 8, 8, 3), dtype=np.uint8)
    batches = ImageBatches(pixels, y, (0.5,) * 3, (0.25,) * 3, augment="crop_flip")
    epochs: list[float] = []
    recipe = {"epochs": 4.0, "batch_size": 15, "precision": "fp32"}
    recipe["schedule"] = {"name": "constant", "warmup": 0.0, "warmup_stairs": 0}
    reads = Reads()
    with reads:
        order = BatchOrder(y, 4, 15, np.random.default_rng(1))
        clock = Clock(np.random.default_rng(2), CPU)
        train(model, chosen, batches, order, clock, recipe, lambda e, loss: epochs.append(e))
    assert len(epochs) == 4
    assert len(reads.found) <= len(epochs), reads.found
