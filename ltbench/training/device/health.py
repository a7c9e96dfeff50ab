"""What is wrong with a GPU: its memory did not suffice, or it computes no more in this process."""

from __future__ import annotations

import torch

_NO_ROOM = ("out of memory", "STATUS_ALLOC_FAILED", "when calling `cublasCreate")
"""Words of errors of CUDA, its libraries and Triton, which ask for memory beside torch's allocator. cuBLAS calls itself
not initialised where it found no room for itself."""


def out_of_memory(error: BaseException, device: torch.device) -> bool:
    """Whether it is a GPU's memory that did not suffice for what ran on this device."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    on_gpu = device.type == "cuda" and isinstance(error, RuntimeError)
    return on_gpu and any(words in str(error) for words in _NO_ROOM)


def gpu_lost(device: torch.device) -> bool:
    """Whether every further use of this GPU fails in this process, as it does after a fault in a kernel (an index
    outside a tensor, say). Waits for what the device has begun."""
    if device.type != "cuda" or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False
