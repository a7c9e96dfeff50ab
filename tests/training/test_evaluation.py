"""The test pass: bit-equal in pieces, equal up to rounding where batch-norm is folded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltbench.data.loader import ImageBatches
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.spec import TrialSpec
from ltbench.training import evaluation
from ltbench.training.evaluation import folded, in_pieces, logits_of
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

NETWORKS: list[tuple[str, tuple[int, int, int]]] = [
    ("resnet20", (32, 32, 3)),
    ("cnn_small", (8, 8, 1)),
    ("resnet18", (64, 64, 3)),
    ("mobilenet_v3_small", (64, 64, 3)),
]


def trained(name: str, shape: tuple[int, int, int], steps: int = 3) -> Classifier:
    """After a few steps: weights and batch-norm statistics are no longer those of the start."""
    torch.manual_seed(0)
    backbone = build_backbone(name, shape)
    model = Classifier(backbone, nn.Linear(backbone.dim, 10)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(steps):
        loss = F.cross_entropy(model(images(32, shape) * 2 + 0.5), torch.arange(32) % 10)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def images(n: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.randn(n, shape[2], *shape[:2]).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "shape"), NETWORKS)
def test_a_batch_in_pieces_gives_the_bits_of_the_whole(name: str, shape: tuple[int, int, int], precision: str) -> None:
    backbone, x = trained(name, shape).backbone.eval(), images(128, shape)
    with torch.inference_mode(), evaluation.precision({"precision": precision}, x.device):
        assert torch.equal(in_pieces(backbone, {"precision": precision})(x), backbone(x))


@pytest.mark.parametrize(
    ("side", "precision", "n", "sizes"),
    [(32, "fp32", 128, [32] * 4), (32, "bf16", 128, [64] * 2), (32, "fp32", 70, [70]), (224, "fp32", 128, [16] * 8),
     (28, "fp32", 128, [32] * 4), (8, "fp32", 128, [128]), (32, "fp32", 16, [16])],
)  # fmt: skip
def test_pieces_have_16_images_at_least_and_no_remainder(side: int, precision: str, n: int, sizes: list[int]) -> None:
    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return x.flatten(1)

    seen: list[int] = []
    x = torch.randn(n, 1, side, side)
    assert torch.equal(in_pieces(Counts(), {"precision": precision})(x), x.flatten(1))
    assert seen == sizes


@pytest.mark.parametrize(("name", "shape"), NETWORKS)
def test_a_folded_network_is_the_network_up_to_rounding(name: str, shape: tuple[int, int, int]) -> None:
    model = trained(name, shape).eval()
    fast, x = folded(model.backbone), images(64, shape)
    norms = [m for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    left = [n for n in fast.graph.nodes if isinstance(_called(fast, n), nn.BatchNorm2d)]  # type: ignore[union-attr]
    assert norms
    assert not left
    with torch.no_grad():
        plain, fused = model(x), model.head(fast(x))
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    best = plain.topk(2, dim=1).values
    close = best[:, 0] - best[:, 1] < 1e-3 * plain.abs().max()
    assert torch.equal(fused.argmax(1)[~close], plain.argmax(1)[~close])


def _called(graph: Any, node: Any) -> Any:
    return graph.get_submodule(node.target) if node.op == "call_module" else None


def test_folding_leaves_the_network_alone() -> None:
    model = trained("resnet20", (32, 32, 3))
    before = copy.deepcopy(model.state_dict())
    folded(model.backbone)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(m.training for m in model.modules())


class Odd(nn.Module):
    """Structures in which a batch-norm must stay what it is."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=kind != "no statistics")

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        if self.kind == "read twice":
            return self.norm(out) + out  # type: ignore[no-any-return]
        if self.kind == "called twice":
            return self.norm(self.conv(out))  # type: ignore[no-any-return]
        if self.kind == "norm first":
            return self.conv(F.relu(self.norm(x)))  # type: ignore[no-any-return]
        return self.norm(out)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["read twice", "called twice", "norm first", "no statistics"])
def test_only_a_batch_norm_that_surely_follows_one_convolution_is_folded(kind: str) -> None:
    network = Odd(kind)
    if network.norm.running_mean is not None and network.norm.running_var is not None:
        network.norm.running_mean.uniform_(-1, 1)
        network.norm.running_var.uniform_(1, 4)
    network.eval()
    fast, x = folded(network), torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(fast(x), network(x))
    assert any(isinstance(m, nn.BatchNorm2d) for m in fast.modules())


def test_a_network_that_cannot_be_traced_is_used_as_it_is() -> None:
    class Decides(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    network = Decides()
    assert folded(network) is network


def test_curves_are_folded_and_the_test_pass_is_not(
    make_spec: Callable[..., TrialSpec], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[nn.Module] = []

    def note(backbone: nn.Module) -> nn.Module:
        made.append(backbone)
        return folded(backbone)

    monkeypatch.setattr(evaluation, "folded", note)
    monkeypatch.setattr(evaluation, "FOLD_FROM", 1)
    spec = make_spec("ce")
    plain = run_trial(spec, site)
    assert made == []
    watched = run_trial(replace(spec, curves="test"), site)
    assert len(made) == len(watched.curves["curve/test_balanced_accuracy"]) > 0
    assert watched.metrics == plain.metrics


def test_folded_logits_of_a_whole_set_are_the_plain_ones_up_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "FOLD_FROM", 1)
    model = trained("resnet20", (32, 32, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (150, 32, 32, 3), dtype=np.uint8)
    batches = ImageBatches(pixels, np.zeros(150, np.int64), (0.5,) * 3, (0.25,) * 3)
    plain, fast = (logits_of(model, batches, {"precision": "fp32"}, fold=fold) for fold in (False, True))
    np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-4 * np.abs(plain).max())
    assert not np.array_equal(fast, plain), "the batch-norm was not folded"
