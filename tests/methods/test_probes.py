"""Linear probes on a frozen tower: LP++ against its equations in float64, the class-balanced one, and their limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ltbench.api import Stage, Task
from ltbench.parts import Classifier
from tests.methods.made import COUNTS, images, make, moment, names_for, one_hot, some_logits, task_of, trained

C, N = len(COUNTS), sum(COUNTS)


class Given(nn.Module):
    """Features -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x


def features_of(dim: int) -> Tensor:
    """One per training image, not of unit length."""
    centres = torch.randn(C, dim, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(N, dim, generator=torch.Generator().manual_seed(2))
    return centres[torch.from_numpy(labels_of_all())] + 0.7 * noise + 0.5


def labels_of_all() -> Any:
    return np.repeat(np.arange(C), COUNTS).astype(np.int64)


def begun(**values: Any) -> tuple[Any, Classifier, Stage, Tensor]:
    """LP++ as it is when its probe begins, after a look at the features in three batches."""
    method = make("lp_plus_plus", task_of(COUNTS, names_for("lp_plus_plus")), **values)
    dim = method.task.text.shape[1]
    model, features = Classifier(Given(dim), method.head(dim)), features_of(dim)
    target = method.task.one_hot(torch.from_numpy(labels_of_all()))
    stages = method.stages(model)
    look = next(stages)
    assert (look.name, look.plain) == ("features", True)
    now = moment().__class__("features", 0.0, np.random.default_rng(0), torch.device("cpu"))
    for part in np.array_split(np.arange(N), 3):
        with torch.no_grad():
            method.loss(method.forward(model, features[part], now), target[part], now)
    return method, model, next(stages), features


@pytest.mark.parametrize(("shots", "blending"), [(16.0, 250.0), (4.0, 100.0)])
def test_lp_plus_plus_begins_where_the_features_say(shots: float, blending: float) -> None:
    """As linear_probe_p2.py: a class's prototype is the sum of its shots, which are as many as in any other (here
    `shots` times its mean); every share is 250 times the mean over classes of the mean cosine with their name."""
    method, model, _, features = begun(shots=shots, blending=blending)
    f = features.double() / features.double().norm(dim=1, keepdim=True)
    names, labels = method.task.text.double(), labels_of_all()
    cosines = []
    for k in range(C):
        own = f[torch.from_numpy(np.flatnonzero(labels == k))]
        expected = shots * torch.stack(list(own)).mean(dim=0)
        torch.testing.assert_close(model.head.get_parameter("prototypes")[k].double(), expected, rtol=1e-5, atol=1e-6)
        cosines.append(torch.stack([row @ names[k] for row in own]).mean())
    share = blending * torch.stack(cosines).mean()
    found = model.head.get_parameter("alpha").double()
    torch.testing.assert_close(found, share.expand(C), rtol=1e-5, atol=1e-6)


def test_lp_plus_plus_steps_as_far_as_the_gradients_allow() -> None:
    """Proposition 2 with equation 13, as in the code: 4 N over the largest eigenvalue of F'F, and N over four times the
    largest sum of squared cosines with a name. Beside FereshteShakeri/FewShot-CLIP-Strong-Baseline (f81054f),
    methods/linear_probe_p2.py, on the same features: both rates agree to 1e-15."""
    method, _, stage, features = begun()
    f = (features.double() / features.double().norm(dim=1, keepdim=True)).numpy()
    largest = np.linalg.svd(f, compute_uv=False)[0] ** 2
    steepest = max(sum((row @ t) ** 2 for row in f) for t in method.task.text.double().numpy())
    assert stage.optimizer is not None
    prototypes, shares = stage.optimizer.param_groups
    assert prototypes["lr"] == pytest.approx(4 * N / largest, rel=1e-4)
    assert shares["lr"] == pytest.approx(N / (4 * steepest), rel=1e-4)
    assert (prototypes["momentum"], shares["momentum"]) == (0.9, 0)


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_its_loss_and_gradients_are_those_of_the_equations(tau: float) -> None:
    method, model, _, features = begun(tau=tau)
    x, y = features[::7], labels_of_all()[::7]
    w = (0.3 * torch.randn(C, x.shape[1], generator=torch.Generator().manual_seed(4))).double()
    alpha = torch.linspace(1, 3, C).double()
    with torch.no_grad():
        model.head.get_parameter("prototypes").copy_(w)
        model.head.get_parameter("alpha").copy_(alpha)
    w.requires_grad_(), alpha.requires_grad_()
    names, terms = method.task.text.double(), []
    for row, label in zip(x.double(), y, strict=True):
        f = row / row.norm()
        logits = [f @ (w[k] + alpha[k] * names[k]) + tau * np.log(COUNTS[k] / N) for k in range(C)]
        terms.append(torch.logsumexp(torch.stack(logits), 0) - logits[label])
    expected = torch.stack(terms).mean()
    expected.backward()
    found = method.loss(model(x), method.task.one_hot(torch.from_numpy(y)), moment())
    found.backward()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    for parameter, exact in ((model.head.get_parameter("prototypes"), w), (model.head.get_parameter("alpha"), alpha)):
        assert parameter.grad is not None
        assert exact.grad is not None
        torch.testing.assert_close(parameter.grad.double(), exact.grad, rtol=1e-3, atol=1e-6)


def test_shares_move_every_tenth_step_alone() -> None:
    method, model, stage, features = begun(every=3)
    target, head = method.task.one_hot(torch.from_numpy(labels_of_all())), model.head
    moved = []
    for _ in range(7):
        before = {name: p.detach().clone() for name, p in head.named_parameters()}

        def gradients() -> Tensor:
            stage.optimizer.zero_grad()
            loss = method.loss(model(features), target, moment())
            loss.backward()
            return loss.detach()

        method.step(gradients, stage.optimizer, moment())
        moved.append([not torch.equal(p, before[name]) for name, p in head.named_parameters()])
    assert [shares for _, shares in sorted((i, m[1]) for i, m in enumerate(moved))] == [False, False, True] * 2 + [
        False
    ]
    assert all(prototypes for prototypes, _ in moved)


def test_without_prototypes_and_steps_it_is_the_class_names_vote() -> None:
    method, model, _, features = begun(shots=0.0)
    logits = model(features)
    cosines = nn.functional.normalize(features, dim=1) @ method.task.text.T
    assert torch.equal(logits.argmax(dim=1), cosines.argmax(dim=1))


def test_lp_plus_plus_leaves_the_backbone_alone_and_learns() -> None:
    task = task_of(COUNTS, names_for("lp_plus_plus"))
    model = trained(make("lp_plus_plus", task), epochs=4.0)
    torch.manual_seed(0)
    plain = trained(make("clip_zero_shot", task))
    for (name, one), (_, two) in zip(model.backbone.named_parameters(), plain.backbone.named_parameters(), strict=True):
        assert torch.equal(one, two), name


def test_the_loss_of_tau_0_is_cross_entropy() -> None:
    task: Task = task_of(COUNTS, names_for("lp_plus_plus"))
    target = one_hot(torch.arange(16) % 5)
    plain = make("ce", task).loss(some_logits(), target, moment())
    torch.testing.assert_close(make("lp_plus_plus", task).loss(some_logits(), target, moment()), plain)


def test_the_balanced_probe_trains_the_head_on_equal_classes() -> None:
    task = task_of(COUNTS)
    method = make("clip_balanced_probe", task)
    model = trained(method)
    (stage,) = method.stages(model)
    np.testing.assert_allclose(stage.class_probs, np.full(C, 1 / C))
    trained_ids = {id(p) for group in stage.optimizer.param_groups for p in group["params"]}
    assert trained_ids == {id(p) for p in model.head.parameters()}
    (half,) = make("clip_balanced_probe", task, power=0.5).stages(model)
    np.testing.assert_allclose(half.class_probs, np.sqrt(COUNTS) / np.sqrt(COUNTS).sum())


def test_the_balanced_probe_of_power_1_draws_as_the_data_are() -> None:
    (stage,) = make("clip_balanced_probe", task_of(COUNTS), power=1.0).stages(trained(make("ce", task_of(COUNTS))))
    np.testing.assert_allclose(stage.class_probs, np.array(COUNTS) / N)
    assert len(images()[1]) == N
