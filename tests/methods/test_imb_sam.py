"""ImbSAM's step against its equations in float64, and its limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltbench.parts import Classifier
from tests.methods.made import COUNTS, labels_of, make, moment, one_hot, task_of

B, C = 24, len(COUNTS)


class Given(nn.Module):
    dim = 7

    def forward(self, x: Tensor) -> Tensor:
        return x


def stepped(name: str, **values: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights before and after a step of SGD with rate 1, and the images and labels of it."""
    method = make(name, task_of(COUNTS), **values)
    torch.manual_seed(0)
    model = Classifier(Given(), nn.Linear(7, C, bias=False))
    list(method.stages(model))
    x, y = torch.randn(B, 7, generator=torch.Generator().manual_seed(1)), labels_of(B)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = model.head.weight.detach().clone()

    def gradients() -> Tensor:
        optimizer.zero_grad()
        loss = method.loss(model(x), one_hot(y), moment())
        loss.backward()
        return torch.as_tensor(loss.detach())

    method.step(gradients, optimizer, moment())
    return before, model.head.weight.detach().clone(), x, y


@pytest.mark.parametrize(("rho", "eta", "rare_weight"), [(0.05, 20, 2.0), (0.5, 100, 1.0)])
def test_the_rare_classes_gradient_is_taken_at_their_worst_weights_nearby(
    rho: float, eta: int, rare_weight: float
) -> None:
    """Beside cool-xuan/Imbalanced_SAM (c65f41e), imbsam.py and utils/trainval.py: after three steps of the same SGD in
    float64 weights agree to 1e-15."""
    before, after, x, y = stepped("imb_sam", rho=rho, eta=eta, rare_weight=rare_weight)
    rare = [COUNTS[label] < eta for label in y.tolist()]
    assert 0 < sum(rare) < B

    def slope(weights: Tensor, of_rare: bool) -> Tensor:
        w = weights.double().requires_grad_()
        terms = [torch.logsumexp(w @ row, 0) - (w @ row)[label]
                 for row, label, is_rare in zip(x.double(), y, rare, strict=True) if is_rare is of_rare]  # fmt: skip
        (grad,) = torch.autograd.grad(torch.stack(terms).sum() / B, w)
        return grad

    own = slope(before, True)
    expected = slope(before, False) + rare_weight * slope(before.double() + rho * own / own.norm(), True)
    torch.testing.assert_close((before - after).double(), expected, rtol=1e-4, atol=1e-6)


def test_with_rho_0_it_is_a_plain_step() -> None:
    _, after, _, _ = stepped("imb_sam", rho=0.0, rare_weight=1.0)
    torch.testing.assert_close(after, stepped("ce")[1])


def test_without_rare_classes_it_is_a_plain_step() -> None:
    torch.testing.assert_close(stepped("imb_sam", eta=0)[1], stepped("ce")[1])


def test_where_all_classes_are_rare_it_is_sam() -> None:
    torch.testing.assert_close(stepped("imb_sam", eta=1000, rare_weight=1.0)[1], stepped("sam")[1])
