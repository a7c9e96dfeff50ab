"""Experts on a common trunk, averaged weights and queues of features."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltbench.errors import UserError
from ltbench.models import build_backbone
from ltbench.parts import Classifier, Copies, Ema, Heads, Queue, split_last_stage
from ltbench.training.checkpoints.state import capture, restore
from ltbench.training.evaluation import folded, in_pieces

BACKBONES = [
    ("resnet20", (32, 32, 3), 1),
    ("resnet20", (32, 32, 3), 2),
    ("cnn_small", (8, 8, 1), 1),
    ("vit_small", (12, 12, 3), 2),
    ("mlp", (6, 6, 1), 1),
    ("resnet10", (64, 64, 3), 1),
    ("resnet18", (64, 64, 3), 2),
    ("vit_b_16", (32, 32, 3), 1),
]


def made(name: str, shape: tuple[int, int, int], seed: int = 0) -> tuple[Any, Tensor]:
    torch.manual_seed(seed)
    return build_backbone(name, shape).eval(), torch.randn(4, shape[2], *shape[:2])


@pytest.mark.parametrize(("name", "shape", "depth"), BACKBONES)
def test_the_first_expert_is_the_backbone_and_the_others_are_other_draws(
    name: str, shape: tuple[int, int, int], depth: int
) -> None:
    backbone, x = made(name, shape)
    with torch.no_grad():
        plain = copy.deepcopy(backbone)(x)
        experts = split_last_stage(backbone, 3, depth)
        features = experts(x)
    assert features.shape == (4, 3, backbone.dim)
    assert experts.dim == backbone.dim
    torch.testing.assert_close(features[:, 0], plain, rtol=1e-5, atol=1e-5)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert not torch.allclose(features[:, a], features[:, b])


def test_experts_have_a_common_trunk_and_their_own_last_stages() -> None:
    backbone, _ = made("resnet20", (32, 32, 3))
    names = {name: p.numel() for name, p in backbone.named_parameters()}
    own = sum(n for name, n in names.items() if name.split(".")[1] in ("6", "7", "8"))
    experts = split_last_stage(backbone, 3)
    assert sum(p.numel() for p in experts.parameters()) == sum(names.values()) + 2 * own
    both = split_last_stage(made("resnet20", (32, 32, 3))[0], 2, depth=2)
    assert sum(isinstance(m, Copies) for m in both.modules()) == 1
    assert sum(isinstance(m, nn.Identity) for m in both.modules()) == 5


def test_other_draws_have_the_same_distribution_layer_by_layer() -> None:
    backbone, _ = made("resnet20", (32, 32, 3))
    experts = split_last_stage(backbone, 2)
    copies = next(m for m in experts.modules() if isinstance(m, Copies))
    first, second = (list(stage.named_parameters()) for stage in copies.stages)
    for (name, a), (_, b) in zip(first, second, strict=True):
        assert torch.equal(a.flatten().sort().values, b.flatten().sort().values)
        assert torch.equal(a, b) == (a.ndim == 1), name


def test_experts_of_a_pretrained_backbone_start_alike() -> None:
    backbone, x = made("resnet10", (64, 64, 3))
    backbone.pretrained = True
    features = split_last_stage(backbone, 2)(x)
    assert torch.equal(features[:, 0], features[:, 1])


def test_experts_learn_apart_and_reach_the_trunk() -> None:
    backbone, x = made("cnn_small", (8, 8, 1))
    model = Classifier(split_last_stage(backbone, 2), Heads([nn.Linear(64, 5), nn.Linear(64, 5)])).train()
    logits = model(x)
    assert logits.shape == (4, 2, 5)
    logits[:, 0].sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert all(
        grads[name] is None or not grads[name].any() for name in grads if ".stages.1." in name or "heads.1" in name
    )
    assert grads["backbone.backbone.layers.0.weight"].any()
    assert grads["head.heads.0.weight"].any()


def test_the_test_pass_may_fold_and_cut_experts_in_pieces() -> None:
    backbone, _ = made("resnet20", (32, 32, 3))
    experts = split_last_stage(backbone, 3).eval()
    x = torch.randn(64, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.no_grad():
        plain = experts(x)
        assert torch.equal(in_pieces(experts, {"precision": "fp32"})(x), plain)
        smaller = folded(experts)
        assert smaller is not experts
        torch.testing.assert_close(smaller(x), plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [0, 4])
def test_a_backbone_without_so_many_stages_is_refused(depth: int) -> None:
    with pytest.raises(UserError, match=r"cnn_small, vit_small.* SmallCnn has 3"):
        split_last_stage(build_backbone("cnn_small", (8, 8, 1)), 2, depth)
    with pytest.raises(UserError, match="TorchvisionBackbone has 0"):
        split_last_stage(build_backbone("densenet121", (64, 64, 3)), 2)


# -- averages ---------------------------------------------------------------------------------------------------------


def model_of(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_the_average_follows_the_recursion_in_float64() -> None:
    model = model_of(0)
    ema = Ema(model)
    expected = {name: value.double().clone() for name, value in model.state_dict().items()}
    for step in range(20):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(step)))
        model(torch.randn(8, 3, generator=torch.Generator().manual_seed(step)))
        ema.update(0.9)
        for name, value in model.state_dict().items():
            floats = value.is_floating_point()
            expected[name] = 0.9 * expected[name] + 0.1 * value.double() if floats else value.double()
    for name, value in ema.model.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert not any(p.requires_grad for p in ema.parameters())
    assert not any(m.training for m in ema.model.modules())
    assert len(list(ema.parameters())) == len(list(model.parameters())), "the model is no part of its average"


def test_without_memory_the_average_is_the_model_to_the_bit() -> None:
    model = model_of(0)
    ema = Ema(model)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape))
    ema.update(0.0)
    for name, value in ema.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_the_average_can_be_put_in_place_and_comes_back_from_a_checkpoint() -> None:
    model = model_of(0)
    ema = Ema(model)
    with torch.no_grad():
        model[0].weight.add_(1.0)  # type: ignore[operator]
    ema.update(0.5)
    saved = capture({"model": model, "ema": ema})
    again = model_of(1)
    fresh = Ema(again)
    restore({"model": again, "ema": fresh}, saved)
    assert torch.equal(fresh.model[0].weight, ema.model[0].weight)  # type: ignore[index]
    fresh.put_in_place()
    assert torch.equal(again[0].weight, ema.model[0].weight)  # type: ignore[index]
    x = torch.randn(5, 3)
    assert torch.equal(fresh(x), again.eval()(x))
    assert not fresh(x).requires_grad


# -- queues -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 3, 3), (2, 5, 1, 4), (9, 2), (7,), (1, 1)])
def test_a_queue_holds_the_last_ones(sizes: tuple[int, ...]) -> None:
    queue, pushed, count = Queue(7, 2), list[tuple[float, int]](), 0
    for n in sizes:
        numbers = torch.arange(count, count + n)
        queue.push(torch.stack([numbers.float(), -numbers.float()], dim=1), numbers)
        pushed += [(float(i), int(i)) for i in numbers]
        count += n
    held = {int(label) for label in queue.labels if label >= 0}
    assert held == {label for _, label in pushed[-7:]}
    assert int((queue.labels == -1).sum()) == max(0, 7 - count)
    for feature, label in zip(queue.features, queue.labels, strict=True):
        assert label < 0 or feature.tolist() == [float(label), -float(label)]


def test_a_queue_comes_back_from_a_checkpoint_and_goes_on() -> None:
    first, second = Queue(5, 1), Queue(5, 1)
    first.push(torch.ones(3, 1, dtype=torch.bfloat16, requires_grad=True), torch.arange(3))
    restore({"queue": second}, capture({"queue": first}))
    for queue in (first, second):
        queue.push(torch.full((4, 1), 2.0), torch.arange(10, 14))
    assert torch.equal(first.labels, second.labels)
    assert second.labels.tolist() == [12, 13, 2, 10, 11]
    assert second.features.flatten().tolist() == [2, 2, 1, 2, 2]
    assert second.features.dtype == torch.float32
    assert not second.features.requires_grad
