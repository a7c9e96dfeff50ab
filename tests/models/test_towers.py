"""Image towers: open_clip's features, whatever the size of the images; a checkpoint's code never runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltbench.errors import UserError
from ltbench.models.clip import describe, image_tower
from ltbench.models.towers import Preparation


@pytest.mark.parametrize("model", ["tiny-vit-tower", "tiny-rn-tower"])
def test_a_towers_features_are_open_clips(checkpoints: dict[str, Path], model: str) -> None:
    import open_clip

    described = describe(model, str(checkpoints[model]))
    side = described["image_size"]
    x = torch.randint(0, 256, (3, 3, side, side), generator=torch.Generator().manual_seed(0)).float()
    whole = open_clip.create_model(model, pretrained=str(checkpoints[model])).eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    tower = image_tower(described, str(checkpoints[model])).eval()
    with torch.no_grad():
        torch.testing.assert_close(tower(tower.prepare(x)), whole.encode_image((x / 255 - mean) / std))
    assert tower.dim == 16


def test_loading_a_tower_throws_no_dice(checkpoints: dict[str, Path]) -> None:
    described = describe("tiny-vit-tower", str(checkpoints["tiny-vit-tower"]))
    torch.manual_seed(3)
    image_tower(described, str(checkpoints["tiny-vit-tower"]))
    after = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(2))


@pytest.mark.parametrize(
    ("name", "architecture", "dim", "side"),
    [("clip_rn50", "RN50", 1024, 224), ("clip_vit_b32", "ViT-B-32", 512, 224), ("clip_vit_b16", "ViT-B-16", 512, 224),
     ("clip_vit_l14", "ViT-L-14", 768, 224)],
)  # fmt: skip
def test_the_fields_towers_are_clips_own(name: str, architecture: str, dim: int, side: int) -> None:
    """CLIP was trained with its own activation (QuickGELU), which open_clip gives only if it is told to."""
    found = describe(name, "openai")
    assert (found["architecture"], found["dim"], found["image_size"], found["quick_gelu"]) == (
        architecture, dim, side, True)  # fmt: skip
    assert found["interpolation"] == "bicubic"
    np.testing.assert_allclose(found["mean"], [0.48145466, 0.4578275, 0.40821073])


def test_activation_and_statistics_are_those_of_the_weights(tmp_path: Path) -> None:
    assert describe("ViT-B-32", "openai")["quick_gelu"]
    assert not describe("ViT-B-32", "laion2b_s34b_b79k")["quick_gelu"]
    assert describe("ViT-B-16-SigLIP", "webli")["mean"] == [0.5, 0.5, 0.5]
    file = tmp_path / "mine.pt"
    file.write_bytes(b"weights")
    assert describe("ViT-B-16-SigLIP", str(file))["mean"] == [0.5, 0.5, 0.5]
    assert describe("clip_vit_b32", str(file))["quick_gelu"]
    assert not describe("ViT-B-32", str(file))["quick_gelu"]


def test_the_activation_reaches_the_network(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    file = str(checkpoints["tiny-vit-tower"])
    described = describe("tiny-vit-tower", file)
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain, quick = (image_tower({**described, "quick_gelu": q}, file).eval() for q in (False, True))
    with torch.no_grad():
        assert not torch.allclose(plain(x), quick(x))


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 8), (3, 16), (3, 40)])
def test_images_of_any_size_are_prepared(channels: int, side: int) -> None:
    """A flat image stays flat, and is normalised by the tower's statistics, whatever its size and colour."""
    tower = {"image_size": 16, "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    found = Preparation(tower)(torch.full((2, channels, side, side), 102.0))
    assert found.shape == (2, 3, 16, 16)
    for c in range(3):
        expected = (0.4 - tower["mean"][c]) / tower["std"][c]  # type: ignore[index]
        torch.testing.assert_close(found[:, c], torch.full((2, 16, 16), expected), atol=1e-5, rtol=1e-5)


def test_overshoot_of_the_interpolation_is_cut_off() -> None:
    tower = {"image_size": 32, "interpolation": "bicubic", "mean": [0.0] * 3, "std": [1.0] * 3}
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 255.0
    found = Preparation(tower)(edge)
    assert (float(found.min()), float(found.max())) == (0.0, 1.0)


def test_code_in_a_checkpoint_is_never_run(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"text_projection": Malicious()}, tmp_path / "weights.pt")
    file = str(tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt does not hold the weights of tiny-vit-tower"):
        image_tower(describe("tiny-vit-tower", file), file)
    assert not (tmp_path / "ran").exists()
