"""A GPU that fails: what is told from what, without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ltbench.errors import last_line
from ltbench.spec import TrialSpec
from ltbench.training import trial
from ltbench.training.device.health import gpu_lost, out_of_memory
from ltbench.training.graph.passes import Unfaithful
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FAULT = """CUDA error: device-side assert triggered
Search for `cudaErrorAssert' in the documentation of CUDA for more information.
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasSgemm`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "Triton Error [CUDA]: out of memory",
    ],
)
def test_memory_runs_out_beside_torchs_allocator_too(words: str) -> None:
    """Of several trials on a GPU one may find no room for CUDA's own part, or a library's."""
    assert out_of_memory(RuntimeError(words), GPU)
    assert not out_of_memory(RuntimeError(words), CPU)
    assert not out_of_memory(ValueError(words), GPU)


def test_other_errors_are_no_lack_of_memory() -> None:
    assert out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory."), CPU)
    assert not out_of_memory(RuntimeError(FAULT), GPU)


def test_a_gpu_is_lost_when_it_answers_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fails(device: Any) -> None:
        asked.append(device)
        raise RuntimeError(FAULT)

    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    assert not gpu_lost(GPU), "nothing in this process has used it"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert not gpu_lost(CPU)
    assert gpu_lost(GPU)
    monkeypatch.setattr(torch.cuda, "synchronize", asked.append)
    assert not gpu_lost(GPU)
    assert asked == [GPU, GPU]


def test_a_record_says_that_the_gpu_is_lost(
    make_spec: Callable[..., TrialSpec], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its checkpoints are kept, also where the fault came to light while a step was recorded."""
    anew: list[bool] = []

    class Fails:
        def __init__(self, *_: Any) -> None:
            raise Unfaithful(FAULT)

    monkeypatch.setattr(trial, "Trial", Fails)
    monkeypatch.setattr(trial.Checkpoints, "train_anew", lambda self: anew.append(True))
    monkeypatch.setattr(trial, "gpu_lost", lambda device: True)
    record = run_trial(make_spec("ce"), site)
    assert (record.status, record.environment["gpu_lost"], anew) == ("failed", True, [])
    monkeypatch.setattr(trial, "gpu_lost", lambda device: False)
    assert "gpu_lost" not in run_trial(make_spec("ce"), site).environment
    assert anew == [True]


def test_of_an_error_of_cuda_its_first_line_is_told() -> None:
    told = "torch.AcceleratorError: CUDA error: device-side assert triggered"
    assert last_line(f"Traceback (most recent call last):\n  File a.py\ntorch.AcceleratorError: {FAULT}") == told
    assert last_line("RuntimeError: one\nmore") == "more"
    assert last_line(f"{FAULT}\nThen:\n a\n b\n c\n d\n e\nValueError: no") == "ValueError: no"
