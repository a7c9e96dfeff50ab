"""The building blocks of methods against torch, published numbers and float64 loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ltbench.errors import UserError
from ltbench.models import build_backbone
from ltbench.parts import (
    Classifier,
    CosineHead,
    adapt_blocks,
    cross_entropy,
    effective_number_weights,
    make_optimizer,
    power_probs,
    power_weights,
    sample_rows,
)

CIFAR10_IF100 = (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
CIFAR100_IF100 = tuple(int(500 * 0.01 ** (c / 99)) for c in range(100))


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(12) % 5


@pytest.fixture
def weight() -> Tensor:
    return torch.tensor([0.1, 0.5, 1.0, 1.4, 2.0])


def soft_targets(rows: int, columns: int) -> Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(1)).softmax(dim=1)


def loss_in_loops(logits: Tensor, target: Tensor, weight: Tensor) -> float:
    """sum_nc w_c t_nc (-log p_nc) / sum_nc w_c t_nc, in float64."""
    total = mass = 0.0
    for row, t in zip(logits.double().tolist(), target.double().tolist(), strict=True):
        log_z = math.log(sum(math.exp(v) for v in row))
        for v, t_c, w_c in zip(row, t, weight.double().tolist(), strict=True):
            total += w_c * t_c * (log_z - v)
            mass += w_c * t_c
    return total / mass


def test_cross_entropy_of_one_hot_rows_is_torchs_of_labels(logits: Tensor, labels: Tensor) -> None:
    ours = cross_entropy(logits, F.one_hot(labels, 5).float())
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels))


def test_weighted_cross_entropy_of_one_hot_rows_is_torchs_of_labels(
    logits: Tensor, labels: Tensor, weight: Tensor
) -> None:
    ours = cross_entropy(logits, F.one_hot(labels, 5).float(), weight)
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels, weight))


def test_weighted_cross_entropy_has_the_gradient_of_torchs_of_labels(
    logits: Tensor, labels: Tensor, weight: Tensor
) -> None:
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    cross_entropy(ours, F.one_hot(labels, 5).float(), weight).backward()
    F.cross_entropy(theirs, labels, weight).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_cross_entropy_of_distributions_is_that_of_plain_loops(logits: Tensor) -> None:
    target = soft_targets(12, 5)
    expected = loss_in_loops(logits, target, torch.ones(5))
    assert float(cross_entropy(logits, target)) == pytest.approx(expected, rel=1e-5)


def test_weighted_cross_entropy_of_distributions_is_that_of_plain_loops(logits: Tensor, weight: Tensor) -> None:
    target = soft_targets(12, 5)
    expected = loss_in_loops(logits, target, weight)
    assert float(cross_entropy(logits, target, weight)) == pytest.approx(expected, rel=1e-5)


def test_the_scale_of_class_weights_does_not_scale_the_loss(logits: Tensor, weight: Tensor) -> None:
    target = soft_targets(12, 5)
    torch.testing.assert_close(cross_entropy(logits, target, 7 * weight), cross_entropy(logits, target, weight))


def test_cross_entropy_survives_logits_that_overflow_an_exponential() -> None:
    logits = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    assert float(cross_entropy(logits, torch.eye(2))) == 0.0


def test_effective_number_weights_are_the_published_ones_of_cifar10() -> None:
    published = [0.0506, 0.0769, 0.1211, 0.195, 0.3188, 0.5246, 0.8683, 1.4426, 2.4092, 3.9927]
    weights = effective_number_weights(torch.tensor(CIFAR10_IF100, dtype=torch.float32), 0.9999)
    np.testing.assert_allclose(weights.numpy(), published, atol=5.1e-5)


def test_effective_number_weights_are_the_published_ones_of_cifar100() -> None:
    weights = effective_number_weights(torch.tensor(CIFAR100_IF100, dtype=torch.float32), 0.9999)
    assert float(weights[0]) == pytest.approx(0.0449, abs=5.1e-5)
    assert float(weights[-1]) == pytest.approx(4.3783, abs=5.1e-5)


def test_effective_number_of_beta_0_weighs_all_classes_alike() -> None:
    assert effective_number_weights(torch.tensor([500.0, 20.0, 1.0]), 0.0).tolist() == [1.0, 1.0, 1.0]


def test_effective_number_of_beta_near_1_is_inverse_frequency() -> None:
    counts = torch.tensor([500.0, 20.0, 5.0])
    weights = effective_number_weights(counts, 1 - 1e-9)
    torch.testing.assert_close(weights, power_weights(counts, 1.0), rtol=1e-4, atol=0)


def test_effective_number_weights_keep_their_digits_for_huge_classes() -> None:
    counts, beta = [1_000_000, 1_000, 10], 0.999999
    raw = [(1 - beta) / -math.expm1(n * math.log(beta)) for n in counts]
    weights = effective_number_weights(torch.tensor(counts, dtype=torch.float32), beta)
    np.testing.assert_allclose(weights.numpy(), [3 * w / sum(raw) for w in raw], rtol=1e-6)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_power_weights_are_proportional_to_the_power_and_sum_to_the_number_of_classes(power: float) -> None:
    counts = [500, 40, 7, 1]
    raw = [1 / n**power for n in counts]
    weights = power_weights(torch.tensor(counts, dtype=torch.float32), power)
    np.testing.assert_allclose(weights.numpy(), [4 * w / sum(raw) for w in raw], rtol=1e-6)


def test_a_class_without_images_weighs_nothing() -> None:
    counts = torch.tensor([30.0, 0.0, 10.0])
    for weights in (effective_number_weights(counts, 0.99), power_weights(counts, 1.0)):
        assert weights[1] == 0
        assert torch.isfinite(weights).all()


def test_weights_have_the_type_of_the_counts() -> None:
    counts = torch.tensor([30.0, 10.0])
    assert effective_number_weights(counts, 0.9).dtype == power_weights(counts, 1.0).dtype == torch.float32


@pytest.mark.parametrize(
    ("power", "expected"),
    [(1.0, [0.64, 0.32, 0.04]), (0.5, [8 / (10 + 32**0.5), 32**0.5 / (10 + 32**0.5), 2 / (10 + 32**0.5)]), (0.0, None)],
)
def test_power_probs_go_from_the_datas_frequencies_to_equal_ones(power: float, expected: list[float] | None) -> None:
    probs = power_probs(np.array([64, 32, 4]), power)
    np.testing.assert_allclose(probs, expected or [1 / 3] * 3, rtol=1e-12)


def test_power_probs_never_draw_a_class_without_images() -> None:
    np.testing.assert_allclose(power_probs(np.array([8, 0, 2]), 0.0), [0.5, 0.0, 0.5])


TABLE = np.array([[0.0, 0.5, 0.3, 0.2], [0.6, 0.0, 0.4, 0.0], [0.25, 0.75, 0.0, 0.0], [0.1, 0.2, 0.7, 0.0]])


def test_sample_rows_draws_each_row_with_its_own_frequencies() -> None:
    rows = np.repeat(np.arange(4), 20_000)
    columns = sample_rows(TABLE.cumsum(axis=1), rows, np.random.default_rng(0))
    found = np.array([np.bincount(columns[rows == r], minlength=4) / 20_000 for r in range(4)])
    np.testing.assert_allclose(found, TABLE, atol=4 * (0.25 / 20_000) ** 0.5)


class LoadedDice:
    """Stands for a generator that throws the extremes of [0, 1) and every border of the table."""

    def random(self, size: int) -> NDArray[np.float64]:
        borders = [0.0, np.nextafter(1.0, 0.0), *np.unique(TABLE.cumsum(axis=1))]
        return np.resize(np.array([b for b in borders if b < 1.0]), size)


@pytest.mark.parametrize("row", range(4))
def test_sample_rows_never_draws_a_column_of_probability_0_even_at_the_borders(row: int) -> None:
    columns = sample_rows(TABLE.cumsum(axis=1), np.full(40, row), LoadedDice())  # type: ignore[arg-type]
    assert set(columns.tolist()) <= set(np.flatnonzero(TABLE[row]).tolist())


def test_sample_rows_gives_one_position_per_row_and_none_for_none() -> None:
    cdf, rng = TABLE.cumsum(axis=1), np.random.default_rng(0)
    assert sample_rows(cdf, np.zeros(7, dtype=np.int64), rng).dtype == np.int64
    assert sample_rows(cdf, np.empty(0, dtype=np.int64), rng).shape == (0,)


def test_a_cosine_head_gives_scaled_cosines() -> None:
    head, features = CosineHead(6, 3, scale=30.0), torch.randn(4, 6)
    w, x = head.weight.detach().double().numpy() * 2.5, features.double().numpy()
    with torch.no_grad():
        head.weight.mul_(2.5)
        found = head(features).tolist()
    for i in range(4):
        for c in range(3):
            cosine = float(np.dot(x[i], w[c]) / math.sqrt(np.dot(x[i], x[i]) * np.dot(w[c], w[c])))
            assert found[i][c] == pytest.approx(30.0 * cosine, abs=1e-4)


def test_a_cosine_head_starts_with_unit_class_vectors() -> None:
    torch.testing.assert_close(CosineHead(64, 100).weight.norm(dim=1), torch.ones(100))


def test_a_cosine_head_starts_uniform_and_not_normal() -> None:
    torch.manual_seed(0)
    w = CosineHead(64, 1000).weight.detach()
    kurtosis = float((w**4).mean() / (w**2).mean() ** 2)
    assert kurtosis == pytest.approx(1.8, abs=0.05)  # 3 for normal weights
    assert abs(float(w.mean())) < 0.002


def test_a_cosine_head_has_no_parameter_but_its_class_vectors() -> None:
    assert [(name, tuple(p.shape)) for name, p in CosineHead(64, 100).named_parameters()] == [("weight", (100, 64))]


def test_a_classifier_puts_the_head_on_the_backbone() -> None:
    model = Classifier(nn.Linear(4, 3), nn.Linear(3, 2))
    x = torch.randn(5, 4)
    torch.testing.assert_close(model(x), model.head(model.backbone(x)))


def test_sgd_steps_with_momentum_and_weight_decay_as_written_in_the_papers() -> None:
    p = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = make_optimizer([p], name="sgd", lr=0.1, momentum=0.9, weight_decay=2e-4)
    value, velocity = 1.0, 0.0
    for gradient in (0.5, -0.2, 0.3):
        p.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        velocity = 0.9 * velocity + gradient + 2e-4 * value
        value -= 0.1 * velocity
    assert p.item() == pytest.approx(value, rel=1e-12)


def test_adamw_decays_weights_apart_from_the_gradient_and_adam_does_not() -> None:
    moved = {}
    for name in ("adam", "adamw"):
        p = nn.Parameter(torch.tensor([2.0]))
        optimizer = make_optimizer([p], name=name, lr=0.1, weight_decay=0.5)
        p.grad = torch.zeros(1)
        optimizer.step()
        moved[name] = p.item()
    assert moved["adamw"] == pytest.approx(2.0 * (1 - 0.1 * 0.5))
    assert moved["adam"] == pytest.approx(2.0 - 0.1, abs=1e-5)


def test_betas_may_come_as_the_list_that_yaml_gives() -> None:
    optimizer = make_optimizer([nn.Parameter(torch.zeros(1))], name="adam", lr=0.1, betas=[0.8, 0.99])
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.99)


@pytest.mark.parametrize(
    "settings", [{"name": "sgd", "momentum": 0.9, "nesterov": True}, {"name": "adam"}, {"name": "adamw"}]
)
def test_updating_all_parameters_at_once_changes_no_bit(settings: dict[str, Any]) -> None:
    shapes, ends = [(16, 3, 3, 3), (16,), (10, 64), (10,)], []
    for foreach in (None, False):
        torch.manual_seed(0)
        params = [nn.Parameter(torch.randn(shape)) for shape in shapes]
        chosen = settings if foreach is None else {**settings, "foreach": foreach}
        optimizer = make_optimizer(params, lr=0.1, weight_decay=1e-3, **chosen)
        for _ in range(20):
            for p in params:
                p.grad = torch.randn(p.shape)
            optimizer.step()
        ends.append(params)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


# -- adapters ----------------------------------------------------------------------------------------------------------


def towers_of_many_makes() -> dict[str, nn.Module]:
    """Transformers as ltbench, torchvision, timm and open_clip build them, small and random."""
    import timm
    from open_clip.transformer import VisionTransformer
    from torchvision.models import VisionTransformer as TorchvisionVit

    torch.manual_seed(0)
    torchvision = TorchvisionVit(16, 8, 2, 2, 32, 64)
    torchvision.heads = nn.Identity()
    return {
        "ltbench": build_backbone("vit_small", (16, 16, 3)),
        "torchvision": torchvision,
        "timm": timm.models.VisionTransformer(16, 8, embed_dim=32, depth=2, num_heads=2, num_classes=0),
        "open_clip": VisionTransformer(16, 8, 32, 2, 2, 2.0, output_dim=16),
    }


@pytest.mark.parametrize("make", ["ltbench", "torchvision", "timm", "open_clip"])
def test_adapters_change_nothing_until_they_are_trained(make: str) -> None:
    tower = towers_of_many_makes()[make].eval()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = tower(x)
        adapters = adapt_blocks(tower, 4)
        assert torch.equal(tower(x), before)
        for adapter in adapters:
            nn.init.normal_(adapter.up.weight)
        assert not torch.allclose(tower(x), before, atol=1e-3)
    assert len(adapters) == (3 if make == "ltbench" else 2)
    names = {id(p) for p in tower.parameters()}
    assert all(id(p) in names for adapter in adapters for p in adapter.parameters()), "part of the model, so saved"


def test_an_adapter_reads_what_the_perceptron_reads_before_its_norm() -> None:
    """LIFT's block in plain tensor algebra: x + mlp(ln_2(x)) + s up(relu(down(ln(x)))), x after the attention."""
    block = towers_of_many_makes()["open_clip"].transformer.resblocks[0].eval()  # type: ignore[union-attr, index]
    ln_2, mlp = block.ln_2, block.mlp
    holder = nn.Sequential(block)
    (adapter,) = adapt_blocks(holder, 4, scale=0.5)
    for p in adapter.parameters():
        nn.init.normal_(p, std=0.3)
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        after = x + block.attention(block.ln_1(x))
        normed = (after - after.mean(-1, keepdim=True)) / (after.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        normed = normed * adapter.norm.weight + adapter.norm.bias
        hidden = (normed @ adapter.down.weight.T + adapter.down.bias).clamp(min=0)
        expected = after + mlp(ln_2(after)) + adapter.scale * (hidden @ adapter.up.weight.T + adapter.up.bias)
        torch.testing.assert_close(holder(x), expected)


def test_a_network_without_blocks_takes_no_adapters() -> None:
    with pytest.raises(UserError, match="needs transformer blocks"):
        adapt_blocks(build_backbone("cnn_small", (8, 8, 1)), 4)


def test_the_head_of_a_tower_computes_in_float32_and_so_does_the_head_on_features() -> None:
    class Halved(nn.Module):
        float_head = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.bfloat16()

    seen = []

    class Seeing(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((x.dtype, torch.is_autocast_enabled("cpu")))
            return super().forward(x)

    model = Classifier(Halved(), Seeing(4, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = torch.randn(3, 4).bfloat16().float()
        torch.testing.assert_close(model(features), model.on_features()(features), rtol=0, atol=0)
    assert seen == [(torch.float32, False)] * 2
