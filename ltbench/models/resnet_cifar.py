"""ResNet-20/32/44/56 for 32x32 images (He et al., CVPR 2016, section 4.2), with option-A shortcuts.

Parameters with a linear head: ResNet-32 has 464,154 for 10 classes and 470,004 for 100, as in LDAM-DRW.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

DEPTHS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9}


def build(name: str, shape: tuple[int, int, int]) -> ResNetCifar:
    """For images of `shape` (32, 32, channels); `name` is one of `DEPTHS`."""
    return ResNetCifar(DEPTHS[name], channels=shape[2])


class ResNetCifar(nn.Module):
    """Three stages of `blocks` basic blocks with 16, 32 and 64 channels; global average pool; 64 features."""

    dim = 64

    def __init__(self, blocks: int, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv3x3(channels, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        widths = [16] * blocks + [32] * blocks + [64] * blocks
        incoming = [16, *widths[:-1]]
        self.blocks = nn.Sequential(*(BasicBlock(i, w) for i, w in zip(incoming, widths, strict=True)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """The modules of each stage, first to last (parts.split_last_stage)."""
        names = [f"blocks.{i}" for i in range(len(self.blocks))]
        each = len(names) // 3
        return tuple(tuple(names[i : i + each]) for i in range(0, len(names), each))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, 32, 32) -> (N, 64)."""
        x = self.blocks(self.stem(x))
        return x.mean(dim=(2, 3))


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus the shortcut. Where the width doubles, the shortcut takes every second pixel and pads
    the channels with zeros, half before and half after (option A: no parameters)."""

    def __init__(self, incoming: int, width: int) -> None:
        super().__init__()
        self.stride = 1 if incoming == width else 2
        self.pad = (width - incoming) // 2
        self.conv1 = _conv3x3(incoming, width, self.stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, incoming, H, W) -> (N, width, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x), inplace=True)

    def shortcut(self, x: Tensor) -> Tensor:
        """(N, incoming, H, W) -> (N, width, H / stride, W / stride), without parameters."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad)) if self.stride == 2 else x


def _conv3x3(incoming: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(incoming, width, kernel_size=3, stride=stride, padding=1, bias=False)
