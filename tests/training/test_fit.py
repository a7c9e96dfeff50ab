"""What a method fits on the hold-out: once, after the training, and never on the test set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.suite.load import load_suite
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.methods.made import COUNTS, make, task_of

SUITE: dict[str, Any] = {
    "suite": "fitted",
    "datasets": [{"name": "digits", "imbalance": [20]}],
    "recipes": {"scratch": {"backbone": "mlp", "epochs": 4, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.1}}},
    "methods": ["ce", "temperature", {"compose": ["balanced_softmax", "temperature"]}],
    "protocol": {"final": {"seeds": [0]}, "holdout_per_class": 5},
}


def likelihood(logits: Tensor, labels: Tensor, temperature: float) -> float:
    return float((logits.double() / temperature).log_softmax(dim=1).gather(1, labels[:, None]).mean())


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_temperature_is_that_of_the_highest_likelihood(scale: float) -> None:
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 5, 300))
    logits = torch.from_numpy(scale * (2 * np.eye(5)[labels] + rng.normal(size=(300, 5)))).float()
    method = make("temperature", task_of(COUNTS))
    method.fit(logits, labels)
    best = likelihood(logits, labels, method.temperature)
    for other in (0.99, 0.999, 1.001, 1.01):
        assert likelihood(logits, labels, method.temperature * other) < best
    method.fit(3 * logits, labels)
    assert likelihood(3 * logits, labels, method.temperature) == pytest.approx(best)
    torch.testing.assert_close(method.predict(logits), logits / method.temperature)


def test_it_is_finite_where_every_image_is_right_or_logits_say_nothing() -> None:
    method, labels = make("temperature", task_of(COUNTS)), torch.arange(5)
    for logits in (10 * torch.eye(5), torch.zeros(5, 5), -10 * torch.eye(5)):
        method.fit(logits, labels)
        assert math.isfinite(method.temperature)
        assert torch.isfinite(method.predict(logits)).all()


def test_trials_fit_on_the_hold_out_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, seen = Registry(), []
    plan, _ = make_plan(resolve(load_suite(SUITE), registry, tmp_path))
    cls = registry.get("temperature")
    plain = cls.fit

    def fit(self: Any, logits: Tensor, labels: Tensor) -> None:
        seen.append(labels.bincount().tolist())
        plain(self, logits, labels)

    ce, scaled, both = (run_trial(spec, Site(data=tmp_path, device="cpu")) for spec in plan.trials)
    monkeypatch.setattr(cls, "fit", fit)
    again = run_trial(plan.trials[1], Site(data=tmp_path, device="cpu"))
    assert seen == [[5] * 10]
    assert again.metrics == scaled.metrics
    assert (scaled.status, both.status) == ("ok", "ok"), scaled.error or both.error
    assert scaled.metrics["balanced_accuracy"] == ce.metrics["balanced_accuracy"]
    assert scaled.metrics["nll"] != ce.metrics["nll"]


def test_a_curve_changes_no_number_and_ends_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `predict` reads may be there only when `fit` was called; and it may count its calls, or draw numbers."""
    cls = (registry := Registry()).get("temperature")
    calls = []

    def predict(self: Any, logits: Tensor) -> Tensor:
        assert "temperature" in vars(self), "not fitted yet"
        torch.rand(3)
        self.calls = getattr(self, "calls", 0) + 1
        calls.append(self.calls)
        return logits / self.temperature + self.calls

    monkeypatch.setattr(cls, "predict", predict)
    records = []
    for curves in ("none", "test"):
        suite = {**SUITE, "methods": ["temperature"], "protocol": {**SUITE["protocol"], "curves": curves}}
        plan, _ = make_plan(resolve(load_suite(suite), registry, tmp_path))
        records.append(run_trial(plan.trials[0], Site(data=tmp_path, device="cpu")))
    plain, watched = records
    assert (plain.status, watched.status, calls) == ("ok", "ok", [1, 1]), plain.error or watched.error
    assert (plain.metrics, plain.per_class) == (watched.metrics, watched.per_class)
    (note,) = watched.environment["checkpoint_messages"]
    assert "no learning curve: `predict` of temperature needs what comes later" in note
    assert list(watched.curves) == ["train/loss"]


def test_without_a_hold_out_the_row_is_skipped(tmp_path: Path) -> None:
    protocol = {"final": {"seeds": [0]}}
    plan, _ = make_plan(resolve(load_suite({**SUITE, "protocol": protocol}), Registry(), tmp_path))
    assert [t.label for t in plan.trials] == ["ce"]
    assert {s.label for s in plan.skips} == {"temperature", "balanced_softmax+temperature"}
    assert all("holdout_per_class" in s.reason for s in plan.skips)
