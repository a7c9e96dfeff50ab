"""GCL and MARC against their papers' equations and the authors' code, written out in float64, and their limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ltbench.api import Moment, Task
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from tests.methods.made import COUNTS, CPU, labels_of, make, one_hot, some_logits, some_targets, spied, task_of, trained

N, C = sum(COUNTS), len(COUNTS)


@pytest.fixture
def task() -> Task:
    return task_of(COUNTS)


def at(stage: str, seed: int = 3) -> Moment:
    return Moment(stage, 0.5, np.random.default_rng(seed), CPU)


def assert_same(method: Any, cosine: Tensor, target: Tensor, stage: str, expected: Any) -> None:
    """Value and gradient of a loss, and of `expected` in float64."""
    given, exact = cosine.clone().requires_grad_(), cosine.double().requires_grad_()
    found, wanted = method.loss(given, target, at(stage)), expected(exact)
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), rel=2e-5)
    (gradient,), (reference,) = torch.autograd.grad(found, given), torch.autograd.grad(wanted, exact)
    torch.testing.assert_close(gradient.double(), reference, rtol=1e-3, atol=1e-6 * float(reference.abs().max() + 1))


def clouded(cosine: Tensor, noise: float) -> list[list[Tensor]]:
    """The authors' order of things, image by image: noise of a third, cut at 1, times how far a class's log count is
    behind the largest one, over the furthest."""
    drawn = np.random.default_rng(3).normal(size=tuple(cosine.shape)).astype(np.float32)
    behind = [math.log(max(COUNTS)) - math.log(n) for n in COUNTS]
    made = []
    for row, noises in zip(cosine, drawn, strict=True):
        clouds = [abs(max(-1.0, min(1.0, float(e) / 3))) / max(behind) for e in noises]
        made.append([z - noise * cloud * b for z, cloud, b in zip(row, clouds, behind, strict=True)])
    return made


def log_sum_exp(values: list[Tensor]) -> Tensor:
    return torch.stack(values).logsumexp(0)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_gcl_trains_the_representation_on_clouded_cosines(noise: float, task: Task) -> None:
    """Beside Keke921/GCLLoss (c2a6233), losses.py, with the same noise, on the same tensors in float64: value and
    gradients agree to 4e-8."""
    target = some_targets()

    def expected(cosine: Tensor) -> Tensor:
        terms = []
        for row, wanted in zip(clouded(cosine, noise), target.double(), strict=True):
            logits = [30.0 * z for z in row]
            terms.append(sum(t * (log_sum_exp(logits) - z) for t, z in zip(wanted, logits, strict=True)))
        return torch.stack(terms).mean()  # type: ignore[arg-type]

    assert_same(make("gcl", task, noise=noise), some_logits(scale=0.3), target, "representation", expected)


@pytest.mark.parametrize(("margin", "gamma"), [(0.1, 1.0), (0.0, 2.0), (0.5, 0.0)])
def test_gcl_trains_the_classifier_with_a_margin_and_focal_weights(margin: float, gamma: float, task: Task) -> None:
    """For an image that mixes two labels: what each would give alone, by their weights, as in the authors' mixup.
    Beside Keke921/GCLLoss (c2a6233), losses.py, with the same noise, on the same tensors in float64: value and
    gradients agree to 4e-8."""
    target = some_targets()

    def expected(cosine: Tensor) -> Tensor:
        terms = []
        for row, wanted in zip(clouded(cosine, 0.5), target.double(), strict=True):
            for y, t in enumerate(wanted):
                logits = [20.0 * (z - (margin if c == y else 0.0)) for c, z in enumerate(row)]
                alone = log_sum_exp(logits) - logits[y]
                terms.append(t * (1 - (-alone).exp().detach()) ** gamma * alone)
        return torch.stack(terms).sum() / len(cosine)

    method = make("gcl", task, margin=margin, gamma=gamma)
    assert_same(method, some_logits(scale=0.3), target, "classifier", expected)


def test_gcl_without_noise_is_cross_entropy_on_cosines_and_so_it_is_on_balanced_data(task: Task) -> None:
    cosine, target = some_logits(scale=0.3), one_hot(labels_of(16))
    plain = make("ce", task).loss(30.0 * cosine, target, at("train"))
    assert make("gcl", task, noise=0.0).loss(cosine, target, at("representation")) == plain
    assert make("gcl", task_of((10,) * 5)).loss(cosine, target, at("representation")) == plain


def test_gcls_second_stage_trains_the_classifier_alone_at_twice_the_rate_on_balanced_batches(task: Task) -> None:
    method = make("gcl", task)
    model = Classifier(build_backbone("mlp", (6, 6, 1)), method.head(128))
    first, second = method.stages(model)
    assert (first.share, second.share) == (0.87, 0.13)
    assert [id(p) for g in second.optimizer.param_groups for p in g["params"]] == [*map(id, model.head.parameters())]
    assert [g["lr"] for g in second.optimizer.param_groups] == [0.1]
    assert second.class_probs.tolist() == [0.2] * 5
    assert torch.equal(method.predict(some_logits()), 20.0 * some_logits())


@pytest.mark.parametrize("rho", [0.5, 1.2])
def test_marc_scales_logits_and_shifts_them_by_the_lengths_of_the_class_vectors(rho: float, task: Task) -> None:
    """Beside microsoft/robustlearn (31580cd), marc/models/MARCClassifier.py and marc/loss/GRWLoss.py, on the same
    tensors in float64: value and gradients agree to 1e-15."""
    method = make("marc", task, rho=rho)
    torch.manual_seed(0)
    model = Classifier(build_backbone("mlp", (6, 6, 1)), method.head(128))
    linear: Any = model.head
    stages = method.stages(model)
    assert next(stages).share == 0.87
    second = next(stages)
    head: Any = model.head
    assert [id(p) for g in second.optimizer.param_groups for p in g["params"]] == [id(head.omega), id(head.beta)]
    features = torch.randn(16, 128)
    assert torch.equal(head(features), linear(features)), "until it is trained, it changes nothing"
    with torch.no_grad():
        head.omega.uniform_(-1, 1)
        head.beta.uniform_(-1, 1)
    z = features.double() @ linear.weight.double().T + linear.bias.double()
    length = linear.weight.double().pow(2).sum(dim=1).sqrt()
    expected = head.omega.double() * z + head.beta.double() * length
    torch.testing.assert_close(head(features).double(), expected, rtol=1e-5, atol=1e-5)

    raw = [(N / n) ** rho for n in COUNTS]
    labels = labels_of(16).tolist()

    def weighted(logits: Tensor) -> Tensor:
        terms = [raw[y] * (row.logsumexp(0) - row[y]) for row, y in zip(logits, labels, strict=True)]
        return torch.stack(terms).sum() / sum(raw[y] for y in labels)

    assert_same(method, some_logits(), one_hot(labels_of(16)), "calibration", weighted)


def test_marc_leaves_the_model_as_plain_training_made_it() -> None:
    method = spied("marc")(task_of(COUNTS), calibration_share=0.5)
    calibrated: Any = trained(method).head
    before, after = method.states[1], method.states[2]
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"head.omega", "head.beta"}
    torch.testing.assert_close(calibrated.length, calibrated.classifier.weight.norm(dim=1))
