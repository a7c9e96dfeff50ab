"""Pre-trained weights of torchvision's networks: loaded as they are, checked, and refused with the cures."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models

from ltbench.errors import UserError
from ltbench.models import build_backbone, parameter_count
from ltbench.models import weights as weights_module
from ltbench.models.torchvision import build
from ltbench.models.towers import content_of
from ltbench.models.weights import describe_weights, locate, state_of, tags_of, unavailable

NET = "shufflenet_v2_x0_5"
SHAPE = (32, 32, 3)


@pytest.fixture
def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return models.get_model(NET, weights=None)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of published weights, and no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(weights_module.socket, "create_connection", refuse)
    return tmp_path / "hub" / "checkpoints"


def test_a_tag_is_described_by_its_published_file() -> None:
    assert describe_weights("resnet152", "IMAGENET1K_V1", "here") == {
        "architecture": "resnet152", "pretrained": "IMAGENET1K_V1", "file": "resnet152-394f9c45.pth"}  # fmt: skip
    assert set(tags_of("resnet50")) == {"IMAGENET1K_V1", "IMAGENET1K_V2"}
    assert tags_of("resnet10") == {}


def test_what_is_neither_tag_nor_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"here: 'IMAGENET_V1' is neither a file nor a tag of resnet50 \(IMAGENET1K_V1, "
                                        r"IMAGENET1K_V2\)\. Did you mean 'IMAGENET1K_V1'"):  # fmt: skip
        describe_weights("resnet50", "IMAGENET_V1", "here")
    with pytest.raises(UserError, match="neither a file nor there are no tags of it"):
        describe_weights("resnet10", "IMAGENET1K_V1", "here")


def test_published_weights_in_torchs_cache_are_used(hub: Path, network: torch.nn.Module) -> None:
    weights = describe_weights(NET, "IMAGENET1K_V1", "here")
    assert unavailable(weights, None) is not None
    hub.mkdir(parents=True)
    torch.save(network.state_dict(), hub / weights["file"])
    assert unavailable(weights, None) is None
    backbone = build_backbone(NET, SHAPE, weights=weights).eval()
    x = torch.randn(2, 3, 64, 64)
    classifier = network.fc
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), network.eval()(x))
    assert backbone.dim == classifier.in_features


def test_weights_that_cannot_be_had_come_with_three_cures_at_once(hub: Path) -> None:
    with pytest.raises(UserError) as caught:
        locate(describe_weights("resnet152", "IMAGENET1K_V1", "here"), None)
    message = str(caught.value)
    assert "fetch https://download.pytorch.org/models/resnet152-394f9c45.pth elsewhere" in message
    assert str(hub) in message
    assert "a checkpoint's path" in message
    assert "train from scratch" in message


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {"model": s},
        lambda s: {k: v for k, v in s.items() if not k.startswith("fc.") and "num_batches" not in k},
    ],
)
def test_a_users_checkpoint_may_be_wrapped_or_lack_its_classifier(
    wrap: Callable[[dict[str, Any]], dict[str, Any]], network: torch.nn.Module, tmp_path: Path
) -> None:
    torch.save(wrap(network.state_dict()), tmp_path / "mine.pth")
    weights = describe_weights(NET, str(tmp_path / "mine.pth"), "here")
    assert weights == {"architecture": NET, "pretrained": content_of(tmp_path / "mine.pth"), "file": ""}
    backbone = build_backbone(NET, SHAPE, checkpoint=str(tmp_path / "mine.pth"), weights=weights)
    for name, value in backbone.network.named_parameters():
        assert torch.equal(value, network.get_parameter(name))


def test_a_checkpoint_that_has_changed_or_gone_is_not_loaded(network: torch.nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    torch.save(network.state_dict(), file)
    weights = describe_weights(NET, str(file), "here")
    file.write_bytes(file.read_bytes() + b"x")
    assert "has other contents" in str(unavailable(weights, str(file)))
    file.unlink()
    assert "cannot be read (No such file" in str(unavailable(weights, str(file)))


def test_a_checkpoint_of_another_network_is_refused_by_name(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    with pytest.raises(UserError, match=r"backbone 'resnet10': .*mine.pth holds the weights of another network: it has "
                                        r"conv1\.0\.weight"):  # fmt: skip
        build("resnet10", SHAPE, tmp_path / "mine.pth")
    state = network.state_dict()
    state["conv5.0.weight"] = state["conv5.0.weight"][:5]
    torch.save(state, tmp_path / "mine.pth")
    with pytest.raises(UserError, match=re.escape("has conv5.0.weight of shape (5, 192, 1, 1), not (1024, 192, 1, 1)")):
        build(NET, SHAPE, tmp_path / "mine.pth")


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("code was run",))


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="not a checkpoint of tensors alone"):
        state_of(tmp_path / "evil.pth")
    (tmp_path / "evil.pth").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="not a checkpoint of tensors alone"):
        state_of(tmp_path / "evil.pth")
    torch.save([torch.zeros(2)], tmp_path / "evil.pth")
    with pytest.raises(UserError, match="does not hold the weights of a network by name"):
        state_of(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


def test_resnet10_has_one_basic_block_per_stage() -> None:
    backbone = build("resnet10", (224, 224, 3))
    assert backbone.dim == 512
    assert parameter_count(backbone) == 4_905_792
    convolutions = [m for n, m in backbone.named_modules() if isinstance(m, torch.nn.Conv2d) and "downsample" not in n]
    assert len(convolutions) + 1 == 10, "with the classifier, its name's number of weighted layers"


def test_the_weights_are_part_of_a_trials_identity_and_their_place_is_not(make_spec: Callable[..., Any]) -> None:
    plain = make_spec("ce")
    tag = describe_weights("resnet50", "IMAGENET1K_V1", "here")
    other = describe_weights("resnet50", "IMAGENET1K_V2", "here")
    keys = {replace(plain, recipe={**plain.recipe, **w}).key for w in ({}, {"weights": tag}, {"weights": other})}
    assert len(keys) == 3


# -- training a part --------------------------------------------------------------------------------------------------


def test_only_the_last_block_trains_and_nothing_before_it_moves(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        source = build("resnet10", SHAPE).train()
        source(torch.randn(16, 3, 64, 64))  # statistics other than those of the start
    torch.save(source.network.state_dict(), tmp_path / "mine.pth")
    whole, part = (build("resnet10", SHAPE, tmp_path / "mine.pth", mode) for mode in ("all", "last_block"))
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(part.eval()(x), whole.eval()(x))
    assert {name.split(".")[1] for name, _ in part.named_parameters()} == {"layer4"}
    assert sum(p.numel() for p in part.parameters()) == sum(p.numel() for p in whole.network.layer4[-1].parameters())
    before = {name: value.clone() for name, value in part.state_dict().items()}
    part.train()
    optimizer = torch.optim.SGD(part.parameters(), lr=0.1)
    part(x).square().mean().backward()
    optimizer.step()
    moved = {name for name, value in part.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in moved} == {"layer4"}
    assert any("running_mean" in name for name in moved)


def test_a_network_without_residual_blocks_has_no_last_one() -> None:
    with pytest.raises(UserError, match="'vgg11' has no residual blocks"), torch.device("meta"):
        build("vgg11", (224, 224, 3), None, "last_block")
