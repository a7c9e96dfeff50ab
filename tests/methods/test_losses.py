"""Losses and corrections of logits, against the papers' formulas in plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.api import Task
from ltbench.parts import CosineHead
from tests.methods.made import (
    CIFAR100_IF100,
    COUNTS,
    final_logits,
    labels_of,
    make,
    moment,
    one_hot,
    some_logits,
    some_targets,
    task_of,
)


def softmax_loss(row: list[float], target: list[float]) -> float:
    """Cross-entropy of one row in float64."""
    log_z = math.log(sum(math.exp(v) for v in row))
    return sum(t * (log_z - v) for v, t in zip(row, target, strict=True))


def assert_same_loss(one: Any, other: Any, *, progress: float = 0.9) -> None:
    for target in (some_targets(), one_hot(labels_of(16))):
        a, b = (method.loss(some_logits(), target, moment(progress)) for method in (one, other))
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("focal", {"gamma": 0.0}),
        ("logit_adjusted_loss", {"tau": 0.0}),
        ("vs_loss", {"gamma": 0.0, "tau": 0.0}),
        ("cb_reweight", {"beta": 0.0}),
        ("ce_drw", {"beta": 0.0}),
        ("ce_drw", {"defer": 1.0}),
        ("logit_adjustment", {}),
        ("tau_norm", {}),
        ("crt", {}),
        ("cb_sampling", {}),
        ("mixup", {}),
        ("remix", {}),
        ("text_guided_mixup", {}),
    ],
)
def test_its_loss_is_plain_cross_entropy(name: str, values: dict[str, Any], toy_task: Task) -> None:
    assert_same_loss(make(name, toy_task, **values), make("ce", toy_task))


@pytest.mark.parametrize(
    "name", ["balanced_softmax", "logit_adjusted_loss", "vs_loss", "cb_reweight", "ce_drw", "logit_adjustment"]
)
def test_on_a_balanced_data_set_its_loss_is_plain_cross_entropy(name: str) -> None:
    balanced = task_of((30,) * 5)
    assert_same_loss(make(name, balanced), make("ce", balanced))


def test_logit_adjusted_loss_of_tau_1_is_balanced_softmax(toy_task: Task) -> None:
    assert_same_loss(make("logit_adjusted_loss", toy_task, tau=1.0), make("balanced_softmax", toy_task))


@pytest.mark.parametrize("tau", [0.5, 1.5])
def test_logit_adjusted_loss_is_equation_10(tau: float, toy_task: Task) -> None:
    """Beside FlamieZhu/Balanced-Contrastive-Learning (f72d070), loss/logitadjust.py, tau 1, on the same tensors in
    float64: value and gradients agree to 1e-15."""
    logits, labels = some_logits(), labels_of(16)
    expected = 0.0
    for row, y in zip(logits.double().tolist(), labels.tolist(), strict=True):
        terms = [
            (n_other / n_y) ** tau * math.exp(v - row[y])
            for v, n_other, n_y in zip(row, COUNTS, [COUNTS[y]] * 5, strict=True)
        ]
        expected += math.log(sum(terms)) / 16  # log(1 + sum over the other classes)
    loss = make("logit_adjusted_loss", toy_task, tau=tau).loss(logits, one_hot(labels), moment())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("tau", [0.0, 0.75, 1.25])
def test_vs_loss_of_gamma_0_is_the_logit_adjusted_loss(tau: float, toy_task: Task) -> None:
    assert_same_loss(make("vs_loss", toy_task, gamma=0.0, tau=tau), make("logit_adjusted_loss", toy_task, tau=tau))


@pytest.mark.parametrize(("gamma", "tau"), [(0.3, 1.0), (0.15, 1.25), (0.2, 0.0), (1.0, 0.5)])
def test_vs_loss_is_the_papers_formula(gamma: float, tau: float, toy_task: Task) -> None:
    """Delta_c = (n_c / n_max)^gamma multiplies, iota_c = tau log(n_c / N) is added. Beside orparask/VS-Loss (7ade9c9),
    class_imbalance/losses.py, on the same tensors in float64: value and gradients agree to 1e-15."""
    logits, labels = some_logits(), labels_of(16)
    total = 0.0
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        shifted = [
            (n / max(COUNTS)) ** gamma * z + tau * math.log(n / sum(COUNTS)) for n, z in zip(COUNTS, row, strict=True)
        ]
        total += math.log(sum(math.exp(s) for s in shifted)) - shifted[label]
    loss = make("vs_loss", toy_task, gamma=gamma, tau=tau).loss(logits, one_hot(labels), moment())
    assert float(loss) == pytest.approx(total / len(labels), rel=1e-5)


def test_balanced_softmax_is_equation_4(toy_task: Task) -> None:
    """Beside jiawei-ren/BalancedMetaSoftmax-Classification (34a61e4), loss/BalancedSoftmaxLoss.py, on the same tensors
    in float64: value and gradients agree to 1e-15."""
    logits, labels = some_logits(), labels_of(16)
    expected = 0.0
    for row, y in zip(logits.double().tolist(), labels.tolist(), strict=True):
        mass = [n * math.exp(v) for n, v in zip(COUNTS, row, strict=True)]
        expected -= math.log(mass[y] / sum(mass)) / 16
    loss = make("balanced_softmax", toy_task).loss(logits, one_hot(labels), moment())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_is_the_papers_formula_on_labels_and_its_mean_over_soft_targets(gamma: float, toy_task: Task) -> None:
    """Beside kaidic/LDAM-DRW (2536330), losses.py, on the same tensors in float64: value and gradients agree to
    1e-15."""
    logits, target = some_logits(), some_targets()
    expected = 0.0
    for row, t in zip(logits.double().tolist(), target.double().tolist(), strict=True):
        z = sum(math.exp(v) for v in row)
        for v, t_c in zip(row, t, strict=True):
            p = math.exp(v) / z
            expected -= t_c * (1 - p) ** gamma * math.log(p) / 16
    loss = make("focal", toy_task, gamma=gamma).loss(logits, target, moment())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "raw"),
    [
        ({"beta": 0.99}, [0.01 / (1 - 0.99**n) for n in COUNTS]),
        ({"weighting": "inverse"}, [1 / n for n in COUNTS]),
        ({"weighting": "sqrt_inverse"}, [n**-0.5 for n in COUNTS]),
    ],
)
def test_cb_reweight_weighs_by_the_stated_rule(values: dict[str, Any], raw: list[float], toy_task: Task) -> None:
    """Beside kaidic/LDAM-DRW (2536330), the weights of cifar_train.py, on the same tensors in float64: value and
    gradients agree to 1e-15."""
    weight = [5 * w / sum(raw) for w in raw]
    logits, labels = some_logits(), labels_of(16).tolist()
    losses = [weight[y] * softmax_loss(row, [float(c == y) for c in range(5)])
              for row, y in zip(logits.double().tolist(), labels, strict=True)]  # fmt: skip
    loss = make("cb_reweight", toy_task, **values).loss(logits, one_hot(labels_of(16)), moment())
    assert float(loss) == pytest.approx(sum(losses) / sum(weight[y] for y in labels), rel=1e-5)


def test_ldam_margins_are_the_published_ones_of_cifar100() -> None:
    margin = make("ldam_drw", task_of(CIFAR100_IF100)).margin
    assert float(margin[0]) == pytest.approx(0.1581, abs=5e-5)
    assert float(margin[-1]) == 0.5
    np.testing.assert_allclose(margin / margin[0], [(500 / n) ** 0.25 for n in CIFAR100_IF100], rtol=1e-6)


@pytest.mark.parametrize("progress", [0.5, 0.9])
def test_ldam_is_equation_13_with_deferred_weights(progress: float, toy_task: Task) -> None:
    """Beside kaidic/LDAM-DRW (2536330), losses.py, on the same tensors in float64: value and gradients agree to
    1e-15."""
    cosines, labels = some_logits(scale=0.3), labels_of(16).tolist()
    margins = [0.4 * (n / min(COUNTS)) ** -0.25 for n in COUNTS]
    raw = [0.01 / (1 - 0.99**n) if progress >= 0.8 else 1.0 for n in COUNTS]
    total = 0.0
    for row, y in zip(cosines.double().tolist(), labels, strict=True):
        row[y] -= margins[y]
        total += raw[y] * softmax_loss([20 * v for v in row], [float(c == y) for c in range(5)])
    method = make("ldam_drw", toy_task, max_margin=0.4, scale=20.0, beta=0.99)
    loss = method.loss(cosines, one_hot(labels_of(16)), moment(progress))
    assert float(loss) == pytest.approx(total / sum(raw[y] for y in labels), rel=1e-4)


def test_ldam_without_margin_is_deferred_cross_entropy_of_the_scaled_cosines(toy_task: Task) -> None:
    ldam, drw = make("ldam_drw", toy_task, max_margin=0.0, scale=30.0), make("ce_drw", toy_task)
    cosines, target = some_logits(scale=0.3), one_hot(labels_of(16))
    for progress in (0.0, 0.9):
        expected = drw.loss(30 * cosines, target, moment(progress))
        torch.testing.assert_close(ldam.loss(cosines, target, moment(progress)), expected)


def test_ldam_tests_with_the_scaled_cosines_of_its_cosine_head(toy_task: Task) -> None:
    method, features = make("ldam_drw", toy_task, scale=30.0), torch.randn(9, 64)
    head = method.head(64)
    assert isinstance(head, CosineHead)
    with torch.no_grad():
        cosines, corrected = head(features), method.predict(head(features))
    assert cosines.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(corrected, 30 * cosines)


def test_logit_adjustment_of_tau_0_corrects_nothing(toy_task: Task) -> None:
    assert torch.equal(make("logit_adjustment", toy_task, tau=0.0).predict(some_logits()), some_logits())


def test_logit_adjustment_takes_tau_log_prior_off(toy_task: Task) -> None:
    corrected = make("logit_adjustment", toy_task, tau=1.5).predict(some_logits())
    for row, fixed in zip(some_logits().double().tolist(), corrected.tolist(), strict=True):
        expected = [v - 1.5 * math.log(n / sum(COUNTS)) for v, n in zip(row, COUNTS, strict=True)]
        np.testing.assert_allclose(fixed, expected, rtol=1e-5, atol=1e-5)


def test_logit_adjustment_trains_as_cross_entropy_does() -> None:
    prior = np.log(np.array(COUNTS) / sum(COUNTS))
    np.testing.assert_allclose(final_logits("logit_adjustment") + prior, final_logits("ce"), atol=1e-5)
