"""Batch-norm, addition and ReLU in two Triton kernels forward and two backward, for images with channels last.

Such images are a table in memory: a row per pixel, a column per channel. A kernel's programs take some rows of some
columns each. The first kernel leaves sums of its rows, the second adds all of them up, always in the same order, and
does the rest. Nothing is added in the order of arrival, so the same numbers give the same bits. How rows are shared out
depends on the shape alone, never on the GPU.

ReLU hands on what is not a number, as torch's does: else a training that diverged would go on unseen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

# ruff: noqa: N803 - a kernel's constants are written in capitals


@dataclass(frozen=True)
class Tiles:
    """How a table is shared out.

    Attributes:
        numbers: that a program reads at once, a power of two. programs: at most, for each part of the columns, a power
            of two. columns: of a program at most, a power of two. warps: of a program.
    """

    numbers: int = 4096
    programs: int = 128
    columns: int = 16
    warps: int = 4


TILES = Tiles()
"""Reasoned, not measured. A layer of a ResNet-32 is shared by 128 or 256 programs, enough for a GPU of 132
multiprocessors. As the second kernel's programs read the sums of all parts of their columns, few columns and few parts
are better: at most 16 KB beside 8 KB of the layer. benchmarks/gpu/fusing.py tries others."""


@triton.jit
def _sum_up(x, means, squares, M, ROWS, C: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr) -> None:
    """Mean and sum of squared deviations of every program's rows. Deviations are taken from the program's first row,
    which is a sample of them: so little is lost where the mean is large."""
    part, columns = tl.program_id(0), tl.program_id(1) * BC + tl.arange(0, BC)
    inside = columns < C
    first = part * ROWS
    last = tl.minimum(first + ROWS, M)
    origin = tl.load(x + first * C + columns, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros((BM, BC), tl.float32)
    squared = tl.zeros((BM, BC), tl.float32)
    for start in range(first, last, BM):
        rows = start + tl.arange(0, BM)
        there = (rows < last)[:, None] & inside[None, :]
        value = tl.load(x + rows[:, None] * C + columns[None, :], mask=there, other=0.0).to(tl.float32)
        away = tl.where(there, value - origin[None, :], 0.0)
        total += away
        squared += away * away
    count = (last - first).to(tl.float32)
    added = tl.sum(total, 0)
    spread = tl.sum(squared, 0) - added * added / count
    tl.store(means + part * C + columns, origin + added / count, mask=inside)
    tl.store(squares + part * C + columns, tl.where(spread < 0.0, 0.0, spread), mask=inside)


@triton.jit
def _normalise(
    x, residual, y, weight, bias, means, squares, mean_out, scale_out,
    running_mean, running_var, M, ROWS, eps, momentum,
    C: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr, PARTS: tl.constexpr, ADD: tl.constexpr, RELU: tl.constexpr,
) -> None:  # fmt: skip
    """The mean and 1/deviation of all rows from those of the parts (Chan et al., 1979), then the output. The first
    program of each part of the columns keeps the statistics."""
    part, columns = tl.program_id(0), tl.program_id(1) * BC + tl.arange(0, BC)
    inside = columns < C
    parts = tl.arange(0, PARTS)
    counts = tl.minimum(tl.maximum(M - parts * ROWS, 0), ROWS).to(tl.float32)[:, None]
    some = (counts > 0.0) & inside[None, :]
    cells = parts[:, None] * C + columns[None, :]
    part_means = tl.load(means + cells, mask=some, other=0.0)
    mean = tl.sum(part_means * counts, 0) / M
    away = tl.where(some, part_means - mean[None, :], 0.0)
    var = tl.sum(tl.load(squares + cells, mask=some, other=0.0) + counts * away * away, 0) / M
    scale = 1.0 / tl.sqrt_rn(var + eps)
    if part == 0:
        tl.store(mean_out + columns, mean, mask=inside)
        tl.store(scale_out + columns, scale, mask=inside)
        old_mean = tl.load(running_mean + columns, mask=inside, other=0.0)
        old_var = tl.load(running_var + columns, mask=inside, other=0.0)
        unbiased = var * (M / (M - 1.0))
        tl.store(running_mean + columns, (1.0 - momentum) * old_mean + momentum * mean, mask=inside)
        tl.store(running_var + columns, (1.0 - momentum) * old_var + momentum * unbiased, mask=inside)
    w = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    first = part * ROWS
    last = tl.minimum(first + ROWS, M)
    for start in range(first, last, BM):
        rows = start + tl.arange(0, BM)
        there = (rows < last)[:, None] & inside[None, :]
        places = rows[:, None] * C + columns[None, :]
        value = tl.load(x + places, mask=there, other=0.0).to(tl.float32)
        out = (value - mean[None, :]) * scale[None, :] * w[None, :] + b[None, :]
        if ADD:
            out += tl.load(residual + places, mask=there, other=0.0).to(tl.float32)
        if RELU:
            out = tl.where(out < 0.0, 0.0, out)
        tl.store(y + places, out.to(y.dtype.element_ty), mask=there)


@triton.jit
def _sum_gradients(
    dy, x, y, passed, weight, bias, mean_in, scale_in, dweights,
    dbiases, M, ROWS,
    C: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr, ADD: tl.constexpr, RELU: tl.constexpr,
) -> None:  # fmt: skip
    """Every program's sums for the gradients of scale and shift. Where something was added, the gradient behind ReLU
    is written down: it is that of what was added, and the next kernel reads it."""
    part, columns = tl.program_id(0), tl.program_id(1) * BC + tl.arange(0, BC)
    inside = columns < C
    mean = tl.load(mean_in + columns, mask=inside, other=0.0)
    scale = tl.load(scale_in + columns, mask=inside, other=0.0)
    w = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    first = part * ROWS
    last = tl.minimum(first + ROWS, M)
    dw = tl.zeros((BM, BC), tl.float32)
    db = tl.zeros((BM, BC), tl.float32)
    for start in range(first, last, BM):
        rows = start + tl.arange(0, BM)
        there = (rows < last)[:, None] & inside[None, :]
        places = rows[:, None] * C + columns[None, :]
        gradient = tl.load(dy + places, mask=there, other=0.0).to(tl.float32)
        normal = (tl.load(x + places, mask=there, other=0.0).to(tl.float32) - mean[None, :]) * scale[None, :]
        if RELU:
            out = normal * w[None, :] + b[None, :]
            if ADD:
                out = tl.load(y + places, mask=there, other=0.0).to(tl.float32)
            gradient = tl.where(out <= 0.0, 0.0, gradient)
        if ADD:
            tl.store(passed + places, gradient.to(passed.dtype.element_ty), mask=there)
        db += gradient
        dw += tl.where(there, gradient * normal, 0.0)
    tl.store(dweights + part * C + columns, tl.sum(dw, 0), mask=inside)
    tl.store(dbiases + part * C + columns, tl.sum(db, 0), mask=inside)


@triton.jit
def _gradient_of_input(
    dy, x, dx, weight, bias, mean_in, scale_in, dweights, dbiases,
    dweight, dbias, M, ROWS,
    C: tl.constexpr, BM: tl.constexpr, BC: tl.constexpr, PARTS: tl.constexpr, RELU: tl.constexpr,
) -> None:  # fmt: skip
    """The sums of all parts, and with them the gradient of the input; `dy` is behind ReLU already unless RELU says that
    it is not."""
    part, columns = tl.program_id(0), tl.program_id(1) * BC + tl.arange(0, BC)
    inside = columns < C
    parts = tl.arange(0, PARTS)
    some = (parts * ROWS < M)[:, None] & inside[None, :]
    cells = parts[:, None] * C + columns[None, :]
    dw = tl.sum(tl.load(dweights + cells, mask=some, other=0.0), 0)
    db = tl.sum(tl.load(dbiases + cells, mask=some, other=0.0), 0)
    if part == 0:
        tl.store(dweight + columns, dw.to(dweight.dtype.element_ty), mask=inside)
        tl.store(dbias + columns, db.to(dbias.dtype.element_ty), mask=inside)
    mean = tl.load(mean_in + columns, mask=inside, other=0.0)
    scale = tl.load(scale_in + columns, mask=inside, other=0.0)
    w = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    first = part * ROWS
    last = tl.minimum(first + ROWS, M)
    for start in range(first, last, BM):
        rows = start + tl.arange(0, BM)
        there = (rows < last)[:, None] & inside[None, :]
        places = rows[:, None] * C + columns[None, :]
        gradient = tl.load(dy + places, mask=there, other=0.0).to(tl.float32)
        normal = (tl.load(x + places, mask=there, other=0.0).to(tl.float32) - mean[None, :]) * scale[None, :]
        if RELU:
            gradient = tl.where(normal * w[None, :] + b[None, :] <= 0.0, 0.0, gradient)
        found = (w * scale)[None, :] * (gradient - (db / M)[None, :] - normal * (dw / M)[None, :])
        tl.store(dx + places, found.to(dx.dtype.element_ty), mask=there)


class _Launch:
    """How a table is shared out among programs.

    Attributes:
        rows: of the table. each: rows of a program. parts: programs for one part of the columns.
    """

    def __init__(self, x: Tensor) -> None:
        channels, tiles = x.shape[1], TILES
        self.rows = x.numel() // channels
        self.columns = min(tiles.columns, max(16, triton.next_power_of_2(channels)))
        self.tile = tiles.numbers // self.columns
        wanted = min(tiles.programs, triton.cdiv(self.rows, self.tile))
        self.each = self.tile * triton.cdiv(triton.cdiv(self.rows, wanted), self.tile)
        self.parts = triton.cdiv(self.rows, self.each)
        self.grid = (self.parts, triton.cdiv(channels, self.columns))
        self.constants = {"C": channels, "BM": self.tile, "BC": self.columns, "num_warps": tiles.warps}
        self.most = triton.next_power_of_2(self.parts)

    def sums(self, x: Tensor) -> Tensor:
        """Two tables with a row for every part."""
        return torch.empty((2, self.parts, x.shape[1]), dtype=torch.float32, device=x.device)


def _dense(x: Tensor) -> Tensor:
    """Channels last, without gaps, beginning where a GPU reads 16 bytes at once: a kernel is compiled for that, and
    others would add up in another order."""
    x = x.contiguous(memory_format=torch.channels_last)
    return x.clone(memory_format=torch.channels_last) if x.data_ptr() % 16 else x


def forward(
    x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor,
    momentum: float, eps: float, relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Batch-norm of (N, C, H, W) with the batch's own statistics, then `+ residual`, then ReLU if `relu`; moves the
    running statistics.

    Returns:
        The output, and the mean and 1/deviation of every channel.
    """
    x = _dense(x)
    added = x if residual is None else _dense(residual)
    how, y = _Launch(x), torch.empty_like(x, memory_format=torch.channels_last)
    means, squares = how.sums(x)
    mean, scale = (torch.empty(x.shape[1], dtype=torch.float32, device=x.device) for _ in range(2))
    _sum_up[how.grid](x, means, squares, how.rows, how.each, **how.constants)
    _normalise[how.grid](
        x, added, y, weight, bias, means, squares, mean, scale, running_mean, running_var, how.rows, how.each, eps,
        momentum, PARTS=how.most, ADD=residual is not None, RELU=relu, **how.constants,
    )  # fmt: skip
    return y, mean, scale


def backward(
    dy: Tensor, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor, relu: bool, added: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients for input, scale, shift and what was added (where nothing was, an empty tensor).

    Args:
        y: the output; read where something was added. mean, scale: from `forward`.
    """
    dy, x, y = _dense(dy), _dense(x), _dense(y)
    how, dx = _Launch(x), torch.empty_like(x, memory_format=torch.channels_last)
    dweights, dbiases = how.sums(x)
    dweight, dbias = torch.empty_like(weight), torch.empty_like(bias)
    passed = torch.empty_like(x, memory_format=torch.channels_last) if added else x.new_empty(0)
    _sum_gradients[how.grid](
        dy, x, y, passed if added else x, weight, bias, mean, scale, dweights, dbiases, how.rows, how.each,
        ADD=added, RELU=relu, **how.constants,
    )  # fmt: skip
    _gradient_of_input[how.grid](
        passed if added else dy, x, dx, weight, bias, mean, scale, dweights, dbiases, dweight, dbias, how.rows,
        how.each, PARTS=how.most, RELU=relu and not added, **how.constants,
    )  # fmt: skip
    return dx, dweight, dbias, passed
