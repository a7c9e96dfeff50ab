"""Batch-norm that torch.compile leaves whole on a CPU.

The compiler takes batch-norm apart into sums and products and makes loops of them. On a CPU, with channels last, those
loops are slower than torch's own kernel, by more than what it gains by fusing the rest (benchmarks/README.md). As an
operator of our own batch-norm stays one call for it: torch's kernels, and their numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def keep_whole(network: nn.Module) -> None:
    """Make every plain batch-norm of images in `network` one that the compiler does not take apart, in place.

    Parameters, running statistics, state dict and evaluation stay what they are.
    """
    for module in network.modules():
        if type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats and module.momentum:
            module.__class__ = WholeBatchNorm2d


class WholeBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d with scale, shift, running statistics and a fixed momentum; (B, C, H, W) to the same."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> the same; moves the running statistics where it trains."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        output, _, _, mean, var = _batch_norm(
            input, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps
        )
        self.running_mean.copy_(mean)
        self.running_var.copy_(var)
        return torch.as_tensor(output)


BATCH_NORMS = (nn.BatchNorm2d, WholeBatchNorm2d)
"""Types that compute the same; a subclass of somebody else's may not."""


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Output, the batch's mean and 1/deviation, and the running mean and variance after it. What is given stays as it
    is: the compiler may order operators freely only if they change nothing."""
    running_mean, running_var = running_mean.clone(), running_var.clone()
    y, mean, invstd = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
    return y, mean, invstd, running_mean, running_var


def _backward(
    dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for input, scale and shift."""
    gradients = torch.ops.aten.native_batch_norm_backward
    dx, dweight, dbias = gradients(dy, x, weight, None, None, mean, invstd, True, eps, [True, True, True])
    return dx, dweight, dbias


_batch_norm = torch.library.custom_op("ltbench::batch_norm", _forward, mutates_args=())
_batch_norm_backward = torch.library.custom_op("ltbench::batch_norm_backward", _backward, mutates_args=())


@_batch_norm.register_fake
def _forward_shapes(x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor,
                    momentum: float, eps: float) -> tuple[Tensor, ...]:  # fmt: skip
    return torch.empty_like(x), *(torch.empty_like(running_mean) for _ in range(4))


@_batch_norm_backward.register_fake
def _backward_shapes(dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, invstd: Tensor,
                     eps: float) -> tuple[Tensor, ...]:  # fmt: skip
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, *_, eps = inputs
    ctx.save_for_backward(x, weight, output[1], output[2])
    ctx.eps = eps
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dy: Tensor, *_others: Tensor | None) -> tuple[Tensor | None, ...]:
    return *_batch_norm_backward(dy, *ctx.saved_tensors, ctx.eps), None, None, None, None


_batch_norm.register_autograd(_gradients, setup_context=_remember)
