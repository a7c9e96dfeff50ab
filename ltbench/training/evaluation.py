"""The test pass: a model's logits for all images, in order."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ltbench.data.loader import Batches
from ltbench.models.towers import PreparedBatches
from ltbench.parts import Classifier
from ltbench.training.device.batchnorm import BATCH_NORMS

FOLD_FROM = 2_000
"""Images from which folding the batch-norm costs less than it saves (a ResNet-32 is folded in 0.1 s)."""
_CACHED_BYTES = 1 << 17
"""Bytes of one channel of a batch that a core's caches bear: 32 images of 32x32 pixels in fp32, 64 in bf16."""


def precision(recipe: Mapping[str, Any], device: torch.device) -> AbstractContextManager[Any]:
    """fp32, or bf16 autocast: matrix products in bfloat16, weights, batch-norm statistics and loss in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if recipe["precision"] == "bf16" else nullcontext()


@torch.no_grad()  # under inference_mode autocast converts the weights anew for every batch
def logits_of(
    model: Classifier, batches: Batches | PreparedBatches, recipe: Mapping[str, Any], *, fold: bool = False
) -> NDArray[np.float32]:
    """The model's logits for all images in order, (N, C) float32; leaves the model's modes as they were.

    Args:
        fold: compute with the batch-norm folded into the convolutions before it. A tenth faster and equal up to
            rounding, so it serves for curves, never for the numbers that are compared.
    """
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    on_cpu = batches.device.type == "cpu"
    try:
        backbone = folded(model.backbone) if fold and len(batches) >= FOLD_FROM else model.backbone
        features = in_pieces(backbone, recipe) if on_cpu else backbone
        with precision(recipe, batches.device):
            parts = [model.classify(features(x)).float() for x in batches.in_order(128 if on_cpu else 1024)]
    finally:
        for module, mode in modes:
            module.training = mode
    return np.asarray(torch.cat(parts).cpu().numpy())


def in_pieces(backbone: nn.Module, recipe: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """The backbone, computed a piece of the batch at a time on a CPU, so that the activations stay in its caches.

    Bit-equal: convolutions treat images one by one. Matrix products do not always, so the head gets the whole batch,
    and pieces have 16 images at least and never a remainder.
    """
    bytes_each = 2 if recipe["precision"] == "bf16" else 4

    def features(x: Tensor) -> Tensor:
        pixels = x[0, 0].numel() if x.ndim == 4 else 1
        fitting = _CACHED_BYTES // (pixels * bytes_each)
        size = max(16, 1 << max(fitting, 1).bit_length() - 1)  # a power of two, which divides a full batch
        if len(x) <= size or len(x) % size:
            return torch.as_tensor(backbone(x))
        return torch.cat([backbone(piece) for piece in torch.split(x, size)])

    return features


def folded(backbone: nn.Module) -> nn.Module:
    """A copy in eval mode in which every batch-norm that directly follows a convolution is part of it; the backbone
    itself where its structure cannot be traced."""
    try:
        tracer, root = _Tracer(), copy.deepcopy(backbone).eval()
        graph = fx.GraphModule(root, tracer.trace(root))
    except Exception:  # its code runs with stand-ins for tensors, and may do anything with them
        return backbone
    modules = dict(graph.named_modules())
    calls = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    for node in list(graph.graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        norm, conv = modules[str(node.target)], modules[str(before.target)]
        if type(norm) not in BATCH_NORMS or type(conv) is not nn.Conv2d or norm.running_mean is None:
            continue
        if calls.count(node.target) == calls.count(before.target) == 1:
            graph.set_submodule(str(before.target), fuse_conv_bn_eval(conv, norm))
            node.replace_all_uses_with(before)
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


class _Tracer(fx.Tracer):
    """Takes batch-norm as one step, also that of a compiled network (ltbench/training/device/batchnorm.py)."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in BATCH_NORMS or super().is_leaf_module(m, module_qualified_name)
