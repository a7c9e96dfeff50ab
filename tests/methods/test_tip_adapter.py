"""Tip-Adapter against its equations in float64, and its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from ltbench.parts import CosineHead
from tests.methods.made import COUNTS, make, names_for, task_of, trained
from tests.methods.made import images as pictures

C = len(COUNTS)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("alpha", "beta", "shots"), [(1.0, 5.5, 16), (3.0, 1.0, 2), (0.5, 10.0, 1000)])
def test_the_vote_is_equations_3_to_6(alpha: float, beta: float, shots: int) -> None:
    """Beside the lines of gaopengcuhk/Tip-Adapter (d0e2d6f), main.py, on the same tensors in float64: value and
    gradients agree to 1e-15."""
    names = names_for("tip_adapter")
    method = make("tip_adapter", task_of(COUNTS, names), alpha=alpha, beta=beta, shots=shots)
    model = trained(method)
    x, labels = pictures()
    pixels = ((torch.from_numpy(x).float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)
    raw = model.backbone.eval()(pixels)
    features = nn.functional.normalize(raw, dim=1).double()
    chosen = [i for c in range(C) for i in np.flatnonzero(labels == c)[:shots]]
    kept = model.head.get_buffer("classes").sum(dim=0)
    assert kept.tolist() == [min(n, shots) for n in COUNTS]
    found = model(pixels[:12])
    plain = model.head.get_submodule("names")(raw[:12]).double()
    for i, (f, row) in enumerate(zip(features[:12], found.double(), strict=True)):
        votes = torch.zeros(C, dtype=torch.float64)
        for j in chosen:
            votes[labels[j]] += math.exp(-beta * (1 - float((f @ features[j]).detach())))
        torch.testing.assert_close(row, plain[i] + alpha * votes, rtol=1e-4, atol=1e-3)


def test_without_a_vote_it_is_zero_shot() -> None:
    task = task_of(COUNTS, names_for("tip_adapter"))
    found, zero = trained(make("tip_adapter", task, alpha=0.0)), trained(make("clip_zero_shot", task))
    x = normal(0, 9, 1, 6, 6)
    assert torch.equal(found.eval()(x), zero.eval()(x))


def test_the_second_one_trains_the_keys_alone() -> None:
    task = task_of(COUNTS, names_for("tip_adapter"))
    plain, trained_keys = (trained(make(name, task)).state_dict() for name in ("tip_adapter", "tip_adapter_f"))
    changed = {name for name, value in plain.items() if not torch.equal(value, trained_keys[name])}
    assert changed == {"head.keys"}


def test_a_cache_of_right_images_puts_their_class_first() -> None:
    from ltbench.methods.tip_adapter import Cache

    keys = nn.functional.normalize(normal(1, C, 8), dim=1)
    cache = Cache(CosineHead(8, C, 0.0), keys, torch.eye(C), 1.0, 5.5)
    assert torch.equal(cache(keys).argmax(dim=1), torch.arange(C))
