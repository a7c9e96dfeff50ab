"""Any torchvision classification network as a backbone: its last linear layer is taken off. And ResNet-10, which the
field uses on ImageNet-LT and torchvision has not."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.errors import UserError
from ltbench.models.weights import state_of
from ltbench.system.process import one_thread

RESNET10 = "resnet10"


@cache
def names() -> tuple[str, ...]:
    """All classification networks torchvision knows, and ResNet-10."""
    from torchvision import models

    return (RESNET10, *models.list_models(module=models))


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
            with one_thread(), torch.random.fork_rng():
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


def build(
    name: str, shape: tuple[int, int, int], checkpoint: Path | None = None, trainable: str = "all"
) -> TorchvisionBackbone:
    """Freshly initialised, or with the weights of a checkpoint; nothing is fetched.

    Args:
        trainable: all, or last_block.

    Raises:
        UserError: a network without a final linear layer, or a checkpoint of another one.
    """
    from torchvision import models

    side, extra = shape[0], {}
    if name.startswith("vit_"):
        extra["image_size"] = side
    if name in ("googlenet", "inception_v3"):
        extra |= {"aux_logits": False, "init_weights": True}
    if name == RESNET10:  # one basic block per stage: Liu et al., CVPR 2019
        network = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1])
    else:
        network = models.get_model(name, weights=None, **extra)
    backbone = TorchvisionBackbone(name, network)
    if checkpoint is not None:
        backbone.load(checkpoint)
    if trainable == "last_block":
        backbone.freeze_all_but_the_last_block()
    return backbone


class TorchvisionBackbone(nn.Module):
    """The network up to its classifier; `.dim` features.

    Attributes:
        pretrained: its weights are a checkpoint's.
    """

    pretrained = False

    def __init__(self, name: str, network: Any) -> None:
        super().__init__()
        path, last = "", None
        for candidate, module in network.named_modules():
            if isinstance(module, nn.Linear):
                path, last = candidate, module
        if last is None or last.out_features != 1000:
            raise UserError(f"backbone {name!r}: its classifier is not a linear layer, so it cannot be replaced")
        network.set_submodule(path, nn.Identity())
        self._name, self._classifier = name, path
        self.network = network
        self.dim = last.in_features

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, dim)."""
        features: Tensor = self.network(x)
        return features

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """The modules of each stage, first to last: of ResNets layer1 to layer4, of vision transformers their blocks;
        empty for other networks (parts.split_last_stage)."""
        names = [n for n, _ in self.network.named_modules() if re.fullmatch(r"layer\d|encoder\.layers\.\w+", n)]
        return tuple((f"network.{name}",) for name in names)

    def load(self, checkpoint: Path) -> None:
        """Put a checkpoint's weights in place; those of its classifier are left out. Raises UserError where it is of
        another network."""
        state = {name: value for name, value in state_of(checkpoint).items()
                 if not name.startswith(f"{self._classifier}.")}  # fmt: skip
        mine = self.network.state_dict()
        counters = {name for name in mine if name.endswith("num_batches_tracked")}  # older checkpoints lack them
        odd = [f"lacks {name}" for name in mine.keys() - counters - state.keys()]
        odd += [f"has {name}" for name in state.keys() - mine.keys()]
        odd += [f"has {name} of shape {tuple(state[name].shape)}, not {tuple(mine[name].shape)}"
                for name in mine.keys() & state.keys() if mine[name].shape != state[name].shape]  # fmt: skip
        if odd:
            raise UserError(f"backbone {self._name!r}: {checkpoint} holds the weights of another network: it "
                            f"{', '.join(sorted(odd)[:3])}{', ...' if len(odd) > 3 else ''}")  # fmt: skip
        self.network.load_state_dict({**{name: mine[name] for name in counters}, **state})
        self.pretrained = True

    def freeze_all_but_the_last_block(self) -> None:
        """Keep everything before the last residual block as it is: its weights become buffers, which no optimizer is
        given, and its batch-norm uses the statistics it came with. Raises UserError where there are no such blocks."""
        from torchvision.ops import FrozenBatchNorm2d

        stages = [module for name, module in self.network.named_children() if name.startswith("layer")]
        if not stages or not isinstance(stages[-1], nn.Sequential):
            raise UserError(f"backbone {self._name!r} has no residual blocks of which the last could be trained alone")
        trained = set(stages[-1][-1].modules())
        for path, module in list(self.network.named_modules()):
            if module in trained or not path:
                continue
            if isinstance(module, nn.BatchNorm2d):
                frozen = FrozenBatchNorm2d(module.num_features, module.eps)
                frozen.load_state_dict(module.state_dict())
                self.network.set_submodule(path, frozen)
            else:
                for name, weight in list(module.named_parameters(recurse=False)):
                    delattr(module, name)
                    module.register_buffer(name, weight.detach())
