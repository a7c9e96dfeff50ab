"""Methods that change a step: the update, not the loss."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ltbench.api import Method
from ltbench.data.loader import ImageBatches
from ltbench.parts import Classifier
from ltbench.training.evaluation import logits_of
from tests.methods.made import COUNTS, RECIPE, REGISTRY, images, make, moment, task_of, trained


def weights_of(name: str, backbone: str = "cnn_small", **values: Any) -> dict[str, Tensor]:
    """All weights and statistics after a short training."""
    return trained(make(name, task_of(COUNTS), **values), backbone).state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("name", "off"), [("sam", {"rho": 0.0}), ("ema", {"decay": 0.0})])
@pytest.mark.parametrize("backbone", ["mlp", "cnn_small", "vit_small"])
def test_switched_off_it_is_cross_entropy_to_the_bit(name: str, off: dict[str, Any], backbone: str) -> None:
    assert same(weights_of(name, backbone, **off), weights_of("ce", backbone))
    assert not same(weights_of(name, backbone), weights_of("ce", backbone))


# -- SAM --------------------------------------------------------------------------------------------------------------


def quadratic() -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(3)
    return nn.Linear(4, 3).double(), torch.randn(6, 4).double(), torch.randn(6, 3).double()


def loss_at(weights: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    return ((x @ weights[0].T + weights[1] - y) ** 2).mean() + 0.1 * (x @ weights[0].T).exp().mean()


@pytest.mark.parametrize("rho", [0.05, 0.5, 2.0])
def test_sam_is_algorithm_1_in_float64(rho: float) -> None:
    """w <- w - lr * grad L(w + rho * g / |g|), g = grad L(w), the norm over all weights together. Beside davda54/sam
    (3c3afdb), sam.py: after three steps of the same SGD in float64 weights agree to 2e-14."""
    layer, x, y = quadratic()
    weights = [w.detach().clone().requires_grad_() for w in layer.parameters()]
    for _ in range(5):
        g = torch.autograd.grad(loss_at(weights, x, y), weights)
        norm = sum(float((v**2).sum()) for v in g) ** 0.5
        there = [(w + rho * v / norm).detach().requires_grad_() for w, v in zip(weights, g, strict=True)]
        slope = torch.autograd.grad(loss_at(there, x, y), there)
        weights = [(w - 0.1 * v).detach().requires_grad_() for w, v in zip(weights, slope, strict=True)]

    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    method = make("sam", task_of(COUNTS), rho=rho)
    next(iter(method.stages(Classifier(layer, nn.Identity()))))

    def gradients() -> Tensor:
        optimizer.zero_grad()
        loss = loss_at(list(layer.parameters()), x, y)
        loss.backward()
        return loss.detach()

    for _ in range(5):
        before = [w.detach().clone() for w in layer.parameters()]
        assert method.step(gradients, optimizer, moment()) == loss_at(before, x, y), "the loss before the climb"
    for found, expected in zip(layer.parameters(), weights, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_sam_bears_a_gradient_of_zero() -> None:
    layer = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    method = make("sam", task_of(COUNTS))
    next(iter(method.stages(Classifier(layer, nn.Identity()))))
    before = copy.deepcopy(layer.state_dict())

    def gradients() -> Tensor:
        optimizer.zero_grad()
        loss = 0.0 * layer(torch.ones(1, 2)).sum()
        loss.backward()
        return loss.detach()

    method.step(gradients, optimizer, moment())
    assert same(layer.state_dict(), before)


def test_sam_leaves_batch_norm_the_statistics_of_the_first_pass() -> None:
    class Counted(REGISTRY.get("sam")):  # type: ignore[misc]
        """Notes the statistics after each pass."""

        def step(self, gradients: Any, optimizer: Any, now: Any) -> Tensor:
            noted: list[dict[str, Tensor]] = []

            def watched() -> Tensor:
                loss: Tensor = gradients()
                noted.append({k: v.clone() for k, v in self.model.named_buffers()})
                return loss

            loss: Tensor = super().step(watched, optimizer, now)
            assert len(noted) == 2
            assert same(noted[0], dict(self.model.named_buffers()))
            assert not same(noted[0], noted[1])
            return loss

    trained(Counted(task_of(COUNTS)), "cnn_small", epochs=0.5)


def test_sam_composes_with_a_loss() -> None:
    class SamBalanced(REGISTRY.get("sam"), REGISTRY.get("balanced_softmax")):  # type: ignore[misc]
        """Both."""

    both = trained(SamBalanced(task_of(COUNTS), rho=0.0), "mlp").state_dict()
    assert same(both, weights_of("balanced_softmax", "mlp"))


# -- averaged weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.6, 0.9])
def test_ema_ends_in_the_average_of_the_plain_trainings_weights(decay: float) -> None:
    class Noted(Method):
        """Cross-entropy that notes its weights before the first and after every step."""

        def stages(self, model: Classifier) -> Any:
            self.model = model
            self.states = [{k: v.double().clone() for k, v in model.state_dict().items()}]
            yield from super().stages(model)

        def step(self, gradients: Any, optimizer: Any, now: Any) -> Tensor:
            loss = super().step(gradients, optimizer, now)
            self.states.append({k: v.double().clone() for k, v in self.model.state_dict().items()})
            return loss

    noted = Noted(task_of(COUNTS))
    trained(noted, "cnn_small")
    average = noted.states[0]
    for t, state in enumerate(noted.states[1:], start=1):
        alpha = min(1 - 1 / (t + 1), decay)
        average = {k: alpha * average[k] + (1 - alpha) * v for k, v in state.items()}
    found = weights_of("ema", decay=decay)
    for name, value in found.items():
        expected = average[name] if value.is_floating_point() else noted.states[-1][name]
        torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)


# -- nearest class means ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["centred", "normalised", "plain"])
@pytest.mark.parametrize("backbone", ["mlp", "cnn_small"])
def test_ncm_classifies_by_the_distance_to_the_means_of_plain_training_features(features: str, backbone: str) -> None:
    """Beside facebookresearch/classifier-balancing (f162ade), models/KNNClassifier.py, on the same features and means:
    logits agree to 1e-15."""
    model = trained(make("ncm", task_of(COUNTS), features=features), backbone)
    plain = trained(make("ce", task_of(COUNTS)), backbone)
    assert same(model.backbone.state_dict(), plain.backbone.state_dict()), "the representation is ce's"
    x, labels = images()
    made = ImageBatches(x, labels, (0.5,), (0.25,))
    body = plain.backbone.eval()
    with torch.no_grad():
        z = torch.cat([body(part) for part in made.in_order(50)]).double().numpy()
    if features == "centred":
        z = z - z.mean(axis=0)
    if features != "plain":
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
    means = np.stack([z[labels == c].mean(axis=0) for c in range(5)])
    distances = ((z[:, None, :] - means[None]) ** 2).sum(axis=2)
    found = logits_of(model, made, RECIPE)
    np.testing.assert_allclose(found, -distances, rtol=1e-3, atol=1e-3)
    assert (found.argmax(axis=1) == distances.argmin(axis=1)).mean() > 0.99
