"""ProCo against scipy's Bessel functions and its propositions in float64, its statistics and its limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ive
from torch import Tensor, nn

from ltbench.api import Task
from tests.methods.made import labels_of, make, moment, one_hot, some_logits, task_of
from tests.methods.test_views import COUNTS, B, C, assert_equations, minus_log_softmax, model_of, numbers, with_prior


@pytest.mark.parametrize("order", [7.0, 15.0, 63.0])
def test_the_expansion_is_the_bessel_function(order: float) -> None:
    """Values against scipy's, up to a constant; slopes against I of the next order over I."""
    from ltbench.methods.proco import log_bessel

    kappa = torch.tensor([1e-3, 0.5, 3.0, 20.0, 100.0, 1e3, 1e5], dtype=torch.float64, requires_grad=True)
    found = log_bessel(kappa, order)
    k = kappa.detach().numpy()
    exact = np.log(ive(order, k[1:])) + k[1:] - order * np.log(k[1:])
    apart = found.detach().numpy()[1:] - exact
    np.testing.assert_allclose(apart - apart[0], 0, atol=2e-7 if order > 10 else 3e-6)
    (slope,) = torch.autograd.grad(found.sum(), kappa)
    np.testing.assert_allclose(slope.numpy()[1:], ive(order + 1, k[1:]) / ive(order, k[1:]), rtol=2e-5)


@pytest.mark.parametrize(("contrast", "temperature"), [(1.0, 0.1), (0.5, 0.5)])
def test_its_loss_is_the_expected_contrast_with_every_class(
    contrast: float, temperature: float, toy_task: Task
) -> None:
    """Propositions 1 and 2, as ProCo_cifar/loss/proco.py computes them: log C(kappa) / C(|kappa mu + z / tau|). Beside
    LeapLabTHU/ProCo (af9e78e), with 128 numbers, where it has Miller's recurrence, on the same tensors in float64:
    value and gradients agree to 3e-12."""
    width = 32
    labels, order = labels_of(B).tolist(), width / 2 - 1
    means = [[0.7 * m / m.norm() for m in numbers(C, width, seed=s).double()] for s in (5, 6)]

    def log_i(kappa: Tensor) -> Tensor:
        return LogBessel.apply(kappa, order)  # type: ignore[no-any-return, no-untyped-call]

    def reference(logits: Tensor, first: Tensor, second: Tensor) -> Tensor:
        plain = torch.stack([minus_log_softmax(with_prior(z), y) for z, y in zip(logits, labels, strict=True)]).mean()
        terms = []
        for view, centres in zip((first, second), means, strict=True):
            for row, y in zip(view, labels, strict=True):
                z = row / row.norm()
                scores = []
                for m in centres:
                    length = m.norm()
                    kappa = width * length / (1 - length**2)
                    other = (kappa * m / length + z / temperature).norm()
                    scores.append(log_i(other) - order * other.log() - log_i(kappa) + order * kappa.log())
                terms.append(minus_log_softmax(with_prior(torch.stack(scores)), y))
        return plain + contrast * torch.stack(terms).mean()

    method = make("proco", toy_task, contrast=contrast, temperature=temperature)
    target = one_hot(torch.tensor(labels)).repeat(3, 1)

    def found(logits: Tensor, first: Tensor, second: Tensor) -> Tensor:
        z = nn.functional.normalize(torch.stack([first, second]), dim=2)
        given = torch.stack([torch.stack(each) for each in means]).float()
        return torch.as_tensor(method.loss((logits, z, given), target, moment()))

    assert_equations(found, reference, [some_logits(B), numbers(B, width, seed=7), numbers(B, width, seed=8)])


class LogBessel(torch.autograd.Function):
    """log I of a fixed order, with scipy's values and the exact slope."""

    @staticmethod
    def forward(ctx: Any, kappa: Tensor, order: float) -> Tensor:
        k = float(kappa)
        ctx.slope = ive(order + 1, k) / ive(order, k) + order / k
        return torch.tensor(math.log(ive(order, k)) + k, dtype=torch.float64)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        return grad * ctx.slope, None


def test_without_contrast_it_is_a_logit_adjusted_classifier(toy_task: Task) -> None:
    z, means = nn.functional.normalize(torch.randn(2, B, 32), dim=2), torch.rand(2, C, 32) / 10
    target = one_hot(labels_of(B))
    expected = make("logit_adjusted_loss", toy_task).loss(some_logits(B), target, moment())
    found = make("proco", toy_task, contrast=0.0).loss((some_logits(B), z, means), target.repeat(3, 1), moment())
    assert found == expected


def test_classes_that_are_points_give_the_logits_of_cosines(toy_task: Task) -> None:
    """Where kappa is large, what is expected of a class is what its centre gives: cosine over temperature."""
    from ltbench.methods.proco import LARGEST

    method = make("proco", toy_task, temperature=0.5)
    z, means = (nn.functional.normalize(numbers(n, 32, seed=n), dim=1) for n in (B, C))
    assert LARGEST == 1e5
    torch.testing.assert_close(method.expected(z, means).float(), z @ means.T / 0.5, rtol=1e-3, atol=1e-3)


def begun(width: int = 32) -> tuple[Any, Any]:
    method = make("proco", task_of(COUNTS), width=width)
    model = model_of(method).eval()
    next(iter(method.stages(model)))
    method.project.eval()
    return method, model


def test_means_are_of_this_epoch_so_far_over_those_of_the_last() -> None:
    """As EstimatorCV: a running mean of all images seen of a class; a class without any keeps where it began."""
    method, model = begun()
    start, seen = method.start.clone().double(), {c: [] for c in range(C)}
    batches = [torch.tensor([0, 0, 1]), torch.tensor([1, 2, 0])]
    for y in batches:
        x, _ = method.mix(torch.randn(3, len(y), 1, 6, 6), y, moment())
        with torch.no_grad():
            _, contrasted, means = method.forward(model, x, moment())
        for i, view in enumerate(contrasted.double()):
            for row, label in zip(view, y.tolist(), strict=True):
                seen[label].append(row)
            expected = torch.stack([torch.stack(seen[c]).mean(0) if seen[c] else start[c] for c in range(C)])
            torch.testing.assert_close(means[i].double(), expected, rtol=1e-5, atol=1e-6)
    fresh = method.means[1].clone()
    torch.testing.assert_close(fresh, method.means[0])
    method.begin_epoch()
    assert torch.equal(method.means[0], fresh), "the epoch that ended is what the next one adds to"
    assert torch.equal(method.means[1], method.start)
    assert [float(a.sum()) for a in method.amounts] == [12.0, 0.0]


def test_an_epoch_ends_when_as_many_images_as_there_are_were_seen() -> None:
    method, _ = begun()
    total, ended = sum(COUNTS), 0
    plain = method.begin_epoch

    def counted() -> None:
        nonlocal ended
        ended += 1
        plain()

    method.begin_epoch = counted
    for _ in range(2 * math.ceil(total / 37) + 1):
        method.mix(torch.randn(3, 37, 1, 2, 2), labels_of(37), moment())
    assert ended == 2


def test_the_first_view_is_classified_and_the_others_are_contrasted() -> None:
    method, model = begun()
    views, y = torch.randn(3, B, 1, 6, 6), labels_of(B)
    x, target = method.mix(views, y, moment())
    with torch.no_grad():
        logits, contrasted, _ = method.forward(model, x, moment())
        torch.testing.assert_close(logits, model(views[0]))
        for k in (0, 1):
            z = nn.functional.normalize(method.project(model.backbone(views[1 + k])), dim=1)
            torch.testing.assert_close(contrasted[k], z)
    assert len(target) == 3 * B
