"""Losses against the papers' equations in float64, term by term: values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ltbench.api import Moment, Stage, Task
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from tests.methods.made import (
    COUNTS,
    labels_of,
    make,
    moment,
    one_hot,
    out_of,
    some_logits,
    some_targets,
    spied,
    task_of,
    trained,
)

N, C = sum(COUNTS), len(COUNTS)
Reference = Callable[[Tensor, list[int]], Tensor]
"""Logits (B, C) or (B, K, C) in float64, and labels -> the loss."""


def experts_logits(scale: float = 2.0) -> Tensor:
    return scale * torch.randn(16, 3, 5, generator=torch.Generator().manual_seed(5))


def assert_equations(method: Any, reference: Reference, logits: Tensor, progress: float = 0.9) -> None:
    """The loss and its gradient, in float32, are those of the reference in float64."""
    labels = labels_of(len(logits))
    given, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    loss, expected = method.loss(given, one_hot(labels), moment(progress)), reference(exact, labels.tolist())
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=2e-5)
    (found,), (wanted,) = torch.autograd.grad(loss, given), torch.autograd.grad(expected, exact)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-6)


def cross_entropy(z: Tensor, y: int) -> Tensor:
    """-log softmax(z)_y of one row."""
    return torch.log(sum(torch.exp(v) for v in z)) - z[y]  # type: ignore[arg-type]


def effective(beta: float) -> list[float]:
    """Cui et al.'s weights, which sum to C."""
    raw = [(1 - beta) / (1 - beta**n) for n in COUNTS]
    return [w * C / sum(raw) for w in raw]


# -- class-balanced focal loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gamma", "beta"), [(1.0, 0.9999), (2.0, 0.99), (0.5, 0.9)])
def test_cb_focal_is_the_papers_sum(gamma: float, beta: float, toy_task: Task) -> None:
    """Not so kaidic/LDAM-DRW (2536330), losses.py: it has the weight within the probability as well, which moves the
    value by a hundredth."""

    def reference(logits: Tensor, labels: list[int]) -> Tensor:
        terms = []
        for z, y in zip(logits, labels, strict=True):
            log_p = -cross_entropy(z, y)
            terms.append(-effective(beta)[y] * (1 - torch.exp(log_p)) ** gamma * log_p)
        return torch.stack(terms).mean()

    assert_equations(make("cb_focal", toy_task, gamma=gamma, beta=beta), reference, some_logits())


def test_cb_focal_without_weights_is_focal(toy_task: Task) -> None:
    ours, focal = make("cb_focal", toy_task, beta=0.0), make("focal", toy_task)
    for target in (some_targets(), one_hot(labels_of(16))):
        a, b = (m.loss(some_logits(), target, moment()) for m in (ours, focal))
        torch.testing.assert_close(a, b)


# -- seesaw -----------------------------------------------------------------------------------------------------------


def seesaw_after(task: Task, batches: int, **values: Any) -> tuple[Any, list[int]]:
    """The method when it has seen some batches, and how many of each class these were."""
    method, seen = make("seesaw", task, **values), [0] * C
    for seed in range(batches):
        y = labels_of(8, seed)
        method.mix(torch.randn(8, 1, 4, 4), y, moment())
        for label in y.tolist():
            seen[label] += 1
    return method, seen


@pytest.mark.parametrize(("p", "q"), [(0.8, 2.0), (0.8, 0.0), (0.0, 2.0), (1.2, 1.0)])
@pytest.mark.parametrize("batches", [0, 1, 9])
def test_seesaw_is_the_papers_equations_on_the_counts_so_far(p: float, q: float, batches: int, toy_task: Task) -> None:
    """Beside open-mmlab/mmdetection (08282a6), mmdet/models/losses/seesaw_loss.py, on the same tensors in float64:
    value and gradients agree to 1e-15."""
    method, seen = seesaw_after(toy_task, batches, p=p, q=q)
    counts = [max(n, 1) for n in seen]

    def reference(logits: Tensor, labels: list[int]) -> Tensor:
        terms = []
        for z, i in zip(logits, labels, strict=True):
            sigma = [float(v) for v in z.detach().softmax(dim=0)]
            total = torch.exp(z[i])
            for j in range(C):
                if j != i:
                    mitigation = (counts[j] / counts[i]) ** p if counts[j] < counts[i] else 1.0
                    compensation = (sigma[j] / max(sigma[i], 0.01)) ** q if sigma[j] > max(sigma[i], 0.01) else 1.0
                    total = total + mitigation * compensation * torch.exp(z[j])
            terms.append(torch.log(total) - z[i])
        return torch.stack(terms).mean()

    assert_equations(method, reference, some_logits())


def test_seesaw_of_p_0_and_q_0_is_cross_entropy(toy_task: Task) -> None:
    method, _ = seesaw_after(toy_task, 5, p=0.0, q=0.0)
    for target in (some_targets(), one_hot(labels_of(16))):
        expected = make("ce", toy_task).loss(some_logits(), target, moment())
        torch.testing.assert_close(method.loss(some_logits(), target, moment()), expected)


# -- LADE -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("weight", "decay"), [(0.1, 0.1), (1.0, 0.0), (0.5, 1.0)])
def test_lade_is_balanced_softmax_plus_the_regularised_bound(weight: float, decay: float, toy_task: Task) -> None:
    """Beside hyperconnect/LADE (5db5d13), LADELoss.py and PriorCELoss.py in loss/, on the same tensors in float64:
    value and gradients agree to 1e-8, for 1e-9 is added to their logarithms."""
    prior = [n / N for n in COUNTS]

    def reference(logits: Tensor, labels: list[int]) -> Tensor:
        rows = list(zip(logits, labels, strict=True))
        shifted = [cross_entropy(z + torch.tensor(prior, dtype=torch.float64).log(), y) for z, y in rows]
        estimate = torch.zeros((), dtype=torch.float64)
        for c in range(C):
            own = [z[c] for z, y in rows if y == c]
            first = sum(own) / len(own) if own else torch.zeros((), dtype=torch.float64)
            ratio = sum((1 / C) / prior[c] * torch.exp(z[c]) for z, _ in rows) / len(rows)
            bound = first - torch.log(ratio) - decay * torch.log(ratio) ** 2
            estimate = estimate - prior[c] * bound
        return torch.stack(shifted).mean() + weight * estimate

    assert_equations(make("lade", toy_task, weight=weight, decay=decay), reference, some_logits())


def test_lade_of_weight_0_is_balanced_softmax(toy_task: Task) -> None:
    ours, balanced = make("lade", toy_task, weight=0.0), make("balanced_softmax", toy_task)
    for target in (some_targets(), one_hot(labels_of(16))):
        assert ours.loss(some_logits(), target, moment()) == balanced.loss(some_logits(), target, moment())


def test_lade_bears_a_class_without_training_images() -> None:
    logits = some_logits().requires_grad_()
    loss = make("lade", task_of((30, 20, 10, 5, 0))).estimate(logits, one_hot(labels_of(16) % 4))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


# -- RIDE -------------------------------------------------------------------------------------------------------------


def ride_reference(diversity: float, scale: float, progress: float, tempering: float = 0.05) -> Reference:
    quarter = [n**-0.25 for n in COUNTS]
    margin = [0.5 * m / max(quarter) for m in quarter]
    deferred = progress >= 0.8
    weight = effective(0.9999) if deferred else [1.0] * C
    raw = [C * n / N * tempering + 1 - tempering for n in COUNTS]
    temperature = torch.tensor([t / max(raw) for t in raw] if deferred else [1.0] * C, dtype=torch.float64)
    spread = float(temperature.mean()) ** 2

    def reference(cosines: Tensor, labels: list[int]) -> Tensor:
        whole = torch.zeros((), dtype=torch.float64)
        mass = sum(weight[y] for y in labels)
        for z, y in zip(cosines, labels, strict=True):
            shift = torch.tensor([margin[c] if c == y else 0.0 for c in range(C)], dtype=torch.float64)
            mean = (scale * z.detach().mean(dim=0) / temperature).softmax(dim=0)
            for expert in z:
                whole = whole + weight[y] * cross_entropy(scale * (expert - shift), y) / mass
                own = (scale * expert / temperature).softmax(dim=0)
                apart = sum(m * (torch.log(m) - torch.log(p)) for m, p in zip(mean, own, strict=True))
                whole = whole - diversity * spread * apart / len(labels)
        return whole

    return reference


@pytest.mark.parametrize("progress", [0.1, 0.79, 0.8, 0.95])
@pytest.mark.parametrize(("diversity", "scale"), [(0.2, 30.0), (1.0, 3.0), (0.0, 10.0)])
def test_ride_is_the_sum_over_experts(diversity: float, scale: float, progress: float, toy_task: Task) -> None:
    """Beside frank-xwang/RIDE-LongTailRecognition (ab8be5c), model/loss.py, on the same tensors in float64: value and
    gradients agree to 4e-8, for their margins are in float32."""
    method = make("ride", toy_task, diversity=diversity, scale=scale)
    cosines = experts_logits(0.2)
    assert_equations(method, ride_reference(diversity, scale, progress), cosines, progress)


@pytest.mark.parametrize("progress", [0.1, 0.9])
def test_ride_with_one_expert_is_ldam_drw_and_without_margin_and_weights_cross_entropy(
    progress: float, toy_task: Task
) -> None:
    cosines, target = some_logits(scale=0.3), one_hot(labels_of(16))
    one = make("ride", toy_task, experts=1)
    expected = make("ldam_drw", toy_task).loss(cosines, target, moment(progress))
    torch.testing.assert_close(one.loss(cosines[:, None], target, moment(progress)), expected)
    plain = make("ride", toy_task, experts=1, max_margin=0.0, beta=0.0, scale=1.0)
    expected = make("ce", toy_task).loss(cosines, target, moment(progress))
    torch.testing.assert_close(plain.loss(cosines[:, None], target, moment(progress)), expected)
    assert torch.equal(one.predict(cosines[:, None]), make("ldam_drw", toy_task).predict(cosines))


# -- SADE -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.0, 1.0, 2.0])
def test_sade_is_softmax_plus_balanced_plus_inverse_softmax(strength: float, toy_task: Task) -> None:
    """Beside Vanint/SADE-AgnosticLT (cba11b8), model/loss.py, on the same tensors in float64: value and gradients agree
    to 1e-15."""
    inverse = sorted(COUNTS)  # the counts fall from class to class

    def reference(logits: Tensor, labels: list[int]) -> Tensor:
        terms = []
        for z, y in zip(logits, labels, strict=True):
            balanced = torch.tensor([math.log(n / N) for n in COUNTS], dtype=torch.float64)
            inverted = torch.tensor([math.log(n / N) for n in inverse], dtype=torch.float64)
            terms.append(
                cross_entropy(z[0], y)
                + cross_entropy(z[1] + balanced, y)
                + cross_entropy(z[2] + balanced - strength * inverted, y)
            )
        return torch.stack(terms).mean()

    assert_equations(make("sade", toy_task, strength=strength), reference, experts_logits())


def test_sade_gives_the_rarest_class_the_share_of_the_most_frequent_one_whatever_their_order() -> None:
    counts = (7, 90, 30, 1, 60)
    shifts = make("sade", task_of(counts), strength=1.0).shifts
    inverse = (shifts[1] - shifts[2]).exp()
    assert inverse.mul(sum(counts)).round().tolist() == [60, 1, 30, 90, 7]


@pytest.mark.parametrize("name", ["ride", "sade"])
def test_several_experts_predict_by_their_mean(name: str, toy_task: Task) -> None:
    logits = experts_logits()
    mean = logits.mean(dim=1) * (30.0 if name == "ride" else 1.0)
    torch.testing.assert_close(make(name, toy_task).predict(logits), mean)
    same = out_of(name, some_logits())
    assert make(name, toy_task).predict(same).argmax(dim=1).tolist() == some_logits().argmax(dim=1).tolist()


# -- second stages: DisAlign, MiSLAS ----------------------------------------------------------------------------------


def second_stage(name: str, **values: Any) -> tuple[Any, Classifier, Stage]:
    """The method, its model and its second stage, nothing having been trained."""
    torch.manual_seed(0)
    method = make(name, task_of(COUNTS), **values)
    model = Classifier(build_backbone("mlp", (6, 6, 1)), method.head(128))
    stages = method.stages(model)
    first = next(stages)
    assert first.name == "representation"
    return method, model, next(stages)


def in_stage(name: str, progress: float = 0.5) -> Moment:
    return Moment(name, progress, np.random.default_rng(0), torch.device("cpu"))


@pytest.mark.parametrize("rho", [0.5, 1.2])
def test_disalign_is_equations_4_to_9(rho: float) -> None:
    """Beside the lines of Megvii-BaseDetection/DisAlign (a2fc350), fcn_head_disalign.py, whose scale is one more, on
    the same tensors in float64: value and gradients agree to 1e-15."""
    method, model, stage = second_stage("disalign", rho=rho)
    head: Any = model.head
    trained = [id(p) for group in stage.optimizer.param_groups for p in group["params"]]
    assert trained == [id(p) for p in (head.confidence.weight, head.confidence.bias, head.scale, head.bias)]
    assert head.confidence.weight.eq(0.1).all()
    with torch.no_grad():
        head.scale.uniform_(-1, 1)
        head.bias.uniform_(-1, 1)
    features = torch.randn(16, 128)
    z = head.classifier(features).double()
    s = (features.double() @ head.confidence.weight.double().T + head.confidence.bias.double()).sigmoid()
    alpha = 1 + head.scale.double()
    expected = s * (alpha * z + head.bias.double()) + (1 - s) * z
    torch.testing.assert_close(head(features).double(), expected, rtol=1e-5, atol=1e-5)

    raw = [(N / n) ** rho for n in COUNTS]
    weight = [w * C / sum(raw) for w in raw]
    labels, exact = labels_of(16).tolist(), some_logits().double()
    terms = [weight[y] * cross_entropy(row, y) for row, y in zip(exact, labels, strict=True)]
    loss = method.loss(some_logits(), one_hot(labels_of(16)), in_stage("alignment"))
    assert float(loss) == pytest.approx(float(sum(terms)) / sum(weight[y] for y in labels), rel=1e-5)
    plain = make("ce", task_of(COUNTS)).loss(some_logits(), one_hot(labels_of(16)), moment())
    assert method.loss(some_logits(), one_hot(labels_of(16)), in_stage("representation")) == plain


@pytest.mark.parametrize(("head", "tail"), [(0.4, 0.1), (0.3, 0.0), (0.2, 0.2)])
def test_mislas_smooths_labels_by_a_sine_of_the_counts(head: float, tail: float) -> None:
    """Beside dvlab-research/MiSLAS (0fc381e), methods.py, on the same tensors in float64: value and gradients agree to
    1e-15."""
    method, _, _ = second_stage("mislas", smooth_head=head, smooth_tail=tail)
    low, high = min(COUNTS), max(COUNTS)
    epsilon = [tail + (head - tail) * math.sin(math.pi * (n - low) / (2 * (high - low))) for n in COUNTS]

    def reference(logits: Tensor, labels: list[int]) -> Tensor:
        terms = []
        for z, y in zip(logits, labels, strict=True):
            others = sum(cross_entropy(z, c) for c in range(C)) / C
            terms.append((1 - epsilon[y]) * cross_entropy(z, y) + epsilon[y] * others)
        return torch.stack(terms).mean()

    given, exact = some_logits().requires_grad_(), some_logits().double().requires_grad_()
    loss = method.loss(given, one_hot(labels_of(16)), in_stage("classifier"))
    expected = reference(exact, labels_of(16).tolist())
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    (found,), (wanted,) = torch.autograd.grad(loss, given), torch.autograd.grad(expected, exact)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-7)


def test_mislas_without_smoothing_is_cross_entropy_and_mixes_in_its_first_stage_alone() -> None:
    method, _, _ = second_stage("mislas", smooth_head=0.0, smooth_tail=0.0)
    target, x, y = one_hot(labels_of(16)), torch.randn(16, 1, 6, 6), labels_of(16)
    plain = make("ce", task_of(COUNTS)).loss(some_logits(), target, moment())
    torch.testing.assert_close(method.loss(some_logits(), target, in_stage("classifier")), plain)
    assert torch.equal(method.mix(x, y, in_stage("classifier"))[0], x)
    mixed = make("mixup", task_of(COUNTS)).mix(x, y, in_stage("representation"))[0]
    assert torch.equal(method.mix(x, y, in_stage("representation"))[0], mixed)


def test_mislas_trains_classifier_and_scales_and_lets_batch_norm_follow() -> None:
    _, model, stage = second_stage("mislas")
    classifier, scales = stage.optimizer.param_groups
    assert [id(p) for p in classifier["params"]] == [id(p) for p in model.head.classifier.parameters()]
    assert scales["params"][0] is model.head.scale
    assert (classifier["lr"], scales["lr"]) == pytest.approx((0.01, 0.05))
    assert stage.class_probs == pytest.approx([0.2] * 5)
    spy = spied("mislas")(task_of(COUNTS), classifier_share=0.5)
    after = trained(spy, backbone="cnn_small").state_dict()
    before = spy.states[1]
    body = [k for k in after if k.startswith("backbone")]
    moved = {k for k in body if not torch.equal(before[k], after[k])}
    assert moved == {k for k in body if "running" in k or "num_batches" in k}
