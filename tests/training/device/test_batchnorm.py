"""Batch-norm as one operator: the numbers of torch's own, compiled or not, and nothing else of the network changes."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator

import pytest
import torch
import torch._dynamo
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ltbench.models import build_backbone
from ltbench.training.device.batchnorm import WholeBatchNorm2d, keep_whole
from ltbench.training.device.compiled import compiled
from ltbench.training.evaluation import folded

CPU = torch.device("cpu")
has_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for the CPU with g++")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile in this process, and leave torch's settings and caches as they were."""
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    torch._dynamo.reset()
    with torch._dynamo.config.patch():
        yield
    torch._dynamo.reset()


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    backbone = build_backbone("cnn_small", (8, 8, 1)).to(memory_format=torch.channels_last)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return backbone


def trained(net: nn.Module, run: Callable[[Tensor], Tensor], *, bf16: bool) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of some steps, and the state after them."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(4):
        x = torch.randn(16, 1, 8, 8, generator=generator)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = run(x).float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses, net.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("bf16", [False, True])
def test_it_trains_bit_for_bit_like_torchs(bf16: bool) -> None:
    plain, whole = network(), network()
    keep_whole(whole)
    assert sum(type(module) is WholeBatchNorm2d for module in whole.modules()) > 1
    losses, state = trained(plain, plain, bf16=bf16)
    losses_whole, state_whole = trained(whole, whole, bf16=bf16)
    assert losses_whole == losses
    assert same(state_whole, state), "weights, running statistics and the count of batches"
    x = torch.randn(5, 1, 8, 8)
    assert torch.equal(whole.eval()(x), plain.eval()(x))


def test_its_gradients_are_those_of_the_formula() -> None:
    """Against autograd through mean and variance written out, in double precision."""
    layer = nn.BatchNorm2d(3).double()
    nn.init.normal_(layer.weight)
    keep_whole(layer)
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    up = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    got = torch.autograd.grad((layer(x) * up).sum(), [x, layer.weight, layer.bias])
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    written = (x - mean) / (var + layer.eps).sqrt() * layer.weight.view(1, 3, 1, 1) + layer.bias.view(1, 3, 1, 1)
    wanted = torch.autograd.grad((written * up).sum(), [x, layer.weight, layer.bias])
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@has_compiler
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
@pytest.mark.usefixtures("alone")
def test_compiled_it_is_still_torchs_kernel() -> None:
    """Alone it has the kernel's bits, forward and backward; the compiler's own batch-norm has others. In a network
    that trains, the statistics are updated as they are without a compiler."""
    torch.manual_seed(0)
    x, up = torch.randn(64, 8, 16, 16), torch.randn(64, 8, 16, 16)
    x, up = (t.contiguous(memory_format=torch.channels_last) for t in (x, up))

    def through(run: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        given = x.clone().requires_grad_()
        y = run(given)
        y.backward(up)  # type: ignore[no-untyped-call]
        assert given.grad is not None
        return y.detach(), given.grad

    plain, whole, apart = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
    wanted = through(plain)
    got = through(compiled(whole, {"compile": "default"}, CPU))
    others = through(torch.compile(apart, dynamic=False))
    assert type(whole) is WholeBatchNorm2d
    assert all(map(torch.equal, got, wanted))
    assert not all(map(torch.equal, others, wanted)), "torch compiles it to the same: wholenorm is not needed any more"
    assert same(whole.state_dict(), plain.state_dict())

    eager, fast = network(), network()
    losses, state = trained(eager, eager, bf16=False)
    losses_fast, state_fast = trained(fast, compiled(fast, {"compile": "default"}, CPU), bf16=False)
    assert losses_fast == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(state_fast, state, rtol=1e-3, atol=1e-4)


def test_it_is_folded_like_torchs() -> None:
    whole, plain = network(), network()
    keep_whole(whole)
    x = torch.randn(16, 1, 8, 8)
    fast = folded(whole.eval())
    assert isinstance(fast, fx.GraphModule)
    steps = [fast.get_submodule(str(node.target)) for node in fast.graph.nodes if node.op == "call_module"]
    assert steps
    assert not any(isinstance(module, nn.BatchNorm2d) for module in steps)
    assert torch.equal(fast(x), folded(plain.eval())(x))


def test_only_plain_batch_norms_are_replaced() -> None:
    class Own(nn.BatchNorm2d):
        pass

    kinds = [Own(2), nn.BatchNorm1d(2), nn.BatchNorm2d(2, affine=False), nn.BatchNorm2d(2, track_running_stats=False)]
    kinds.append(nn.BatchNorm2d(2, momentum=None))
    net = nn.ModuleList(kinds)
    keep_whole(net)
    assert not any(type(module) is WholeBatchNorm2d for module in net.modules())


def test_a_frozen_one_uses_its_statistics_and_leaves_them() -> None:
    layer = nn.BatchNorm2d(2)
    keep_whole(layer)
    layer(torch.randn(8, 2, 3, 3) + 5)
    layer.eval()
    before = copy.deepcopy(layer.state_dict())
    x = torch.randn(4, 2, 3, 3)
    want = F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps)
    assert torch.equal(layer(x), want)
    assert same(layer.state_dict(), before)
