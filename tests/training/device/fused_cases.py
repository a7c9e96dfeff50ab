"""What test_fused.py runs in a process of its own, under Triton's interpreter: the kernels as they are, on a CPU."""

from __future__ import annotations

import copy
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

from ltbench.errors import UserError
from ltbench.models import build_backbone
from ltbench.parts import Classifier
from ltbench.registry import Registry
from ltbench.training import madeup
from ltbench.training.checkpoints.checkpoint import Checkpoints, Stopped
from ltbench.training.device import fused, fused_kernels
from ltbench.training.device.compiled import compiled
from ltbench.training.device.fused import fuse, normalised
from ltbench.training.device.fused_kernels import Tiles
from ltbench.training.evaluation import folded
from ltbench.training.graph.use import GraphUse

CPU = torch.device("cpu")
SMALL = Tiles(numbers=256, programs=4, columns=16)
"""Several programs, several tiles in each, and several parts of the columns, on tables that are small."""
SHAPES = [(4, 16, 8, 8), (3, 5, 7, 9), (2, 72, 4, 4), (40, 1, 3, 3), (33, 24, 1, 1)]
KINDS = [(True, True), (False, True), (False, False)]
"""Whether something is added, and whether there is a ReLU."""
SOME = [
    (SHAPES[0], torch.bfloat16, KINDS[0]), (SHAPES[2], torch.float32, KINDS[1]), (SHAPES[4], torch.float32, KINDS[2]),
]  # fmt: skip
ALL = [(shape, dtype, kind) for shape in SHAPES for dtype in (torch.float32, torch.bfloat16) for kind in KINDS]
nightly = pytest.mark.nightly


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(fused_kernels, "TILES", SMALL)


class Case:
    """Inputs, and what comes of them in a precision.

    Args:
        mean: of the inputs; their deviation is 1 and more.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, *, added: bool, relu: bool, mean: float = 0.5):
        rng, channels = torch.Generator().manual_seed(sum(shape)), shape[1]
        x = torch.randn(shape, generator=rng) * (1 + torch.rand(channels, 1, 1, generator=rng)) + mean
        self.relu, self.given = relu, [x, torch.randn(shape, generator=rng)] if added else [x]
        self.given = [t.to(dtype).contiguous(memory_format=torch.channels_last) for t in self.given]
        self.up = torch.randn(shape, generator=rng).to(dtype)
        self.norm = nn.BatchNorm2d(channels)
        for tensor in (*self.norm.parameters(), *self.norm.buffers()):
            if tensor.is_floating_point():
                tensor.data.copy_(torch.rand(tensor.shape, generator=rng) + 0.2)

    def outcome(self, dtype: torch.dtype, *, fuse: bool) -> dict[str, Tensor]:
        """Output, gradients and running statistics, computed in this precision from the same numbers."""
        norm = copy.deepcopy(self.norm)
        norm = norm.double() if dtype == torch.float64 else norm
        given = [t.detach().to(dtype).requires_grad_() for t in self.given]
        if fuse:
            y = normalised(norm, *given, relu=self.relu)
            assert type(y.grad_fn).__name__ == "_FusedBackward"
        else:
            y = norm(given[0])
            y = y + given[1] if len(given) > 1 else y
            y = F.relu(y) if self.relu else y
        y.backward(self.up.to(dtype))  # type: ignore[no-untyped-call]
        assert y.is_contiguous(memory_format=torch.channels_last)
        found = {"y": y, "weight": norm.weight.grad, "bias": norm.bias.grad, "count": norm.num_batches_tracked}
        found |= {name: getattr(norm, name) for name in ("running_mean", "running_var")}
        found |= {f"given {i}": t.grad for i, t in enumerate(given)}
        assert all(value is not None for value in found.values())
        return {name: value.detach().double() for name, value in found.items() if value is not None}


def worst(found: dict[str, Tensor], right: dict[str, Tensor]) -> dict[str, float]:
    return {name: float((found[name] - value).abs().max() / value.abs().max()) for name, value in right.items()}


@pytest.mark.parametrize(("shape", "dtype", "kind"), [*SOME, *(pytest.param(*c, marks=nightly) for c in ALL)])
def test_it_is_no_further_from_the_formula_than_torchs_operations(
    shape: tuple[int, ...], dtype: torch.dtype, kind: tuple[bool, bool]
) -> None:
    """The formula: torch's operations in double precision."""
    case = Case(shape, dtype, added=kind[0], relu=kind[1])
    right = case.outcome(torch.float64, fuse=False)
    ours, torchs = (worst(case.outcome(dtype, fuse=way), right) for way in (True, False))
    # A few roundings of the largest number; to bfloat16 the interpreter cuts off where a GPU rounds.
    floor = {torch.float32: 1e-6, torch.bfloat16: 8e-3}[dtype]
    assert all(ours[name] <= max(floor, 1.5 * torchs[name]) for name in right), (ours, torchs)


@pytest.mark.parametrize(
    "tiles", [Tiles(512, 1, 32), *(pytest.param(t, marks=nightly) for t in (Tiles(), Tiles(64, 64, 4)))]
)
def test_however_the_work_is_shared_out(tiles: Tiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_kernels, "TILES", tiles)
    case = Case((6, 20, 5, 7), torch.float32, added=True, relu=True)
    right = case.outcome(torch.float64, fuse=False)
    assert max(worst(case.outcome(torch.float32, fuse=True), right).values()) < 2e-6


def test_a_large_mean_costs_no_digits_of_the_variance() -> None:
    case = Case((8, 6, 8, 8), torch.float32, added=False, relu=True, mean=3000.0)
    right = case.outcome(torch.float64, fuse=False)
    found = worst(case.outcome(torch.float32, fuse=True), right)
    assert found["running_var"] < 1e-5
    assert found["y"] < 1e-3, "3000 has so many digits in float32"


def test_what_is_no_number_stays_none() -> None:
    """A training that diverges is to be seen."""
    case = Case((2, 3, 4, 4), torch.float32, added=True, relu=True)
    case.given[0][0, 1, 2, 2] = float("nan")
    case.given[1][1, 2, 0, 0] = float("nan")
    y = case.outcome(torch.float32, fuse=True)["y"]
    assert y[:, 1].isnan().all()
    assert y[1, 2, 0, 0].isnan()
    assert y.isnan().sum() == 2 * 16 + 1


def test_only_what_needs_a_gradient_gets_one() -> None:
    case = Case((2, 3, 4, 4), torch.float32, added=True, relu=True)
    frozen = case.norm.requires_grad_(False)
    x, residual = case.given[0].requires_grad_(), case.given[1]
    normalised(frozen, x, residual).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert frozen.weight.grad is None
    assert residual.grad is None


def test_other_batch_norms_and_images_go_torchs_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_Fused", None)
    x = torch.randn(4, 2, 3, 3)

    class Own(nn.BatchNorm2d):
        pass

    heard = nn.BatchNorm2d(2)
    heard.register_forward_hook(lambda module, given, out: None)
    kinds = [Own(2), nn.BatchNorm2d(2, affine=False), nn.BatchNorm2d(2, track_running_stats=False)]
    kinds += [nn.BatchNorm2d(2, momentum=None), nn.BatchNorm2d(2).eval(), heard]
    for norm in kinds:
        plain = copy.deepcopy(norm)
        assert torch.equal(normalised(norm, x, x), F.relu(plain(x) + x))
    assert normalised(nn.BatchNorm2d(2).double(), x.double()).dtype == torch.float64
    assert normalised(nn.BatchNorm2d(2), x.bfloat16(), x).dtype == torch.float32
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        normalised(nn.BatchNorm2d(2), torch.randn(1, 2, 1, 1))


NETWORKS = {
    "resnet20": lambda: build_backbone("resnet20", (8, 8, 3)),
    "cnn_small": lambda: build_backbone("cnn_small", (8, 8, 3)),
    "torchvision, basic": lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3),
    "torchvision, bottleneck": lambda: ResNet(Bottleneck, [1, 1, 1, 1], num_classes=3),
}
PLACES = {"resnet20": 10, "cnn_small": 1, "torchvision, basic": 8, "torchvision, bottleneck": 9}
"""Blocks, beginnings and projections."""


@pytest.mark.parametrize("name", ["resnet20", *(pytest.param(n, marks=nightly) for n in list(NETWORKS)[1:])])
def test_a_network_trains_as_before_and_keeps_its_state(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(fused_kernels, "TILES", Tiles(numbers=1 << 14, columns=512))  # fewer programs, sooner done
    plain = NETWORKS[name]().double()
    ours = copy.deepcopy(plain).float().to(memory_format=torch.channels_last)
    assert fuse(ours) == fuse(ours) == PLACES[name]
    assert fuse(copy.deepcopy(ours)) == PLACES[name], "a copy, such as a teacher"
    calls, kernel = count(), fused_kernels.forward
    monkeypatch.setattr(fused, "_forward", lambda *given: (next(calls), kernel(*given))[1])
    x = torch.randn(6, 3, 16, 16)
    out, right = ours(x), plain(x.double())
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in ours.modules())
    assert next(calls) == norms, "every batch-norm of the network"
    (out.square().mean()).backward()
    (right.square().mean()).backward()
    for (_, a), (key, b) in zip(ours.named_parameters(), plain.named_parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert (a.grad - b.grad).abs().max() <= 2e-3 * b.grad.abs().max() + 1e-9, key
    assert list(ours.state_dict()) == list(plain.state_dict())
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key].double(), value.double(), rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_test_pass_is_torchs(name: str) -> None:
    torch.manual_seed(0)
    plain = NETWORKS[name]().eval()
    ours, x = copy.deepcopy(plain), torch.randn(2, 3, 16, 16)
    fuse(ours)
    with torch.no_grad():
        assert torch.equal(ours(x), plain(x))
        assert torch.equal(folded(ours)(x), folded(plain)(x)), "with batch-norm in the convolutions, for curves"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_kernels, "TILES", Tiles(numbers=1 << 14))
    monkeypatch.setitem(madeup.RECIPE, "epochs", 1.5)
    monkeypatch.setitem(madeup.RECIPE, "compile", "fused")


def trained(name: str, *, precision: str = "fp32", **how: Any) -> tuple[list[float], dict[str, Tensor]]:
    """The mean losses of a short training, and the state after it."""
    torch.manual_seed(0)
    method, losses = Registry().get(name)(madeup.task_for(Registry().get(name))), list[float]()
    layers = nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
    model = Classifier(nn.Sequential(*layers, nn.Flatten()), method.head(16))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if "checkpoints" in how:
        how["checkpoints"].begin(losses=losses)
    madeup.train_on_it(method, model, precision=precision, watch=lambda epochs, loss: losses.append(loss), **how)
    return losses, model.state_dict()


def same(a: tuple[list[float], dict[str, Tensor]], b: tuple[list[float], dict[str, Tensor]]) -> bool:
    return a[0] == b[0] and all(torch.equal(value, b[1][name]) for name, value in a[1].items())


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=nightly)])
def test_a_training_has_the_plain_ones_losses_and_can_be_recorded(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, graphs = trained("ce", precision=precision), GraphUse.emulated()
    assert same(once, trained("ce", precision=precision, graphs=graphs)), "to the bit"
    assert graphs.told() == "graph"
    monkeypatch.setitem(madeup.RECIPE, "compile", "none")
    losses, _ = trained("ce", precision=precision)
    assert once[0] != losses
    assert once[0] == pytest.approx(losses, rel=2e-2 if precision == "bf16" else 1e-3)


@nightly
@pytest.mark.usefixtures("short")
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, asked = trained("ce"), count(1)
    with pytest.raises(Stopped):
        trained("ce", checkpoints=Checkpoints(tmp_path, seconds=1e9, stop=lambda: next(asked) == 9))
    again = Checkpoints(tmp_path, seconds=1e9)
    assert same(trained("ce", checkpoints=again), whole)
    assert again.resumed == 1


def test_a_network_without_anything_to_fuse_is_told_of() -> None:
    with pytest.raises(UserError, match=r"recipe\.compile: `fused` finds nothing to fuse in mlp.*leave `compile` out"):
        compiled(build_backbone("mlp", (8, 8, 1)), {"compile": "fused", "backbone": "mlp"}, CPU)
