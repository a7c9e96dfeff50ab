"""Losses, heads and passes of further methods against their papers' equations in float64, and their limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from ltbench.api import Moment, Task
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from tests.methods.made import (
    COUNTS,
    CPU,
    REGISTRY,
    final_logits,
    labels_of,
    loaded,
    make,
    moment,
    near_names,
    one_hot,
    some_logits,
    some_targets,
    spied,
    task_of,
    trained,
)

N, C = sum(COUNTS), len(COUNTS)


def at_stage(stage: str, progress: float = 0.5, seed: int = 0) -> Moment:
    return Moment(stage, progress, np.random.default_rng(seed), CPU)


def model_of(method: Any, backbone: str = "mlp") -> Classifier:
    torch.manual_seed(0)
    body = build_backbone(backbone, (6, 6, 1))
    return Classifier(body, method.head(body.dim)).double()


def images(n: int = 16, seed: int = 2) -> Tensor:
    return torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(seed)).double()


def assert_gradients(loss: Tensor, expected: Tensor, given: list[Tensor], exact: list[Tensor]) -> None:
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=2e-5)
    for found, wanted in zip(torch.autograd.grad(loss, given), torch.autograd.grad(expected, exact), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-6 * float(wanted.abs().max() + 1))


# -- equalization loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gamma", "rare"), [(0.9, 0.5), (0.5, 1.0), (1.0, 0.3)])
def test_equalization_leaves_rare_classes_out_as_in_equations_7_to_9(gamma: float, rare: float, toy_task: Task) -> None:
    """Beside zhangyongshun/BagofTricks-LT (ce7859a), SEQL, with the same random numbers, on the same tensors in
    float64: value and gradients agree to 1e-15."""
    uniform = np.random.default_rng(0).uniform(0, 1, (16, C)).astype(np.float32)
    labels, mean = labels_of(16).tolist(), N / C
    given = some_logits().requires_grad_()
    exact = some_logits().double().requires_grad_()
    terms = []
    for i, (z, y) in enumerate(zip(exact, labels, strict=True)):
        total = torch.zeros((), dtype=torch.float64)
        for k in range(C):
            beta, tail, own = float(uniform[i, k] < gamma), float(COUNTS[k] < rare * mean), float(k == y)
            total = total + (1 - beta * tail * (1 - own)) * torch.exp(z[k])
        terms.append(torch.log(total) - z[y])
    loss = make("equalization", toy_task, gamma=gamma, rare=rare).loss(given, one_hot(torch.tensor(labels)), moment())
    assert_gradients(loss, torch.stack(terms).mean(), [given], [exact])


@pytest.mark.parametrize("off", [{"gamma": 0.0}, {"rare": 0.0}])
def test_equalization_switched_off_is_cross_entropy(off: dict[str, float], toy_task: Task) -> None:
    for target in (some_targets(), one_hot(labels_of(16))):
        expected = make("ce", toy_task).loss(some_logits(), target, moment())
        assert make("equalization", toy_task, **off).loss(some_logits(), target, moment()) == expected


def test_equalization_has_the_papers_threshold_for_100_classes() -> None:
    """A frequency of 0.005, as BagofTricks-LT has it for CIFAR-100-LT."""
    counts = tuple(int(500 * 0.01 ** (c / 99)) for c in range(100))
    rare = make("equalization", task_of(counts)).is_rare
    assert rare.tolist() == [n / sum(counts) < 0.005 for n in counts]


# -- influence-balanced loss ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strength", "epsilon"), [(1000.0, 0.001), (10.0, 0.5)])
def test_influence_balanced_divides_by_the_influence(strength: float, epsilon: float, toy_task: Task) -> None:
    """Beside pseulki/IB-Loss (b29b8b0), losses.py, on the same tensors in float64: value and gradients agree to
    1e-15."""
    method = make("influence_balanced", toy_task, strength=strength, epsilon=epsilon)
    features = torch.randn(16, 7, generator=torch.Generator().manual_seed(3))
    given = [some_logits(scale=0.7).requires_grad_(), features.clone().requires_grad_()]
    exact = [v.detach().double().requires_grad_() for v in given]
    inverse = [1 / n for n in COUNTS]
    terms = []
    for z, h, y in zip(*exact, labels_of(16).tolist(), strict=True):
        p = z.softmax(dim=0)
        influence = sum(abs(p[k] - float(k == y)) for k in range(C)) * sum(abs(v) for v in h)
        weight = inverse[y] * C / sum(inverse)
        terms.append(weight * strength / (influence + epsilon) * -torch.log(p[y]))
    loss = method.loss(tuple(given), one_hot(labels_of(16)), at_stage("balanced"))
    assert_gradients(loss, torch.stack(terms).mean(), given, exact)


def test_influence_balanced_is_cross_entropy_in_its_first_stage_and_has_a_hundredth_of_the_rate_later() -> None:
    method = make("influence_balanced", task_of(COUNTS))
    first, second = method.stages(model_of(method))
    assert first.optimizer is None
    assert [group["lr"] for group in second.optimizer.param_groups] == [pytest.approx(0.0005)]
    expected = make("ce", task_of(COUNTS)).loss(some_logits(), some_targets(), moment())
    assert method.loss(some_logits(), some_targets(), at_stage("plain")) == expected


# -- UniMix -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "tau"), [(0.8, -0.1), (0.5, -1.0), (1.0, 0.0)])
def test_unimix_draws_partners_and_weights_by_the_prior(alpha: float, tau: float, toy_task: Task) -> None:
    """Beside XuZhengzhuo/Prior-LT (5f2298c), core.py, on the same tensors and random numbers: images and labels are
    equal, and its Bayias loss is balanced softmax to 1e-15."""
    rng, x, y = np.random.default_rng(0), images(), labels_of(16)
    u = rng.uniform(0, 1, 16).astype(np.float32).astype(np.float64)
    beta = rng.beta(alpha, alpha, 16)
    weight = np.array([COUNTS[c] ** tau for c in y])
    mixed, target = make("unimix", toy_task, alpha=alpha, tau=tau).mix(x, y, moment())
    for i in range(16):
        j = int(np.searchsorted(np.cumsum(weight) / weight.sum(), u[i], side="right"))
        n_i, n_j = COUNTS[y[i]], COUNTS[y[j]]
        keep = beta[i] + n_j / (n_i + n_j)
        keep = keep - 1 if keep > 1 else keep
        torch.testing.assert_close(mixed[i], keep * x[i] + (1 - keep) * x[j], rtol=1e-5, atol=1e-6)
        expected = keep * one_hot(y[i]) + (1 - keep) * one_hot(y[j])
        torch.testing.assert_close(target[i].double(), expected.double(), rtol=1e-5, atol=1e-6)


def test_unimix_takes_the_prior_off_as_balanced_softmax(toy_task: Task) -> None:
    ours, balanced = make("unimix", toy_task), make("balanced_softmax", toy_task)
    assert ours.loss(some_logits(), some_targets(), moment()) == balanced.loss(some_logits(), some_targets(), moment())


# -- manifold mixup, cRT with mixup, CMO ------------------------------------------------------------------------------


def test_manifold_mixup_mixes_features_before_the_classifier(toy_task: Task) -> None:
    method = make("manifold_mixup", toy_task)
    model, x, y = model_of(method), images(), labels_of(16)
    now = loaded(0.3)
    other = np.random.default_rng(0).permutation(16)
    same, target = method.mix(x, y, now)
    assert same is x
    torch.testing.assert_close(target, 0.3 * one_hot(y) + 0.7 * one_hot(y[other]))
    z = model.backbone(x)
    torch.testing.assert_close(
        method.forward(model, x, now), model.head(0.3 * z + 0.7 * z[other]), rtol=1e-6, atol=1e-6
    )


def test_manifold_mixup_of_weight_1_is_plain(toy_task: Task) -> None:
    method = make("manifold_mixup", toy_task)
    model, x = model_of(method), images()
    _, target = method.mix(x, labels_of(16), loaded(1.0))
    assert torch.equal(target, one_hot(labels_of(16)))
    torch.testing.assert_close(method.forward(model, x, moment()), model(x))


def test_crt_mixup_mixes_in_the_first_stage_only(toy_task: Task) -> None:
    method, mixup, x, y = make("crt_mixup", toy_task), make("mixup", toy_task), images(), labels_of(16)
    for found, expected in zip(
        method.mix(x, y, at_stage("representation")), mixup.mix(x, y, at_stage("representation")), strict=True
    ):
        assert torch.equal(found, expected)
    later = method.mix(x, y, at_stage("classifier"))
    assert torch.equal(later[0], x)
    assert torch.equal(later[1], one_hot(y))


class Forced(Moment):
    """A moment whose uniform numbers are all the same, and whose Beta gives 0.25."""

    def uniform(self, low: float, high: float, size: int | tuple[int, ...] = ()) -> Tensor:
        return torch.full((size,) if isinstance(size, int) else size, low + 0.4 * (high - low))

    def beta(self, a: float, b: float, size: int | tuple[int, ...] = ()) -> Tensor:
        return torch.full((size,) if isinstance(size, int) else size, 0.25)


@pytest.mark.parametrize("progress", [0.0, 0.019, 0.02, 0.5, 0.98, 0.985, 0.99])
def test_cmo_pastes_a_box_of_the_second_draw_and_labels_by_its_area(progress: float, toy_task: Task) -> None:
    """Beside naver-ai/cmo (10d2d09), cifar_train.py, on the same images and random numbers: boxes and labels are
    equal."""
    x, y = torch.randn(12, 3, 32, 32), labels_of(12)
    now = Forced("train", progress, np.random.default_rng(0), CPU)
    mixed, target = make("cmo", toy_task).mix(x, y, now)
    expected, label = x[:6].clone(), one_hot(y[:6])
    if 0.02 <= progress < 0.985:
        middle, half = int(0.4 * 32), int(32 * math.sqrt(0.75)) // 2
        low, high = max(0, middle - half), min(32, middle + half)
        expected[:, :, low:high, low:high] = x[6:, :, low:high, low:high]
        area = (high - low) ** 2 / 32**2
        label = (1 - area) * one_hot(y[:6]) + area * one_hot(y[6:])
    assert torch.equal(mixed, expected)
    torch.testing.assert_close(target, label)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5])
def test_cmo_draws_images_with_weights_of_n_to_the_minus_r(power: float) -> None:
    task = task_of(COUNTS)
    method, rng = make("cmo", task, power=power), np.random.default_rng(5)
    now = Moment("train", 0.5, rng, CPU)
    index = np.arange(40)
    drawn = [method.draw(index, now) for _ in range(60)]
    assert all(np.array_equal(d[:40], index) for d in drawn)
    found = np.bincount(task.labels[np.concatenate([d[40:] for d in drawn])], minlength=C)
    weight = np.array([n * n**-power for n in COUNTS])
    assert stats.chisquare(found, found.sum() * weight / weight.sum()).pvalue > 1e-3


# -- learnable scales, progressively balanced sampling ----------------------------------------------------------------


def test_lws_learns_one_scale_per_class_and_nothing_else() -> None:
    method = spied("lws")(task_of(COUNTS), scales_share=0.5)
    after = trained(method, backbone="cnn_small", epochs=4.0).state_dict()
    plain = trained(make("ce", task_of(COUNTS)), backbone="cnn_small", epochs=2.0).state_dict()
    assert {k for k, v in after.items() if k.startswith("backbone") and not torch.equal(v, method.before[k])} == set()
    assert torch.equal(after["head.classifier.weight"], method.before["head.classifier.weight"])
    assert after["head.classifier.weight"].shape == plain["head.weight"].shape
    assert not torch.equal(after["head.scale"], torch.ones(C))
    counts = np.bincount(task_of(COUNTS).labels[np.concatenate(method.drawn["scales"])], minlength=C)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.5, 0.999])
def test_progressive_sampling_is_equation_2(progress: float) -> None:
    task = task_of(COUNTS)
    method, rng = make("progressive_sampling", task), np.random.default_rng(5)
    drawn = []
    for _ in range(60):
        index = rng.permutation(N)[:64].astype(np.int64)
        before = index.copy()
        drawn.append(method.draw(index, Moment("train", progress, rng, CPU)))
        assert np.array_equal(index, before)
        if progress == 0:
            assert np.array_equal(drawn[-1], index)
    found = np.bincount(task.labels[np.concatenate(drawn)], minlength=C)
    share = [(1 - progress) * n / N + progress / C for n in COUNTS]
    assert stats.chisquare(found, found.sum() * np.array(share)).pvalue > 1e-3


# -- weight balancing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.1, 1.0])
def test_weight_balancing_projects_class_vectors_onto_a_ball(threshold: float) -> None:
    """Beside ShadeAlsha/LTR-weight-balancing (e89f292), utils/regularizers.py, on the same class vectors: they are
    equal."""

    class Noted(REGISTRY.get("weight_balancing")):  # type: ignore[misc]
        """Notes the class vectors before and after the projection."""

        def step(self, gradients: Any, optimizer: Any, now: Any) -> Tensor:
            loss: Tensor = super().step(gradients, _Spied(optimizer, self), now)
            self.after = self.vectors.detach().clone() if now.stage == "classifier" else None
            return loss

    class _Spied:
        def __init__(self, optimizer: Any, method: Any) -> None:
            self.optimizer, self.method = optimizer, method

        def step(self) -> None:
            self.optimizer.step()
            if hasattr(self.method, "vectors"):
                self.method.stepped = self.method.vectors.detach().clone()

    method = Noted(task_of(COUNTS), threshold=threshold, classifier_lr=0.5)
    model = trained(method, epochs=8.0)
    radius, stepped = float(method.radius), method.stepped.double()
    expected = torch.stack([w * min(1.0, radius / float(w.norm())) for w in stepped])
    torch.testing.assert_close(method.after.double(), expected, rtol=1e-5, atol=1e-7)
    assert float(model.head.get_parameter("weight").detach().norm(dim=1).max()) <= radius * (1 + 1e-5)


def test_weight_balancing_has_its_own_weight_decays_and_class_weights_in_the_second_stage() -> None:
    task = task_of(COUNTS)
    method = make("weight_balancing", task)
    first, second = method.stages(model_of(method))
    assert [g["weight_decay"] for g in first.optimizer.param_groups] == [5e-3]
    assert [(g["weight_decay"], g["lr"]) for g in second.optimizer.param_groups] == [(0.1, 0.01)]
    weighted = make("cb_reweight", task, beta=0.9999).loss(some_logits(), some_targets(), moment())
    assert method.loss(some_logits(), some_targets(), at_stage("classifier")) == weighted
    plain = make("ce", task).loss(some_logits(), some_targets(), moment())
    assert method.loss(some_logits(), some_targets(), at_stage("representation")) == plain


# -- ETF --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "classes"), [(64, 5), (64, 64), (16, 40)])
def test_etf_vectors_are_a_simplex(dim: int, classes: int) -> None:
    """Definition 1: m_i . m_j = C / (C - 1) [i = j] - 1 / (C - 1)."""
    head = make("etf", task_of((3,) * classes)).head(dim)
    gram = head.vectors.double() @ head.vectors.double().T
    expected = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64).fill_diagonal_(1.0)
    torch.testing.assert_close(gram, expected, atol=1e-5, rtol=0)
    assert isinstance(head.widen, nn.Linear) == (dim < classes)
    assert "vectors" not in dict(head.named_parameters())


def test_etf_loss_is_dot_regression(toy_task: Task) -> None:
    """Beside NeuralCollapseApplications/ImbalancedLearning (2ebb309), methods.py, from the features on, on the same
    tensors in float64: value and gradients agree to 1e-15."""
    given, exact = some_logits(scale=0.4).requires_grad_(), some_logits(scale=0.4).double().requires_grad_()
    terms = [0.5 * (z[y] - 1) ** 2 for z, y in zip(exact, labels_of(16).tolist(), strict=True)]
    loss = make("etf", toy_task).loss(given, one_hot(labels_of(16)), moment())
    assert_gradients(loss, torch.stack(terms).mean(), [given], [exact])


def test_etf_features_go_through_a_batch_norm_before_they_are_made_unit_length() -> None:
    """So that features behind a ReLU, which are never negative, can reach every vertex."""
    head = make("etf", task_of((3,) * 5)).head(8).double()
    features = images(20).flatten(1)[:, :8].relu()
    centred = (features - features.mean(dim=0)) / (features.var(dim=0, unbiased=False) + 1e-5).sqrt()
    expected = [[float(f @ v / f.norm()) for v in head.vectors] for f in centred]
    torch.testing.assert_close(head(features), torch.tensor(expected, dtype=torch.float64))


def test_etf_vectors_stay_where_they_are_and_training_pulls_features_to_them() -> None:
    method = spied("etf")(task_of(COUNTS))
    model = trained(method, epochs=4.0)
    assert torch.equal(model.head.get_buffer("vectors"), method.before["head.vectors"])


# -- BBN --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.9])
def test_bbn_is_equations_1_to_5(progress: float, toy_task: Task) -> None:
    """Beside megvii-research/BBN (7992e90), lib/core/combiner.py, in epochs 1, 61 and 181 of 200, on the same tensors
    in float64: value and gradients agree to 1e-15."""
    method = make("bbn", toy_task)
    model, x, y = model_of(method, "cnn_small"), images(12), labels_of(12)
    next(iter(method.stages(model)))
    model.eval()
    now = at_stage("train", progress)
    mixed, target = method.mix(x, y, now)
    alpha = 1 - progress**2
    features = model.backbone(x)
    weight, bias = model.head.get_parameter("linear.weight"), model.head.get_parameter("linear.bias")
    terms = []
    for i in range(6):
        pair = torch.cat([2 * alpha * features[i, 0], 2 * (1 - alpha) * features[i + 6, 1]])
        log_p = (weight @ pair + bias).log_softmax(dim=0)
        terms.append(-alpha * log_p[y[i]] - (1 - alpha) * log_p[y[i + 6]])
    out = method.forward(model, mixed, now)
    torch.testing.assert_close(method.loss(out, target.double(), now), torch.stack(terms).mean(), rtol=1e-6, atol=1e-9)


def test_bbn_tests_with_both_branches_at_a_half(toy_task: Task) -> None:
    method = make("bbn", toy_task)
    model, x = model_of(method, "cnn_small"), images(4)
    next(iter(method.stages(model)))
    model.eval()
    plain, inverse = model.backbone(x).unbind(1)
    expected = model.head.get_submodule("linear")(2 * torch.cat([0.5 * plain, 0.5 * inverse], dim=1))
    torch.testing.assert_close(model(x), expected)


def test_bbn_draws_the_second_half_with_inverse_frequencies() -> None:
    task = task_of(COUNTS)
    method, now = make("bbn", task), moment()
    drawn = np.concatenate([method.draw(np.arange(40), now)[40:] for _ in range(60)])
    inverse = np.array([1 / n for n in COUNTS])
    found = np.bincount(task.labels[drawn], minlength=C)
    assert stats.chisquare(found, found.sum() * inverse / inverse.sum()).pvalue > 1e-3


# -- distillation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "taught"), [(4.0, 0.9), (1.0, 0.5), (2.0, 1.0), (3.0, 0.0)])
def test_kd_is_hintons_loss(temperature: float, taught: float, toy_task: Task) -> None:
    """Beside HobbitLong/RepDistiller (b84f547), distiller_zoo/KD.py, on the same tensors in float64: value and
    gradients agree to 1e-15."""
    teacher = 3 * torch.randn(16, C, generator=torch.Generator().manual_seed(8))
    given, exact = some_logits().requires_grad_(), some_logits().double().requires_grad_()
    terms = []
    for z, t, y in zip(exact, teacher.double(), labels_of(16).tolist(), strict=True):
        p, q = (t / temperature).softmax(dim=0), (z / temperature).softmax(dim=0)
        divergence = sum(a * (torch.log(a) - torch.log(b)) for a, b in zip(p, q, strict=True))
        terms.append((1 - taught) * -torch.log(z.softmax(dim=0)[y]) + taught * temperature**2 * divergence)
    method = make("kd", toy_task, temperature=temperature, taught=taught)
    loss = method.loss((given, teacher), one_hot(labels_of(16)), at_stage("student"))
    assert_gradients(loss, torch.stack(terms).mean(), [given], [exact])


def test_kd_teacher_is_ce_and_its_student_starts_where_it_has_started() -> None:
    method = spied("kd")(task_of(COUNTS))
    model = trained(method, epochs=4.0)
    start, middle = method.states[0], method.states[1]
    assert all(torch.equal(start[k], middle[k]) for k in start)
    teacher = trained(make("ce", task_of(COUNTS)), epochs=2.0).state_dict()
    assert all(torch.equal(v, teacher[k]) for k, v in method.teacher.state_dict().items())
    assert not torch.equal(model.head.get_parameter("weight"), method.teacher.head.get_parameter("weight"))


# -- tuned cross-entropy ----------------------------------------------------------------------------------------------


def test_ce_tuned_is_ce_until_it_is_tuned() -> None:
    plain, tuned = (trained(make(name, task_of(COUNTS))).state_dict() for name in ("ce", "ce_tuned"))
    assert all(torch.equal(plain[k], tuned[k]) for k in plain)
    method = make("ce_tuned", task_of(COUNTS), rate=2.0, decay=1e-3)
    stage = next(iter(method.stages(model_of(method))))
    assert [(g["lr"], g["weight_decay"]) for g in stage.optimizer.param_groups] == [(0.1, 1e-3)]


# -- BatchFormer ------------------------------------------------------------------------------------------------------


def test_batchformer_attends_over_the_batch_and_shares_the_classifier(toy_task: Task) -> None:
    """Equations 1 to 3 with the dropout off: LN(a + W2 relu(W1 a)), a = LN(z + attention over the images)."""
    method = make("batchformer", toy_task, heads=2)
    model, x = model_of(method), images(7)
    next(iter(method.stages(model)))
    layer = method.layer.double().eval()
    z = model.backbone(x)
    weights = dict(layer.named_parameters())
    q, k, v = (z @ weights["self_attn.in_proj_weight"].T + weights["self_attn.in_proj_bias"]).chunk(3, dim=1)
    heads = []
    for a, b, c in zip(q.chunk(2, 1), k.chunk(2, 1), v.chunk(2, 1), strict=True):
        heads.append((a @ b.T / math.sqrt(a.shape[1])).softmax(dim=1) @ c)
    attended = layer.self_attn.out_proj(torch.cat(heads, dim=1))
    a = layer.norm1(z + attended)
    related = layer.norm2(a + layer.linear2(torch.relu(layer.linear1(a))))
    expected = torch.cat([model.head(z), model.head(related)])
    torch.testing.assert_close(method.forward(model, x, moment()), expected, rtol=1e-6, atol=1e-8)


def test_batchformer_counts_both_logits_alike_and_trains_its_layer(toy_task: Task) -> None:
    method, balanced = make("batchformer", toy_task), make("balanced_softmax", toy_task)
    one, other, target = some_logits(), some_logits().flip(0), some_targets()
    both = method.loss(torch.cat([one, other]), target, moment())
    each = [balanced.loss(z, target, moment()) for z in (one, other)]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    stage = next(iter(method.stages(model_of(method))))
    inside = {id(p) for group in stage.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in method.layer.parameters()} <= inside


# -- TaskRes ----------------------------------------------------------------------------------------------------------


def test_task_res_adds_a_residual_to_the_names() -> None:
    """Beside geekyutao/TaskRes (5195359), trainers/taskres.py, on the same tensors in float64: value and gradients
    agree to 1e-15."""
    text = near_names(dim=12)
    task = Task(np.arange(5), [f"class {c}" for c in range(5)], text=text, logit_scale=50.0)
    head = make("task_res", task, alpha=0.5).head(12)
    residual = torch.randn(5, 12)
    features = torch.randn(6, 12).double()
    for added in (torch.zeros(5, 12), residual):
        with torch.no_grad():
            head.residual.copy_(added)
            found = head(features.float())
        for i, f in enumerate(features):
            for c in range(5):
                t = torch.from_numpy(text[c]).double() + 0.5 * added[c].double()
                cosine = float((f / f.norm()) @ (t / t.norm()))
                assert float(found[i, c]) == pytest.approx(50 * cosine, rel=1e-4, abs=1e-4)


def test_task_res_trains_the_residual_alone() -> None:
    method = spied("task_res")(task_of(COUNTS, near_names()))
    after = trained(method).state_dict()
    assert [k for k in after if not torch.equal(after[k], method.before[k])] == []
    assert [k for k in after if not torch.equal(after[k], method.states[0][k])] == ["head.residual"]


@pytest.mark.parametrize("name", ["kd", "bbn", "batchformer", "etf"])
def test_other_seeds_give_other_results(name: str) -> None:
    assert not np.array_equal(final_logits(name, seed=0), final_logits(name, seed=1))
