"""A leaner network gives the numbers of the network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from ltbench.models import build_backbone
from ltbench.training.graph.lean import Lean


def network() -> nn.Module:
    torch.manual_seed(0)
    backbone = build_backbone("resnet20", (12, 12, 3))
    head = nn.Linear(backbone.dim, 3)
    return nn.Sequential(backbone, head).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload,no-any-return]


def results(model: nn.Module) -> list[Tensor]:
    """Gradients, weights and statistics."""
    return [t.detach().clone() for t in (*(p.grad for p in model.parameters() if p.grad is not None), *model.buffers())]


def passed(model: nn.Module, x: Tensor, dtype: torch.dtype, times: int = 1) -> None:
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        out = sum(model(x) for _ in range(times))
    assert isinstance(out, Tensor)
    out.float().square().mean().backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("times", [1, 2])
def test_gradients_and_statistics_are_equal_to_the_bit(dtype: torch.dtype, times: int) -> None:
    """Also where the network runs twice in one pass, as on two views of an image."""
    plain, x = network(), torch.randn(5, 3, 12, 12).to(memory_format=torch.channels_last)
    leaner = copy.deepcopy(plain)
    passed(plain, x, dtype, times)
    with Lean(leaner) as lean:
        passed(leaner, x, dtype, times)
    lean.settle()
    assert all(torch.equal(a, b) for a, b in zip(results(plain), results(leaner), strict=True))
    assert {name: type(m) for name, m in plain.named_modules()} == {n: type(m) for n, m in leaner.named_modules()}
    assert all(vars(a).keys() == vars(b).keys() for a, b in zip(plain.modules(), leaner.modules(), strict=True))


def test_convolutions_that_somebody_listens_to_stay_as_they_are() -> None:
    class Own(nn.Conv2d):
        pass

    kinds = nn.Sequential(
        Own(3, 4, 3, bias=False), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, bias=False, padding="same"),
        nn.Conv2d(4, 4, 3, bias=False, padding=1, padding_mode="reflect"),
    )  # fmt: skip
    heard: list[int] = []
    listened = nn.Conv2d(4, 4, 3, bias=False)
    listened.register_forward_hook(lambda *_: heard.append(1))
    frozen = nn.Conv2d(4, 4, 3, bias=False).requires_grad_(False)
    model = nn.Sequential(kinds, listened, frozen)
    before = [type(m) for m in model.modules()]
    with Lean(model):
        assert [type(m) for m in model.modules()] == before
        model(torch.zeros(1, 3, 16, 16))
    assert heard == [1]
