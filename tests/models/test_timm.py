"""Networks of timm as backbones: built, pre-trained, planned and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from ltbench.errors import UserError
from ltbench.models import build_backbone, check_backbone, has_blocks, has_maps, has_stages
from ltbench.models.weights import describe_weights, tags_of, unavailable
from ltbench.parts import split_last_stage, transformer_blocks
from ltbench.planning.planner import make_plan
from ltbench.registry import Registry
from ltbench.suite.load import load_suite
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

SUITE: dict[str, Any] = {
    "suite": "timm",
    "datasets": [{"name": "digits", "imbalance": [50]}],
    "recipes": {
        "scratch": {
            "backbone": "timm:resnet10t",
            "epochs": 0.2,
            "batch_size": 16,
            "optimizer": {"name": "sgd", "lr": 0.01},
        }
    },
    "methods": ["ce"],
    "protocol": {"final": {"seeds": [0]}},
}


@pytest.mark.parametrize(
    ("name", "side", "channels"),
    [("resnet10t", 32, 3), ("vit_tiny_patch16_224", 32, 3), ("mobilenetv3_small_050", 32, 1), ("convnext_atto", 40, 3)],
)
def test_its_features_are_the_networks_without_classifier(name: str, side: int, channels: int) -> None:
    shape = (side, side, channels)
    check_backbone(f"timm:{name}", shape)
    torch.manual_seed(0)
    backbone = build_backbone(f"timm:{name}", shape).eval()
    found = backbone(torch.randn(2, channels, side, side))
    assert found.shape == (2, backbone.dim)
    assert not backbone.pretrained


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_weights_of_a_file_are_put_in_place(name: str, ending: str, tmp_path: Path) -> None:
    """The file has a classifier; the transformer's has the places of patches of larger images."""
    torch.manual_seed(1)
    network = timm.create_model(name, num_classes=7).eval()
    file = tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save(network.state_dict(), file)
    else:
        save_file(network.state_dict(), file)
    weights = describe_weights(f"timm:{name}", str(file), "pretrained")
    backbone = build_backbone(f"timm:{name}", (224, 224, 3), None, str(file), weights=weights).eval()
    x = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(backbone(x), network.forward_head(network.forward_features(x), pre_logits=True))
    assert backbone.pretrained
    smaller = build_backbone(f"timm:{name}", (64, 64, 3), None, str(file), weights=weights).eval()
    assert smaller(torch.randn(2, 3, 64, 64)).shape == (2, backbone.dim)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save(timm.create_model("resnet18").state_dict(), file)
    weights = describe_weights("timm:resnet10t", str(file), "pretrained")
    with pytest.raises(UserError, match="holds the weights of another network"):
        build_backbone("timm:resnet10t", (32, 32, 3), None, str(file), weights=weights)


@pytest.mark.parametrize(
    ("name", "tag", "hub"),
    [
        ("vit_small_patch14_dinov2", "lvd142m", "timm/vit_small_patch14_dinov2.lvd142m"),
        ("vit_base_patch16_siglip_224", "webli", "timm/vit_base_patch16_siglip_224.webli"),
    ],
)
def test_weights_that_cannot_be_had_come_with_cures(
    name: str, tag: str, hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert tags_of(f"timm:{name}")[tag] == hub
    weights = describe_weights(f"timm:{name}", tag, "recipes.a.pretrained")
    assert weights == {"architecture": f"timm:{name}", "pretrained": tag, "file": hub}
    message = unavailable(weights, None)
    assert message is not None
    for part in (tag, name, "HF_HUB_OFFLINE", f"hf download {hub} model.safetensors", "HF_HOME", "`pretrained:`"):
        assert part in message


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("timm:resnet10tt", "unknown network of timm 'resnet10tt'. Did you mean"),
        ("timm:resnet18.a1_in1k", "`backbone: timm:resnet18`, `pretrained: a1_in1k`"),
        ("timm:vit_tiny_patch16_224", "cannot read images of 8x8 pixels"),
    ],
)
def test_what_cannot_be_is_refused_when_planned(backbone: str, message: str, tmp_path: Path) -> None:
    suite = load_suite(SUITE, [f"recipes.scratch.backbone={backbone}"])
    with pytest.raises(UserError, match=message):
        make_plan(suite, Registry(), tmp_path)


def test_an_unknown_tag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'a9_in1k' is neither a file nor a tag of timm:resnet18"):
        describe_weights("timm:resnet18", "a9_in1k", "recipes.a.pretrained")


def test_a_trial_trains_and_says_what_it_was_pretrained_on(tmp_path: Path) -> None:
    plan, _ = make_plan(load_suite(SUITE), Registry(), tmp_path)
    record = run_trial(plan.trials[0], Site(data=tmp_path, device="cpu"))
    assert record.status == "ok", record.error
    assert "pretraining" not in plan.trials[0].recipe
    file = tmp_path / "weights.pth"
    torch.save(timm.create_model("resnet10t", in_chans=1).state_dict(), file)
    suite = load_suite(SUITE, [f"recipes.scratch.pretrained={file}"])
    plan, inputs = make_plan(suite, Registry(), tmp_path)
    recipe = plan.trials[0].recipe
    assert recipe["pretraining"] == f"timm:resnet10t {recipe['weights']['pretrained']}"
    record = run_trial(plan.trials[0], Site(data=tmp_path, device="cpu", paths=inputs.paths))
    assert record.status == "ok", record.error


def test_what_is_said_of_blocks_and_stages_is_so() -> None:
    for name, blocks, stages in (
        ("resnet10t", False, False),
        ("resnet18", False, True),
        ("convnext_atto", False, False),
        ("vit_tiny_patch16_224", True, True),
    ):
        timm_name = f"timm:{name}"
        assert (has_blocks(timm_name), has_stages(timm_name)) == (blocks, stages), name
        assert has_maps(timm_name) == (stages and not blocks)
        backbone = build_backbone(timm_name, (32, 32, 3))
        if blocks:
            assert len(transformer_blocks(backbone)) == 12
        if stages:
            features = split_last_stage(backbone, 2)(torch.randn(2, 3, 32, 32))
            assert features.shape == (2, 2, backbone.dim)
