"""Backbones for tiny images and quick tests: a small convolutional network, a small transformer, a perceptron."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def build(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """`cnn_small`, `vit_small` or `mlp` for images of `shape` (height, width, channels)."""
    if name == "vit_small":
        return SmallVit(shape)
    return Mlp(shape) if name == "mlp" else SmallCnn(shape[2])


class SmallCnn(nn.Module):
    """Three 3x3 convolutions with batch-norm (16, 32, 64 channels, halving the side before the second and third),
    global average pool; 64 features."""

    dim = 64
    stages = tuple(tuple(f"layers.{i + j}" for j in range(3)) for i in (0, 3, 6))

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels, 16, 32, 64]
        layers: list[nn.Module] = []
        for i in range(3):
            layers += [
                nn.Conv2d(widths[i], widths[i + 1], 3, stride=1 if i == 0 else 2, padding=1, bias=False),
                nn.BatchNorm2d(widths[i + 1]),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 64)."""
        out: Tensor = self.layers(x)
        return out.mean(dim=(2, 3))


class SmallVit(nn.Module):
    """A vision transformer (Dosovitskiy et al., ICLR 2021) with three pre-norm blocks of width 64 and four heads, on
    4x4 patches (fewer below 12 pixels, where a patch has 3; what is left over at the edge is cut off), averaged; 64
    features."""

    dim = 64
    stages = (("blocks.0",), ("blocks.1",), ("blocks.2",))

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        height, width, channels = shape
        patch = (max(3, height // 4), max(3, width // 4))
        places = (height // patch[0]) * (width // patch[1])
        self.embed = nn.Conv2d(channels, self.dim, patch, stride=patch)
        self.place = nn.Parameter(torch.randn(1, places, self.dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(self.dim, heads=4) for _ in range(3)))
        self.norm = nn.LayerNorm(self.dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 64)."""
        tokens: Tensor = self.embed(x).flatten(2).transpose(1, 2) + self.place
        out: Tensor = self.norm(self.blocks(tokens)).mean(dim=1)
        return out


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, dim) -> the same shape."""
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Mlp(nn.Module):
    """Pixels -> 256 -> 128 features, ReLU after both."""

    dim = 128
    stages = (("layers.0", "layers.1"), ("layers.2", "layers.3"))

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        height, width, channels = shape
        self.layers = nn.Sequential(
            nn.Linear(height * width * channels, 256), nn.ReLU(inplace=True), nn.Linear(256, self.dim), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 128)."""
        out: Tensor = self.layers(x.flatten(1))
        return out
