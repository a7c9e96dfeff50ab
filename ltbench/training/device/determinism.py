"""The same numbers twice on one GPU: a seed fixes nothing where sums are added up in the order of arrival."""

from __future__ import annotations

import os

import torch
import torch.utils.deterministic


def use_deterministic_algorithms(device: torch.device) -> None:
    """Have torch, cuDNN and cuBLAS compute deterministically in this process, and on this GPU. A CPU does so anyway.

    What has no deterministic form is computed all the same, and torch names it in a warning: of what torch lists,
    the adaptive pooling of torchvision's VGG and AlexNet, attention, and what a method brings along.
    Memory is not filled before its use, as torch would then do: that is for finding programs that read it.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.backends.cudnn.benchmark = False  # else the quickest algorithm of the moment
    torch.backends.cudnn.deterministic = True
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    if device.index is not None:
        torch.cuda.set_device(device)  # a checkpoint has the generator of the current GPU
