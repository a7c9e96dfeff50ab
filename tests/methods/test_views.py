"""Methods that train on several views, and SHIKE: their losses against the equations in float64, and their limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
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
    make,
    moment,
    one_hot,
    some_logits,
    task_of,
    trained,
)

N, C = sum(COUNTS), len(COUNTS)
B, WIDTH = 8, 6


def numbers(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_equations(
    loss: Callable[..., Tensor], reference: Callable[..., Tensor], given: list[Tensor], rtol: float = 1e-3
) -> None:
    """A loss of tensors in float32 and its gradients are those of the reference in float64."""
    rounded, exact = [t.clone().requires_grad_() for t in given], [t.double().requires_grad_() for t in given]
    found, expected = loss(*rounded), reference(*exact)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=5e-5)
    for a, b in zip(torch.autograd.grad(found, rounded), torch.autograd.grad(expected, exact), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=rtol, atol=1e-5 * float(b.abs().max() + 1e-3))


def minus_log_softmax(z: Tensor, y: int) -> Tensor:
    return torch.log(torch.exp(z).sum()) - z[y]


def unit(v: Tensor) -> Tensor:
    return v / v.norm()


def with_prior(z: Tensor) -> Tensor:
    return torch.stack([z[k] + math.log(n / N) for k, n in enumerate(COUNTS)])


def model_of(method: Any, backbone: str = "cnn_small") -> Classifier:
    torch.manual_seed(0)
    body = build_backbone(backbone, (6, 6, 1))
    return Classifier(body, method.head(body.dim))


# -- balanced contrastive learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("contrast", "temperature"), [(0.35, 0.07), (1.0, 0.5)])
def test_bcl_averages_over_the_entries_of_a_class_and_adds_a_centre(
    contrast: float, temperature: float, toy_task: Task
) -> None:
    """Equations 5 to 8, as loss/contrastive.py and loss/logitadjust.py compute them. Beside
    FlamieZhu/Balanced-Contrastive-Learning (f72d070), on the same tensors in float64: value and gradients agree to
    1e-15."""
    labels = labels_of(B).tolist()

    def reference(logits: Tensor, features: Tensor, centres: Tensor) -> Tensor:
        entries = [(unit(f), y) for f, y in zip(features, labels * 2, strict=True)]
        entries += [(unit(c), k) for k, c in enumerate(centres)]
        terms = []
        for i, (own, y) in enumerate(entries[: 2 * B]):
            rest = [(v, k) for j, (v, k) in enumerate(entries) if j != i]
            below = torch.zeros((), dtype=torch.float64)
            for k in range(C):
                of_class = [torch.exp(own @ v / temperature) for v, other in rest if other == k]
                below = below + torch.stack(of_class).mean()
            terms.append(torch.stack([torch.log(below) - own @ v / temperature for v, k in rest if k == y]).mean())
        plain = torch.stack([minus_log_softmax(with_prior(z), y) for z, y in zip(logits, labels, strict=True)]).mean()
        return plain + contrast * torch.stack(terms).mean()

    method = make("bcl", toy_task, contrast=contrast, temperature=temperature)
    target = one_hot(torch.tensor(labels)).repeat(3, 1)
    assert_equations(
        lambda *out: method.loss(out, target, moment()), reference,
        [some_logits(B), numbers(2 * B, WIDTH), numbers(C, WIDTH, seed=4)],
    )  # fmt: skip


def test_bcl_without_contrast_is_a_logit_adjusted_cosine_classifier(toy_task: Task) -> None:
    out, target = (some_logits(B), numbers(2 * B, WIDTH), numbers(C, WIDTH)), one_hot(labels_of(B))
    expected = make("logit_adjusted_loss", toy_task).loss(some_logits(B), target, moment())
    assert make("bcl", toy_task, contrast=0.0).loss(out, target.repeat(3, 1), moment()) == expected


def test_bcl_classifies_the_first_view_and_contrasts_the_others(toy_task: Task) -> None:
    method = make("bcl", toy_task)
    model, views = model_of(method), numbers(3, B, 1, 6, 6)
    next(iter(method.stages(model)))
    x, target = method.mix(views, labels_of(B), moment())
    model.eval()
    logits, contrasted, centres = method.forward(model, x, moment())
    torch.testing.assert_close(logits, model(views[0]))
    assert (contrasted.shape, centres.shape, len(target)) == ((2 * B, 128), (C, 128), 3 * B)


# -- parametric contrast ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "temperature"), [(0.01, 0.05), (0.5, 0.2)])
@pytest.mark.parametrize("filled", [0, 7])
def test_paco_contrasts_with_keys_queue_and_class_vectors(
    alpha: float, temperature: float, filled: int, toy_task: Task
) -> None:
    """Equations 4 to 6, as PaCo/LT/losses.py computes them. Beside dvlab-research/Parametric-Contrastive-Learning
    (fe56535), on the same tensors in float64: value and gradients agree to 5e-8, for 1e-9 is added to their priors."""
    labels, key = labels_of(B).tolist(), nn.functional.normalize(numbers(B, WIDTH, seed=4), dim=1)
    queue = nn.functional.normalize(numbers(12, WIDTH, seed=5), dim=1)
    kinds = torch.where(torch.arange(12) < filled, torch.arange(12) % C, -1)

    def reference(logits: Tensor, query: Tensor) -> Tensor:
        entries = [(unit(q), y) for q, y in zip(query, labels, strict=True)]
        entries += [(k.double(), y) for k, y in zip(key, labels, strict=True)]
        entries += [(v.double(), int(k)) for v, k in zip(queue, kinds, strict=True) if k >= 0]
        terms = []
        for i, (own, y) in enumerate(entries[:B]):
            rest = [(own @ v / temperature, k) for j, (v, k) in enumerate(entries) if j != i]
            classes = with_prior(logits[i])
            log_below = torch.log(torch.exp(classes).sum() + torch.exp(torch.stack([z for z, _ in rest])).sum())
            weighted = [(1.0, classes[y]), *((alpha, z) for z, k in rest if k == y)]
            terms.append(-sum(w * (z - log_below) for w, z in weighted) / sum(w for w, _ in weighted))
        return torch.stack(terms).mean()

    method, target = make("paco", toy_task, alpha=alpha, temperature=temperature), one_hot(torch.tensor(labels))
    assert_equations(
        lambda logits, query: method.loss((logits, query, key, (queue, kinds)), target.repeat(2, 1), moment()),
        reference, [some_logits(B), numbers(B, WIDTH)],
    )  # fmt: skip


def test_paco_queues_the_keys_of_a_slow_copy() -> None:
    method = make("paco", task_of(COUNTS), keys=12, momentum=0.5)
    model, views = model_of(method), numbers(2, B, 1, 6, 6)
    next(iter(method.stages(model)))
    x, _ = method.mix(views, labels_of(B), moment())
    _, _, key, (_, labels) = method.forward(model, x, moment())
    assert (labels == -1).all()
    torch.testing.assert_close(method.queue.features[:B], key)
    assert torch.equal(method.queue.labels, torch.cat([labels_of(B), torch.full((12 - B,), -1)]))
    before = [p.clone() for p in method.key.model.parameters()]
    with torch.no_grad():
        for p in (*model.backbone.parameters(), *method.project.parameters()):
            p.add_(1.0)
    method.step(lambda: torch.zeros(()), torch.optim.SGD(model.parameters(), lr=0.0), moment())
    for old, new in zip(before, method.key.model.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.5)


# -- global and local mixture consistency -----------------------------------------------------------------------------


@pytest.mark.parametrize(("consistency", "power", "early"), [(4.0, 1.2, 0.7), (0.5, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_glmc_is_the_sum_over_both_views(consistency: float, power: float, early: float, toy_task: Task) -> None:
    """Equations 1 to 9, as Trainer.py computes them. Beside its lines in ynu-yangpeng/GLMC (2c0261c), on the same
    tensors in float64: value and gradients agree to 1e-15."""
    target = (2 * numbers(B, C, seed=9)).softmax(dim=1)
    raw = [n**-power for n in COUNTS]
    weights = [w * C / sum(raw) for w in raw]

    def reference(plain: Tensor, balanced: Tensor, z: Tensor, p: Tensor) -> Tensor:
        whole = torch.zeros((), dtype=torch.float64)
        for view in range(2):
            for i in range(B):
                row = view * B + i
                for k in range(C):
                    t = float(target[i, k])
                    whole = whole + early * t * minus_log_softmax(plain[row], k) / B
                    whole = whole + (1 - early) * weights[k] * t * minus_log_softmax(balanced[row], k) / B
                other = z[(1 - view) * B + i].detach()
                whole = whole - consistency * (unit(p[row]) @ unit(other)) / B
        return whole + 0.0 * z.sum()

    method = make("glmc", toy_task, consistency=consistency, power=power)
    assert_equations(
        lambda *out: method.loss((*out, torch.tensor(early)), target.repeat(2, 1), moment()) + 0.0 * out[2].sum(),
        reference, [some_logits(2 * B), -some_logits(2 * B), numbers(2 * B, WIDTH), numbers(2 * B, WIDTH, seed=5)],
    )  # fmt: skip


@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_glmc_mixes_one_view_and_pastes_into_the_other(progress: float, toy_task: Task) -> None:
    class Forced(Moment):
        def beta(self, a: float, b: float, size: int | tuple[int, ...] = ()) -> Tensor:
            return torch.tensor(0.36)

        def uniform(self, low: float, high: float, size: int | tuple[int, ...] = ()) -> Tensor:
            return torch.tensor([0.1, 0.55])

    x, y = numbers(2, 2 * B, 3, 20, 20), labels_of(2 * B)
    method = make("glmc", toy_task)
    mixed, target = method.mix(x, y, Forced("train", progress, np.random.default_rng(0), CPU))
    torch.testing.assert_close(mixed[:B], 0.36 * x[0, :B] + 0.64 * x[0, B:])
    expected = x[1, :B].clone()  # a square of 16 pixels around row 2, column 11
    expected[:, :, 0:10, 3:19] = x[1, B:, :, 0:10, 3:19]
    assert torch.equal(mixed[B:], expected)
    torch.testing.assert_close(target, (0.36 * one_hot(y[:B]) + 0.64 * one_hot(y[B:])).repeat(2, 1))
    assert float(method.early) == pytest.approx(1 - progress**2)


# -- nested collaborative learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("distillation", "hard", "hard_weight"), [(0.6, 0.4, 1.0), (0.0, 1.0, 0.5), (0.3, 0.2, 0.0)])
def test_ncl_is_balanced_softmax_and_mutual_divergence_on_all_and_on_hard_classes(
    distillation: float, hard: float, hard_weight: float, toy_task: Task
) -> None:
    """As NIL_NBOD in lib/loss/loss.py computes it. Beside Bazinga699/NCL (f64fddb), on the same tensors in float64:
    value and gradients agree to 1e-9."""
    labels = labels_of(B).tolist()

    def reference(logits: Tensor) -> Tensor:
        whole = torch.zeros((), dtype=torch.float64)
        for i, y in enumerate(labels):
            rest = sorted((k for k in range(C) if k != y), key=lambda k: -float(logits[i, 0, k].detach()))
            chosen = {y, *rest[: max(1, round(hard * C)) - 1]}
            for masked, weight in ((False, 1.0), (True, hard_weight)):
                rows = []
                for z in logits[i]:
                    row = torch.stack([z[k] + math.log(n) for k, n in enumerate(COUNTS)])
                    rows.append(torch.stack([row[k] * float(not masked or k in chosen) for k in range(C)]))
                whole = whole + weight * sum(minus_log_softmax(row, y) for row in rows) / B
                p = [row.softmax(dim=0) for row in rows]
                for a in range(3):
                    for b in range(3):
                        if a != b:
                            apart = (p[b] * (torch.log(p[b]) - torch.log(p[a] + 1e-9))).sum()
                            whole = whole + distillation * apart / 2 / B
        return whole

    method = make("ncl", toy_task, distillation=distillation, hard=hard, hard_weight=hard_weight)
    target = one_hot(torch.tensor(labels))
    assert_equations(lambda z: method.loss(z, target, moment()), reference, [2 * numbers(B, 3, C)])


def test_ncl_gives_every_network_the_same_view(toy_task: Task) -> None:
    """As the authors' lib/core/function.py does (`[image] * network_num`)."""
    method = make("ncl", toy_task)
    model = model_of(method)
    next(iter(method.stages(model)))
    model.eval()
    x, target = method.mix(numbers(B, 1, 6, 6), labels_of(B), moment())
    found = method.forward(model, x, moment())
    assert (len(method.views), found.shape, target.shape) == (1, (B, 3, C), (B, C))
    first, *others = networks = list(model.backbone.get_submodule("backbone.stages").children())
    for i, network in enumerate(networks):
        torch.testing.assert_close(found[:, i], model.head.heads[i](network(x)))
    for other in others:
        assert not torch.equal(next(iter(first.parameters())), next(iter(other.parameters())))


# -- mean teacher -----------------------------------------------------------------------------------------------------


def test_mean_teacher_is_cross_entropy_and_the_squared_distance_of_probabilities(toy_task: Task) -> None:
    """Beside CuriousAI/mean-teacher (546348f), pytorch/mean_teacher/losses.py, on the same tensors in float64: value
    and gradients agree to 1e-15."""
    taught, labels = numbers(B, C, seed=8), labels_of(B).tolist()

    def reference(own: Tensor) -> Tensor:
        terms = [minus_log_softmax(z, y) for z, y in zip(own, labels, strict=True)]
        apart = (own.softmax(dim=1) - taught.double().softmax(dim=1)).pow(2).sum() / (B * C)
        return torch.stack(terms).mean() + 3.0 * apart

    target = one_hot(torch.tensor(labels)).repeat(2, 1)
    method = make("mean_teacher", toy_task)
    assert_equations(
        lambda z: method.loss((z, taught, torch.tensor(3.0)), target, moment()), reference, [some_logits(B)]
    )


@pytest.mark.parametrize(("progress", "expected"), [(0.0, math.exp(-5)), (0.1, math.exp(-1.25)), (0.2, 1), (0.9, 1)])
def test_mean_teachers_weight_rises(progress: float, expected: float, toy_task: Task) -> None:
    method = make("mean_teacher", toy_task, ramp=0.2)
    method.mix(numbers(2, B, 1, 6, 6), labels_of(B), moment(progress))
    assert float(method.weight) == pytest.approx(100 * expected)


# -- SHIKE ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hardest", "mutual"), [(10.0, 1.0), (0.0, 0.5), (1.0, 0.0)])
def test_shike_is_cross_entropy_excavation_and_mutual_divergence(hardest: float, mutual: float, toy_task: Task) -> None:
    """As mix_outputs in cifarTrain.py computes it. Beside jinyan-06/SHIKE (2b04b62), on the same tensors in float64:
    value and gradients agree to 1e-8."""
    labels = labels_of(B).tolist()

    def divergence(log_p: Tensor, q: Tensor) -> Tensor:
        return (q * (torch.log(q) - log_p)).sum() / (B * C)

    def reference(logits: Tensor) -> Tensor:
        whole = torch.zeros((), dtype=torch.float64)
        for i, y in enumerate(labels):
            mean = logits[i].mean(dim=0)
            hard = max((k for k in range(C) if k != y), key=lambda k: float(mean[k].detach()))
            wanted = torch.stack([
                0 * mean[k] if k == y else mean[k] if k == hard else logits[i, :, k].max() for k in range(C)
            ]).softmax(dim=0)  # fmt: skip
            for a in range(3):
                whole = whole + minus_log_softmax(logits[i, a], y) / B
                z = torch.stack([0 * mean[k] - 30 if k == y else logits[i, a, k] for k in range(C)])
                whole = whole + hardest * divergence(z.log_softmax(dim=0), wanted)
                for b in range(3):
                    if a != b:
                        log_p, q = logits[i, a].log_softmax(dim=0), logits[i, b].softmax(dim=0)
                        whole = whole + mutual * divergence(log_p, q)
        return whole

    method, target = make("shike", toy_task, hardest=hardest, mutual=mutual), one_hot(torch.tensor(labels))
    assert_equations(lambda z: method.loss(z, target, moment()), reference, [2 * numbers(B, 3, C)])


def test_shike_multiplies_an_earlier_stage_into_each_experts_features(toy_task: Task) -> None:
    method = make("shike", toy_task)
    torch.manual_seed(0)
    body = build_backbone("resnet20", (32, 32, 3))
    model, x = Classifier(body, method.head(64)), numbers(2, 3, 32, 32)
    first = next(iter(method.stages(model)))
    assert first.share == pytest.approx(0.9)
    model.eval()
    maps = model.backbone.get_submodule("backbone.blocks.0")
    one = maps.trunk[0](model.backbone.get_submodule("backbone.stem")(x))
    two = maps.trunk[1](one)
    assert [len(list(s.children())) for s in maps.shallow] == [5, 3, 5]  # two strided convolutions, one, two
    features = model.backbone(x)
    for i, shallow in enumerate((one, two, one)):
        expected = (maps.last[i](two) * maps.shallow[i](shallow)).mean(dim=(2, 3))
        torch.testing.assert_close(features[:, i], expected)


def test_shikes_second_part_trains_fresh_balanced_classifiers_alone() -> None:
    task = task_of(COUNTS)
    method = make("shike", task)
    model = model_of(method)
    stages = method.stages(model)
    next(stages)
    before = model.head
    optimizer = next(stages).optimizer
    assert model.head is not before
    assert [id(p) for g in optimizer.param_groups for p in g["params"]] == [id(p) for p in model.head.parameters()]
    now = Moment("classifiers", 0.5, np.random.default_rng(0), CPU)
    logits, target = numbers(B, 3, C), one_hot(labels_of(B))
    expected = sum(make("balanced_softmax", task).loss(z, target, now) for z in logits.unbind(1))
    torch.testing.assert_close(method.loss(logits, target, now), expected)


# -- label-aware smoothing --------------------------------------------------------------------------------------------


def test_label_aware_smoothing_is_mislas_second_stage(toy_task: Task) -> None:
    now, target = Moment("classifier", 0.5, np.random.default_rng(0), CPU), one_hot(labels_of(16))
    expected = make("mislas", toy_task).loss(some_logits(), target, now)
    assert make("label_aware_smoothing", toy_task).loss(some_logits(), target, now) == expected


def test_label_aware_smoothing_of_nothing_is_cross_entropy() -> None:
    values = {"smooth_head": 0.0, "smooth_tail": 0.0}
    np.testing.assert_array_equal(final_logits("label_aware_smoothing", **values), final_logits("ce"))


@pytest.mark.parametrize("name", [n for n in REGISTRY.names() if len(REGISTRY.get(n).views) > 1])
def test_methods_of_several_views_train_in_a_convolutional_network(name: str) -> None:
    model = trained(make(name, task_of(COUNTS)), backbone="cnn_small")
    assert all(torch.isfinite(p).all() for p in model.parameters())
