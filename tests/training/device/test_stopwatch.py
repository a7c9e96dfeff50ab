"""Where the time goes: every step on a CPU, sampled steps on a device that runs behind the host."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ltbench.spec import TrialSpec
from ltbench.training.device import stopwatch as module
from ltbench.training.device.stopwatch import EVERY, Stopwatch
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

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
