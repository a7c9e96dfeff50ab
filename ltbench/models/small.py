"""Backbones for tiny images and quick tests: a small convolutional network and a multi-layer perceptron."""

from __future__ import annotations

from torch import Tensor, nn


def build(name: str, shape: tuple[int, int, int]) -> nn.Module:
    return Mlp(shape) if name == "mlp" else SmallCnn(shape[2])


class SmallCnn(nn.Module):
    """Three 3x3 convolutions with batch-norm (16, 32, 64 channels, halving the side before the second and third),
    global average pool; 64 features."""

    dim = 64

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
        out: Tensor = self.layers(x)
        return out.mean(dim=(2, 3))


class Mlp(nn.Module):
    """Pixels -> 256 -> 128 features, ReLU after both."""

    dim = 128

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        height, width, channels = shape
        self.layers = nn.Sequential(
            nn.Linear(height * width * channels, 256), nn.ReLU(inplace=True), nn.Linear(256, self.dim), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x.flatten(1))
        return out
