"""`compile: fused`: batch-norm, addition and ReLU of residual networks in fewer kernels (fused_kernels.py).

A network's blocks become ones that compute the same with these kernels while they train. Parameters, running
statistics, state dict and checkpoints stay what they are, and a test pass runs torch's own operations.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torchvision.models import resnet

from ltbench.models import resnet_cifar
from ltbench.training.device import fused_kernels as kernels

_MOST = 1 << 31
"""Numbers of a tensor that the kernels' positions can count."""
_PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)


def fuse(network: nn.Module) -> int:
    """Have the blocks of a network that are known here use the fused kernels, in place; how many blocks that are.

    Known are blocks of ltbench's and torchvision's residual networks, the beginning of the latter, and `nn.Sequential`
    with batch-norm in it.
    """
    found = 0
    for module in network.modules():
        fused = _FUSED.get(type(module))
        if fused is not None and (
            fused is not FusedSequential or any(type(m) is nn.BatchNorm2d for m in module.children())
        ):
            module.__class__ = fused
        found += type(module) in _FUSED.values()
    return found


def launch_problem() -> str | None:
    """What keeps Triton from launching kernels on the GPU here; None: nothing. It finds the driver, and builds a small
    library in C when it is first used on a machine."""
    try:
        assert triton.runtime.driver.active is not None
    except Exception as error:
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return None


def can_fuse(device: torch.device) -> bool:
    """Whether the kernels run on this device: a GPU, or Triton's interpreter (TRITON_INTERPRET=1) on a CPU."""
    return device.type == "cuda" or bool(triton.knobs.runtime.interpret)


def normalised(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None = None, *, relu: bool = True) -> Tensor:
    """Batch-norm, then the addition, then ReLU: fused while it trains, else operation by operation.

    Args:
        residual: as large as `x`. None: nothing is added.
    """
    if not _serves(norm, x, residual):
        out: Tensor = norm(x)
        out = out if residual is None else out + residual
        return F.relu(out, inplace=True) if relu else out
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    statistics = (norm.running_mean, norm.running_var, norm.momentum, norm.eps)
    return torch.as_tensor(_Fused.apply(x, residual, norm.weight, norm.bias, *statistics, relu))


def _serves(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None) -> bool:
    """A plain batch-norm that trains and nobody listens to, and images that the kernels take."""
    if not (type(norm) is nn.BatchNorm2d and norm.training):
        return False  # before the images are looked at: where a network is traced there are none
    plain = norm.affine and norm.track_running_stats and norm.momentum is not None
    alike = residual is None or (residual.shape == x.shape and residual.dtype == x.dtype)
    fits = x.ndim == 4 and x.dtype in _PRECISIONS and x.shape[1] < x.numel() < _MOST  # of one row there is no variance
    return plain and not _heard(norm) and alike and fits and can_fuse(x.device)


def _heard(layer: nn.Module) -> bool:
    """Whether somebody listens to it, and would miss it."""
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return any(hooks)


class _Fused(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, running_mean: Tensor,
        running_var: Tensor, momentum: float, eps: float, relu: bool,
    ) -> Tensor:  # fmt: skip
        y, mean, scale = _forward(x, residual, weight, bias, running_mean, running_var, momentum, eps, relu)
        ctx.added, ctx.relu = residual is not None, relu
        ctx.save_for_backward(x, y if ctx.added else x, weight, bias, mean, scale)
        return torch.as_tensor(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dx, dweight, dbias, passed = _backward(dy, *ctx.saved_tensors, ctx.relu, ctx.added)
        return dx, passed if ctx.added else None, dweight, dbias, None, None, None, None, None


# Operators of torch's: what records a pass, or looks at it, sees one operation with tensors in and out.
_forward = torch.library.custom_op(
    "ltbench::fused_norm", kernels.forward, mutates_args=("running_mean", "running_var")
)  # fmt: skip
_backward = torch.library.custom_op("ltbench::fused_norm_backward", kernels.backward, mutates_args=())


@_forward.register_fake
def _forward_shapes(x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, running_mean: Tensor,
                    running_var: Tensor, momentum: float, eps: float, relu: bool) -> tuple[Tensor, ...]:  # fmt: skip
    y = torch.empty_like(x, memory_format=torch.channels_last)
    return y, *(torch.empty_like(running_mean, dtype=torch.float32) for _ in range(2))


@_backward.register_fake
def _backward_shapes(dy: Tensor, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor,
                     relu: bool, added: bool) -> tuple[Tensor, ...]:  # fmt: skip
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    return dx, torch.empty_like(weight), torch.empty_like(bias), torch.empty_like(dx) if added else x.new_empty(0)


class FusedSequential(nn.Sequential):
    """Layers one after another; a ReLU that follows a batch-norm is fused with it."""

    def forward(self, input: Tensor) -> Tensor:
        """What the last layer gives."""
        layers, at = list(self), 0
        while at < len(layers):
            layer = layers[at]
            at += 1
            if type(layer) is not nn.BatchNorm2d:
                input = layer(input)
                continue
            relu = at < len(layers) and type(layers[at]) is nn.ReLU and not _heard(layers[at])
            input = normalised(layer, input, relu=relu)
            at += relu
        return input


class FusedCifarBlock(resnet_cifar.BasicBlock):
    """The block of the networks for 32x32 images."""

    def forward(self, x: Tensor) -> Tensor:
        """As in BasicBlock."""
        out = normalised(self.bn1, self.conv1(x))
        return normalised(self.bn2, self.conv2(out), self.shortcut(x))


class FusedBasicBlock(resnet.BasicBlock):  # type: ignore[misc]
    """torchvision's, of ResNet-18 and 34."""

    def forward(self, x: Tensor) -> Tensor:
        """As in BasicBlock."""
        out = normalised(self.bn1, self.conv1(x))
        return normalised(self.bn2, self.conv2(out), x if self.downsample is None else self.downsample(x))


class FusedBottleneck(resnet.Bottleneck):  # type: ignore[misc]
    """torchvision's, of larger ResNets, ResNeXts and wide ResNets."""

    def forward(self, x: Tensor) -> Tensor:
        """As in Bottleneck."""
        out = normalised(self.bn1, self.conv1(x))
        out = normalised(self.bn2, self.conv2(out))
        return normalised(self.bn3, self.conv3(out), x if self.downsample is None else self.downsample(x))


class FusedResNet(resnet.ResNet):  # type: ignore[misc]
    """torchvision's ResNet: what comes before its blocks."""

    def _forward_impl(self, x: Tensor) -> Tensor:
        x = self.maxpool(normalised(self.bn1, self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        out: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return out


_FUSED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Sequential: FusedSequential,
    resnet_cifar.BasicBlock: FusedCifarBlock,
    resnet.BasicBlock: FusedBasicBlock,
    resnet.Bottleneck: FusedBottleneck,
    resnet.ResNet: FusedResNet,
}
"""What a module becomes; of exactly these types, a subclass may compute something else."""
