"""Backbones by name. A backbone maps images to features and says their number in `.dim`; the head is the method's."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from ltbench.errors import UserError, did_you_mean

BACKBONES = {
    "resnet20": "ltbench.models.resnet_cifar",
    "resnet32": "ltbench.models.resnet_cifar",
    "resnet44": "ltbench.models.resnet_cifar",
    "resnet56": "ltbench.models.resnet_cifar",
    "cnn_small": "ltbench.models.small",
    "mlp": "ltbench.models.small",
    "identity": "ltbench.models.identity",
}
"""Our own backbones, and the module whose `build(name, shape)` makes each. Any other name is torchvision's."""


def build_backbone(name: str, shape: tuple[int, int, int]) -> Any:
    """A freshly initialised backbone for images of `shape` (height, width, channels).

    Draws its weights from torch's global generator. Raises UserError for an unknown name or an unfit image shape.
    """
    if name not in BACKBONES:
        _check_known(name)
    module = import_module(BACKBONES.get(name, "ltbench.models.torchvision"))
    return module.build(name, shape)


def check_backbone(name: str, shape: tuple[int, int, int]) -> None:
    """Raise UserError when there is no such backbone or it cannot read images of that shape; allocates no weights."""
    if (name == "identity") != (shape[:2] == (1, 1)):
        raise UserError(
            f"backbone {name!r} reads images, but the data are feature vectors: take `backbone: identity`"
            if name != "identity"
            else "backbone 'identity' is for data of kind `features`; images need a network"
        )
    if name not in BACKBONES:
        _check_known(name)
        import_module("ltbench.models.torchvision").check(name, shape)


def _check_known(name: str) -> None:
    known = import_module("ltbench.models.torchvision").names()
    if name not in known:
        raise UserError(f"unknown backbone {name!r}. {did_you_mean(name, [*BACKBONES, *known])}")


def parameter_count(model: Any) -> int:
    return cast(int, sum(p.numel() for p in model.parameters()))
