"""`compile: fused`: its kernels under Triton's interpreter, and compiled for GPUs without one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from ltbench.errors import UserError
from ltbench.training.device.compiled import compiled

CASES = Path(__file__).with_name("fused_cases.py")
REPO = Path(__file__).parents[3]
IMAGES = ("x", "y", "dy", "dx", "residual", "passed")
"""Arguments of the kernels that are in the precision of the pass."""


@pytest.mark.nightly
def test_under_the_interpreter() -> None:
    """In a process of its own: Triton looks at the variable when it is imported."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    plugins = ("-p", "no:cacheprovider", "-p", "no:xdist", "--noconftest")
    command = [sys.executable, "-m", "pytest", "-q", *plugins, str(CASES)]
    done = subprocess.run(command, env=environment, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_a_trial_on_a_cpu_says_that_it_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(UserError, match=r"recipe\.compile: `fused` .*leave `compile` out"):
        compiled(nn.Linear(2, 2), {"compile": "fused"}, torch.device("cpu"))


def test_a_gpu_without_triton_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install triton"):
        compiled(nn.Linear(2, 2), {"compile": "fused"}, torch.device("cuda"))


def test_a_gpu_without_what_triton_builds_with_says_what_to_install() -> None:
    """Here there is not even a GPU: it is said before the first step, not in its midst."""
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("it can be used here")
    with pytest.raises(UserError, match=r"recipe\.compile: triton cannot be used .*\(RuntimeError: 0 active drivers"):
        compiled(nn.Linear(2, 2), {"compile": "fused"}, torch.device("cuda"))


@dataclass(frozen=True)
class Build:
    """How the kernels are compiled: for which GPUs, and for which sizes and kinds."""

    architecture: int = 90
    dtype: str = "bf16"
    constants: tuple[int, ...] = (16, 256, 16, 256)
    """C, BM, BC and PARTS."""
    kind: tuple[bool, bool] = (True, True)
    """ADD and RELU."""


BUILDS = [
    Build(), Build(constants=(64, 256, 16, 32)), Build(constants=(64, 64, 64, 128)), Build(80, "fp32"),
    Build(kind=(False, True)),
    Build(90, "fp32", (20, 128, 32, 1), (False, False)), Build(100, "fp32", (3, 256, 16, 2)),
]  # fmt: skip


@pytest.mark.parametrize("build", [BUILDS[1], *(pytest.param(b, marks=pytest.mark.nightly) for b in BUILDS)])
def test_the_kernels_compile_for_gpus(build: Build) -> None:
    """Down to machine code, which needs no GPU. Triton itself has rules that its interpreter lets pass. 16 bytes are
    read at once where channels are a multiple of 16, and nothing is added in the order of arrival."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from ltbench.training.device import fused_kernels

    given = dict(zip(("C", "BM", "BC", "PARTS", "ADD", "RELU"), (*build.constants, *build.kind), strict=True))
    for name in ("_sum_up", "_normalise", "_sum_gradients", "_gradient_of_input"):
        kernel = getattr(fused_kernels, name)
        constants = {(i,): given[a] for i, a in enumerate(kernel.arg_names) if a in given}
        types = {a: "constexpr" if a in given else kind_of(a, build.dtype) for a in kernel.arg_names}
        aligned = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(kernel.arg_names) if types[a].startswith("*")}
        made = triton.compile(ASTSource(kernel, types, constants, aligned), GPUTarget("cuda", build.architecture, 32))
        assert made.asm["cubin"], name
        assert "atom" not in made.asm["ptx"], name
        if given["C"] % 16 == 0:
            assert "ld.global.v4.b32" in made.asm["ptx"], name


def kind_of(argument: str, dtype: str) -> str:
    """The type of a kernel's argument, as Triton writes it."""
    if argument in ("M", "ROWS"):
        return "i32"
    if argument in ("eps", "momentum"):
        return "fp32"
    return "*" + (dtype if argument in IMAGES else "fp32")
