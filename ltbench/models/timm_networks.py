"""Any network of timm as a backbone, `timm:NAME`: its classifier is taken off. DINOv2's and SigLIP's towers are among
them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.errors import UserError, did_you_mean
from ltbench.models.towers import TIMM
from ltbench.models.weights import state_of

_BLOCKS = ("vit_", "deit", "eva", "beit")
"""How the names of timm's vision transformers begin."""


def check_known(name: str) -> None:
    """Raise UserError where timm has no such network, or where a tag stands in its name."""
    import timm

    bare = name.removeprefix(TIMM)
    known = timm.list_models()
    if bare in known:
        return
    network, _, tag = bare.partition(".")
    if network in known:
        raise UserError(f"backbone {name!r}: write the network and its weights apart: `backbone: {TIMM}{network}`, "
                        f"`pretrained: {tag}`")  # fmt: skip
    raise UserError(f"unknown network of timm {bare!r}. {did_you_mean(bare, known)}")


@cache
def check(name: str, shape: tuple[int, int, int]) -> None:
    """Build the network without memory for its weights, and send one batch through it.

    Raises:
        UserError: it cannot be built, or cannot read such images.
    """
    check_known(name)
    height, width, channels = shape
    try:
        with torch.device("meta"), torch.no_grad():
            build(name, shape)(torch.zeros(2, channels, height, width))
    except UserError:
        raise
    except Exception as error:  # networks fail on small images in their own ways
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"backbone {name!r} cannot read images of {height}x{width} pixels ({reason})") from error


def has_blocks(name: str) -> bool:
    """Whether it is made of transformer blocks."""
    return name.removeprefix(TIMM).startswith(_BLOCKS)


def has_stages(name: str) -> bool:
    """Whether it is in stages that experts can share: timm's residual networks and vision transformers."""
    return (
        has_blocks(name) or re.match(r"(wide_)?resne[xs]?t\d+(d|_\d+x\d+d|_\d)?$", name.removeprefix(TIMM)) is not None
    )


def build(
    name: str, shape: tuple[int, int, int], checkpoint: Path | None = None, trainable: str = "all"
) -> TimmBackbone:
    """Freshly initialised, or with the weights of a checkpoint; nothing is fetched.

    Raises:
        UserError: a checkpoint of another network, or a part of it is to be trained alone.
    """
    import timm

    if trainable != "all":
        raise UserError(f"backbone {name!r}: `trainable: {trainable}` is for residual networks of torchvision")
    options: dict[str, Any] = {"num_classes": 0, "in_chans": shape[2]}
    if checkpoint is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(state_of(checkpoint))}}
    bare = name.removeprefix(TIMM)
    try:
        try:
            network = timm.create_model(bare, img_size=shape[0], **options)
        except TypeError:  # most networks read images of any size, and are not told one
            network = timm.create_model(bare, **options)
    except Exception as error:
        if checkpoint is None:
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"backbone {name!r}: {checkpoint} holds the weights of another network ({reason})") from error
    return TimmBackbone(network, checkpoint is not None)


class TimmBackbone(nn.Module):
    """The network up to its classifier; `.dim` features.

    Attributes:
        pretrained: its weights are a checkpoint's.
    """

    def __init__(self, network: Any, pretrained: bool) -> None:
        super().__init__()
        self.network, self.pretrained = network, pretrained
        self.dim = int(getattr(network, "head_hidden_size", network.num_features))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, dim)."""
        features: Tensor = self.network(x)
        return features

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """The modules of each stage, first to last: layer1 to layer4, or a transformer's blocks; empty for others."""
        names = [n for n, _ in self.network.named_modules() if re.fullmatch(r"layer\d|blocks\.\d+", n)]
        return tuple((f"network.{name}",) for name in names)
