"""Backbones: published sizes, shortcuts against plain loops, torchvision's networks, names that do not exist."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ltbench.errors import UserError
from ltbench.models import BACKBONES, build_backbone, check_backbone, parameter_count
from ltbench.models.resnet_cifar import BasicBlock
from ltbench.models.torchvision import names
from ltbench.parts import Classifier, CosineHead

CIFAR = (32, 32, 3)
OURS = tuple(name for name in BACKBONES if name != "identity")
FAMILIES = {  # one of each torchvision family with a linear classifier, and its features
    "alexnet": 4096,
    "convnext_tiny": 768,
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "googlenet": 1024,
    "inception_v3": 2048,
    "mnasnet0_5": 1280,
    "mobilenet_v3_small": 1024,
    "resnet18": 512,
    "resnet50": 2048,
    "shufflenet_v2_x0_5": 1024,
    "swin_t": 768,
    "vgg11": 4096,
    "vit_b_32": 768,
}


def on_paper(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """The backbone with the shapes of its weights and no weights: large networks cost nothing."""
    with torch.device("meta"):
        backbone: nn.Module = build_backbone(name, shape)
    return backbone.eval()


def classifier(name: str, num_classes: int, shape: tuple[int, int, int] = CIFAR) -> Classifier:
    backbone = build_backbone(name, shape)
    return Classifier(backbone, nn.Linear(backbone.dim, num_classes))


# -- ResNets for CIFAR ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_classes", "linear", "cosine"), [(10, 464_154, 464_144), (100, 470_004, 469_904)])
def test_resnet32_has_the_published_number_of_parameters(num_classes: int, linear: int, cosine: int) -> None:
    backbone = build_backbone("resnet32", CIFAR)
    assert parameter_count(Classifier(backbone, nn.Linear(64, num_classes))) == linear
    assert parameter_count(Classifier(backbone, CosineHead(64, num_classes))) == cosine


@pytest.mark.parametrize(
    ("name", "millions"), [("resnet20", 0.27), ("resnet32", 0.46), ("resnet44", 0.66), ("resnet56", 0.85)]
)
def test_the_resnets_have_the_sizes_of_he_et_al(name: str, millions: float) -> None:
    assert parameter_count(classifier(name, 10)) / 1e6 == pytest.approx(millions, abs=0.0075)


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_a_resnets_name_is_its_number_of_weighted_layers(depth: int) -> None:
    weighted = [m for m in classifier(f"resnet{depth}", 10).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == depth


def test_the_convolutions_start_kaiming_normal() -> None:
    torch.manual_seed(0)
    for module in build_backbone("resnet32", CIFAR).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            w = module.weight.detach()
            assert float(w.std()) == pytest.approx((2 / (9 * module.in_channels)) ** 0.5, rel=0.06)
            assert float((w**4).mean() / w.var() ** 2) == pytest.approx(3.0, abs=0.4), "3 is a normal distribution's"


def test_a_narrow_block_leaves_its_input_when_its_convolutions_are_silent() -> None:
    block, x = silent(BasicBlock(4, 4)), torch.randn(2, 4, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(block(x), x.clamp(min=0))


def silent(block: BasicBlock) -> BasicBlock:
    """The block with its residual branch at 0: only the shortcut is left."""
    nn.init.zeros_(block.bn2.weight)
    return block.eval()


@pytest.mark.parametrize("side", [6, 7])
def test_a_widening_blocks_shortcut_is_option_a(side: int) -> None:
    block, x = silent(BasicBlock(4, 8)), torch.randn(2, 4, side, side)
    with torch.no_grad():
        found = block(x).numpy()
    half = (side + 1) // 2
    expected = np.zeros((2, 8, half, half))
    for channel in range(4):
        for i in range(half):
            for j in range(half):
                expected[:, channel + 2, i, j] = np.maximum(x[:, channel, 2 * i, 2 * j].numpy(), 0)
    np.testing.assert_allclose(found, expected)


def test_shortcuts_have_no_parameters() -> None:
    assert {name.split(".")[0] for name, _ in BasicBlock(16, 32).named_parameters()} == {"conv1", "bn1", "conv2", "bn2"}


def test_features_are_the_average_over_the_image() -> None:
    backbone = build_backbone("resnet20", CIFAR).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = backbone.blocks(backbone.stem(x)).mean(dim=3).mean(dim=2)
        torch.testing.assert_close(backbone(x), expected)
        assert backbone.blocks(backbone.stem(x)).shape == (2, 64, 8, 8)


# -- all of ours ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (15, 15, 3)])
@pytest.mark.parametrize("name", OURS)
def test_features_have_the_dimension_that_the_backbone_states(name: str, shape: tuple[int, int, int]) -> None:
    backbone = on_paper(name, shape)
    assert backbone(torch.empty(2, shape[2], *shape[:2], device="meta")).shape == (2, backbone.dim)


@pytest.mark.parametrize("name", OURS)
def test_the_seed_of_torch_fixes_the_weights(name: str) -> None:
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(torch.cat([p.detach().flatten() for p in build_backbone(name, (8, 8, 3)).parameters()]))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize("name", ["resnet20", "cnn_small", "mlp"])
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = classifier(name, 5, (8, 8, 1))
    model(torch.randn(4, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_small_networks_are_as_small_as_they_say() -> None:
    cnn = 9 * (1 * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64)
    assert parameter_count(build_backbone("cnn_small", (8, 8, 1))) == cnn
    mlp = 64 * 256 + 256 + 256 * 128 + 128
    assert parameter_count(build_backbone("mlp", (8, 8, 1))) == mlp


# -- torchvision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvisions_networks_give_features_in_place_of_logits(name: str) -> None:
    backbone = on_paper(name, (224, 224, 3))
    assert backbone.dim == FAMILIES[name]
    assert backbone(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, backbone.dim)


@pytest.mark.parametrize(("name", "whole"), [("resnet18", 11_689_512), ("resnet50", 25_557_032)])
def test_only_the_classifier_is_taken_off(name: str, whole: int) -> None:
    backbone = on_paper(name, (224, 224, 3))
    assert parameter_count(backbone) == whole - (backbone.dim * 1000 + 1000)


def test_no_weights_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were asked for")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    assert build_backbone("mobilenet_v3_small", CIFAR).dim == 1024


def test_a_transformer_is_made_for_the_images_at_hand() -> None:
    backbone = on_paper("vit_b_32", (64, 64, 3))
    assert backbone(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 768)


def test_a_network_without_a_linear_classifier_is_refused() -> None:
    with pytest.raises(UserError, match=r"squeezenet1_1.*not a linear layer"):
        on_paper("squeezenet1_1", (224, 224, 3))


# -- names and shapes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("resnet33", "resnet3"), ("resnet_32", "resnet32"), ("vit_b16", "vit_b_16"), ("mpl", "mlp")],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, suggestion: str) -> None:
    with pytest.raises(UserError, match=rf"unknown backbone '{name}'\. Did you mean '{suggestion}"):
        check_backbone(name, CIFAR)


def test_building_an_unknown_name_is_refused_too() -> None:
    with pytest.raises(UserError, match="resnet33"):
        build_backbone("resnet33", CIFAR)


@pytest.mark.parametrize("name", OURS)
def test_our_own_backbones_read_images_of_any_shape(name: str) -> None:
    for shape in ((8, 8, 1), (64, 64, 3)):
        check_backbone(name, shape)


def test_torchvisions_networks_read_colour_images_only() -> None:
    check_backbone("resnet18", CIFAR)
    with pytest.raises(UserError, match=r"'resnet18'.*colour images; this data set has 1 channel"):
        check_backbone("resnet18", (8, 8, 1))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("squeezenet1_1", (224, 224, 3)), ("vit_b_16", (40, 40, 3)), ("alexnet", CIFAR), ("inception_v3", CIFAR)],
)
def test_what_cannot_be_built_or_cannot_read_the_images_is_refused_before_a_trial(
    name: str, shape: tuple[int, int, int]
) -> None:
    with pytest.raises(UserError, match=name):
        check_backbone(name, shape)


@pytest.mark.parametrize("name", ["resnet18", "regnet_y_400mf", "vit_b_16", "convnext_tiny"])
def test_what_can_read_the_images_is_let_through(name: str) -> None:
    check_backbone(name, CIFAR)


def test_no_name_of_ours_hides_one_of_torchvisions() -> None:
    assert not set(OURS) & set(names())
