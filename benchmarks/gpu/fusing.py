"""Batch-norm, addition and ReLU in kernels of ltbench's own (`compile: fused`): right on this card? worth it?

    python -m benchmarks.gpu.fusing [--device cuda] [--out FILE] [--share I/N] [PART...]

Parts: numbers (against the formula in double precision, twice the same), layers (microseconds forward and backward,
beside torch's operations), tiles (other ways to share out the work), training (300 steps of a ResNet-32, losses beside
those of the plain step). What a whole step takes is in steps.py. Each prints JSON lines. `--share 0/4` takes every
fourth size of `numbers`, so that four processes, which mostly compile, take all. On a CPU set TRITON_INTERPRET=1: small
sizes, to see that every line runs.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gpu.common import share_of
from benchmarks.gpu.steps import Lab
from ltbench.training.device import fused_kernels
from ltbench.training.device.determinism import use_deterministic_algorithms
from ltbench.training.device.fused import normalised
from ltbench.training.device.fused_kernels import Tiles

CIFAR = ((128, 16, 32, 32), (128, 32, 16, 16), (128, 64, 8, 8))
LARGE = ((64, 64, 112, 112), (64, 256, 56, 56), (64, 512, 7, 7))
ODD = ((127, 20, 31, 29), (3, 100, 5, 3), (700, 24, 1, 1), (2, 2048, 7, 7))
"""Sizes that no block divides."""
EDGE = {torch.bfloat16: 0.03, torch.float32: 1e-4}
"""So near to 0 rounding decides whether ReLU passes a number, and with it a whole gradient, which therefore is 0 there.
Torch's own operations round once more where something is added."""
KINDS = {"norm": (False, False), "norm, relu": (False, True), "norm, add, relu": (True, True)}
OTHERS = (
    Tiles(4096, 256, 16, 4), Tiles(4096, 256, 16, 8), Tiles(8192, 256, 16, 8), Tiles(2048, 256, 16, 4),
    Tiles(4096, 128, 32, 4), Tiles(8192, 128, 16, 8),
)  # fmt: skip


class Layer:
    """A batch-norm with its inputs, and the gradient that comes back to it.

    Args:
        added: a second input is added before ReLU.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, *, added: bool, relu: bool):
        rng = torch.Generator(device).manual_seed(sum(shape))

        def made(mean: float) -> Tensor:
            values = torch.randn(shape, generator=rng, device=device) + mean
            return values.to(dtype).contiguous(memory_format=torch.channels_last)

        self.norm, self.relu = nn.BatchNorm2d(shape[1]).to(device), relu
        nn.init.uniform_(self.norm.weight, 0.5, 1.5, generator=torch.Generator(device).manual_seed(0))
        nn.init.uniform_(self.norm.bias, -0.5, 0.5, generator=torch.Generator(device).manual_seed(1))
        # With a larger mean of the gradient, that of the scale, a sum of a million terms of either sign, would tell how
        # the mean of the images is rounded.
        self.given, self.up = [made(0.3) for _ in range(1 + added)], made(0.03)
        if relu:
            self.up.masked_fill_(self._before_relu().abs() < EDGE[dtype], 0.0)

    @torch.no_grad()
    def _before_relu(self) -> Tensor:
        """In double precision."""
        out: Tensor = copy.deepcopy(self.norm).double()(self.given[0].double())
        return out + self.given[1].double() if len(self.given) > 1 else out

    def run(self, norm: nn.BatchNorm2d, given: list[Tensor], up: Tensor, *, fuse: bool) -> list[Tensor]:
        """Forward and backward: output, gradients, running statistics."""
        norm.zero_grad(set_to_none=True)
        given = [t.detach().requires_grad_() for t in given]
        if fuse:
            y = normalised(norm, *given, relu=self.relu)
            if type(y.grad_fn).__name__ != "_FusedBackward":
                raise RuntimeError("torch's operations have run in place of the fused kernels")
        else:
            y = norm(given[0])
            y = y + given[1] if len(given) > 1 else y
            y = F.relu(y, inplace=True) if self.relu else y
        y.backward(up)  # type: ignore[no-untyped-call]
        gradients = [t.grad for t in (*given, *norm.parameters())]
        statistics = [t for t in (norm.running_mean, norm.running_var) if t is not None]
        return [y.detach(), *(g for g in gradients if g is not None), *statistics]

    def outcome(self, dtype: torch.dtype, *, fuse: bool) -> list[Tensor]:
        """The same on a copy, in this precision."""
        norm = copy.deepcopy(self.norm)
        norm = norm.double() if dtype == torch.float64 else norm
        return self.run(norm, [t.to(dtype) for t in self.given], self.up.to(dtype), fuse=fuse)


class Fusing(Lab):
    """The measurements on one device.

    Attributes:
        share: which sizes of `numbers`, every N-th from the I-th on.
    """

    share = (0, 1)

    def _layers(
        self, shapes: tuple[tuple[int, ...], ...], share: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[dict[str, Any], Layer]]:
        sizes = [(shape, dtype) for shape in (shapes if self.cuda else [(3, 20, 5, 3)]) for dtype in EDGE]
        for shape, dtype in sizes[share[0] :: share[1]]:
            precision = "bf16" if dtype == torch.bfloat16 else "fp32"
            for kind, (added, relu) in KINDS.items():
                told = {"shape": list(shape), "precision": precision, "kind": kind}
                yield told, Layer(shape, dtype, self.device, added=added, relu=relu)

    def numbers(self) -> None:
        """Largest differences from the formula, in parts of the largest number: of ours and of torch's operations."""
        for told, layer in self._layers((*CIFAR, *LARGE, *ODD), self.share):
            try:
                dtype = layer.given[0].dtype
                right = layer.outcome(torch.float64, fuse=False)
                once, again, torchs = (layer.outcome(dtype, fuse=fuse) for fuse in (True, True, False))
                same = all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
                ours, theirs = _off(once, right), _off(torchs, right)
                # One rounding of the largest number, which Triton's interpreter cuts off instead.
                floor = 1e-5 if told["precision"] == "fp32" else 4.5e-3 if self.cuda else 8e-3
                good = same and all(a <= max(floor, 2 * b) for a, b in zip(ours, theirs, strict=True))
                self.bad += not good
                self.say(part="fused numbers", **told, good=good, twice_the_same=same, ours=ours, torchs=theirs)
            except Exception as error:
                self.failed("fused numbers", str(told), "", error)

    def layers(self) -> None:
        """Microseconds of a layer forward and backward, within a graph."""
        for told, layer in self._layers((*CIFAR, *LARGE)):
            if tuple(told["shape"]) in LARGE and told["precision"] == "fp32":
                continue
            try:
                ours, theirs = (self._microseconds(layer, fuse=fuse) for fuse in (True, False))
                self.say(part="fused layers", **told, us=ours, torchs_us=theirs, times=round(theirs / ours, 2))
            except Exception as error:
                self.failed("fused layers", str(told), "", error)

    def tiles(self) -> None:
        """Other ways to share out the work, on the layers of a ResNet-32 in bf16."""
        for shape in CIFAR if self.cuda else [(3, 20, 5, 3)]:
            layer = Layer(shape, torch.bfloat16, self.device, added=True, relu=True)
            chosen, found = fused_kernels.TILES, {}
            for tiles in (chosen, *OTHERS) if self.cuda else (chosen, Tiles(64, 8, 16, 4)):
                fused_kernels.TILES = tiles
                try:
                    found[str(tiles)] = self._microseconds(layer, fuse=True)
                except Exception as error:
                    self.failed("fused tiles", str(tiles), "bf16", error)
                finally:
                    fused_kernels.TILES = chosen
            self.say(part="fused tiles", shape=list(shape), us=found, best=min(found, key=lambda name: found[name]))

    def training(self) -> None:
        """The mean losses of the epochs, plain and fused: as near as two roundings of one training are."""
        steps = 300 if self.cuda else 22
        for precision in ("bf16", "fp32"):
            losses: dict[str, list[float]] = {}
            for mode in ("none", "fused"):
                try:
                    losses[mode] = self.losses("ce", precision, mode, steps)
                except Exception as error:
                    self.failed("fused training", mode, precision, error)
            pairs = list(zip(losses.get("none", ()), losses.get("fused", ()), strict=False))
            near = bool(pairs) and all(abs(a - b) <= 0.05 * a for a, b in pairs)
            self.bad += not near
            self.say(part="fused training", precision=precision, steps=steps, near=near, losses=losses)

    def _microseconds(self, layer: Layer, *, fuse: bool) -> float:
        """Of one pass forward and backward, the median of five rounds."""
        if not self.cuda:
            return _clocked(lambda: layer.run(layer.norm, layer.given, layer.up, fuse=fuse), 1)
        times, stream = 20, torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # compiled, and cuDNN's handles made, before it is recorded
                layer.run(layer.norm, layer.given, layer.up, fuse=fuse)
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                for _ in range(times):
                    layer.run(layer.norm, layer.given, layer.up, fuse=fuse)
            rounds = sorted(_clocked(graph.replay, times, stream.synchronize) for _ in range(6))
        return rounds[2]


def _clocked(work: Callable[[], Any], times: int, wait: Callable[[], Any] = lambda: None) -> float:
    wait()
    began = time.perf_counter()
    work()
    wait()
    return round(1e6 * (time.perf_counter() - began) / times, 2)


def _off(found: list[Tensor], right: list[Tensor]) -> list[float]:
    return [float(f"{float((f.double() - r).abs().max() / r.abs().max()):.1e}")
            for f, r in zip(found, right, strict=True)]  # fmt: skip


def main() -> int:
    """0: all numbers are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["numbers", "layers", "tiles", "training"], metavar="PART")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", help="file that the lines are added to")
    parser.add_argument("--share", default="0/1", metavar="I/N", help="of the sizes, every N-th from the I-th on")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    use_deterministic_algorithms(device)
    lab = Fusing(device, chosen.out)
    lab.share = share_of(chosen.share)
    for part in chosen.parts:
        getattr(lab, part)()
    return int(lab.bad > 0)


if __name__ == "__main__":
    sys.exit(main())
