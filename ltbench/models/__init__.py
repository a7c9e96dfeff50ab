"""Backbones by name. A backbone maps images to features and says their number in `.dim`; the head is the method's."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from ltbench.errors import UserError, did_you_mean
from ltbench.models.installed import code_of
from ltbench.models.installed import names as outside
from ltbench.models.towers import NAMED, TIMM, is_tower

BACKBONES = {
    "resnet20": "ltbench.models.resnet_cifar",
    "resnet32": "ltbench.models.resnet_cifar",
    "resnet44": "ltbench.models.resnet_cifar",
    "resnet56": "ltbench.models.resnet_cifar",
    "cnn_small": "ltbench.models.small",
    "vit_small": "ltbench.models.small",
    "mlp": "ltbench.models.small",
    "identity": "ltbench.models.identity",
}
"""Our own backbones, and the module whose `build(name, shape)` makes each. Any other name is
a plugin's, torchvision's, timm's (`timm:NAME`), or an image tower's (models/towers.py)."""

__all__ = ["BACKBONES", "build_backbone", "check_backbone", "code_of", "has_blocks", "has_maps", "has_stages",
           "learns_words", "parameter_count"]  # fmt: skip


def build_backbone(
    name: str,
    shape: tuple[int, int, int],
    tower: Mapping[str, Any] | None = None,
    checkpoint: str | None = None,
    device: Any = "cpu",
    weights: Mapping[str, str] | None = None,
) -> Any:
    """A freshly initialised backbone for images of `shape` (height, width, channels), or a pre-trained image tower.

    Draws its weights from torch's global generator; a tower has its own.

    Args:
        tower: the recipe's description of a tower (models/towers.py). checkpoint: where its weights, or the network's,
            lie, if they are a file of the user's. device: where images will be prepared for it.
        weights: the recipe's description of a network's pre-trained weights (models/weights.py); None: from scratch.

    Raises:
        UserError: an unknown name, an unfit image shape, or weights that cannot be had.
    """
    if tower is not None:
        return import_module("ltbench.models.clip").image_tower(tower, checkpoint, device)
    if name not in BACKBONES:
        _check_known(name)
    module = import_module(_module_of(name))
    if weights is not None:
        file = import_module("ltbench.models.weights").locate(weights, checkpoint)
        return module.build(name, shape, file, weights.get("trainable", "all"))
    return module.build(name, shape)


def check_backbone(name: str, shape: tuple[int, int, int]) -> None:
    """Raise UserError when there is no such backbone or it cannot read images of that shape; allocates no weights."""
    if (name == "identity") != (shape[:2] == (1, 1)):
        raise UserError(
            f"backbone {name!r} reads images, but the data are feature vectors: take `backbone: identity`"
            if name != "identity"
            else "backbone 'identity' is for data of kind `features`; images need a network"
        )
    if name not in BACKBONES and not is_tower(name):  # a tower resizes what it is given; its name is checked elsewhere
        _check_known(name)
        import_module(_module_of(name)).check(name, shape)


def has_blocks(name: str) -> bool:
    """Whether a backbone is made of transformer blocks, on which adapters can sit (parts.transformer_blocks)."""
    if is_tower(name):
        return bool(import_module("ltbench.models.clip").has_blocks(name))
    if name in outside():
        return False
    if is_timm(name):
        return bool(import_module(_module_of(name)).has_blocks(name))
    return name.startswith("vit_")


def has_stages(name: str) -> bool:
    """Whether a backbone is one in stages, of which experts can have the last ones each (parts.split_last_stage)."""
    if name in outside():
        return False
    if is_timm(name):
        return bool(import_module(_module_of(name)).has_stages(name))
    return name != "identity" and (name in BACKBONES or name.startswith(("resne", "wide_resne", "vit_")))


def has_maps(name: str) -> bool:
    """Whether a backbone's stages (`has_stages`) give maps of channels, as convolutions do."""
    return has_stages(name) and name != "mlp" and not has_blocks(name)


def learns_words(name: str) -> bool:
    """Whether a backbone has a text tower of CLIP's kind beside it (models/prompts.py)."""
    return is_tower(name) and bool(import_module("ltbench.models.prompts").learns_words(name))


def is_timm(name: str) -> bool:
    """Whether a suite's `backbone:` names a network of timm."""
    return name.startswith(TIMM)


def _module_of(name: str) -> str:
    """The module that builds a backbone, but for image towers."""
    if name in BACKBONES:
        return BACKBONES[name]
    if name in outside():
        return "ltbench.models.installed"
    return f"ltbench.models.{'timm_networks' if is_timm(name) else 'torchvision'}"


def _check_known(name: str) -> None:
    if name in outside():
        return
    if is_timm(name):
        import_module(_module_of(name)).check_known(name)
        return
    known = import_module("ltbench.models.torchvision").names()
    if name not in known:
        raise UserError(f"unknown backbone {name!r}. {did_you_mean(name, [*BACKBONES, *NAMED, *outside(), *known])}")


def parameter_count(model: Any) -> int:
    """Numbers that a model's parameters hold, frozen ones included."""
    return cast(int, sum(p.numel() for p in model.parameters()))
