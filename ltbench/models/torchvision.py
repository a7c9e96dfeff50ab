"""Any torchvision classification network as a backbone: its last linear layer is taken off."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.errors import UserError


@cache
def names() -> tuple[str, ...]:
    """All classification networks torchvision knows."""
    from torchvision import models

    return tuple(models.list_models(module=models))


@cache
def check(name: str, shape: tuple[int, int, int]) -> None:
    """Build the network, without memory for its weights where it allows that, and send one batch through it.

    Raises:
        UserError: it cannot be built, or cannot read such images.
    """
    height, width, channels = shape
    if channels != 3:
        raise UserError(f"backbone {name!r} (torchvision) reads colour images; this data set has {channels} channel")
    try:
        try:
            _send_one_batch(name, shape, "meta")
        except NotImplementedError:  # a few networks compute with their weights while they are built
            with torch.random.fork_rng():
                _send_one_batch(name, shape, "cpu")
    except UserError:
        raise
    except Exception as error:  # networks fail on small images in their own ways
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"backbone {name!r} cannot read images of {height}x{width} pixels ({reason})") from error


def _send_one_batch(name: str, shape: tuple[int, int, int], device: str) -> None:
    height, width, channels = shape
    with torch.device(device), torch.no_grad():
        build(name, shape)(torch.zeros(2, channels, height, width))


def build(name: str, shape: tuple[int, int, int]) -> TorchvisionBackbone:
    """Freshly initialised, no weights are fetched. Raises UserError for a network without a final linear layer."""
    from torchvision import models

    side, extra = shape[0], {}
    if name.startswith("vit_"):
        extra["image_size"] = side
    if name in ("googlenet", "inception_v3"):
        extra |= {"aux_logits": False, "init_weights": True}
    return TorchvisionBackbone(name, models.get_model(name, weights=None, **extra))


class TorchvisionBackbone(nn.Module):
    """The network up to its classifier; `.dim` features."""

    def __init__(self, name: str, network: Any) -> None:
        super().__init__()
        path, last = "", None
        for candidate, module in network.named_modules():
            if isinstance(module, nn.Linear):
                path, last = candidate, module
        if last is None or last.out_features != 1000:
            raise UserError(f"backbone {name!r}: its classifier is not a linear layer, so it cannot be replaced")
        network.set_submodule(path, nn.Identity())
        self.network = network
        self.dim = last.in_features

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network(x)
        return features
