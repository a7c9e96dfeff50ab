"""The network of a stage as the recipe wants it run: step by step, with fused kernels, or compiled by torch."""

from __future__ import annotations

import copy
import importlib.util
import logging
import os
import shutil
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import torch
from torch import nn

from ltbench.errors import UserError
from ltbench.training.device.batchnorm import keep_whole

Network = TypeVar("Network", bound=nn.Module)
MODES = ("default", "reduce-overhead")
"""torch.compile's own. The second replays a whole pass as one CUDA graph, which is what small images on a large GPU
want, where launching kernels takes longer than running them; on a CPU it is the same as the first. Not among them:
those that autotune, since they take the kernels that were quickest at the moment, and with them other numbers."""
FUSED = "fused"
"""Not torch's: batch-norm, addition and ReLU in kernels of ltbench's own (fused.py), on a GPU."""
_MOST_VARIANTS = 1024
"""Networks that one worker may compile. Past torch's own limit of 8 it would go on uncompiled, and what a trial's
numbers are would depend on what its worker did before."""


def compiled(network: Network, recipe: Mapping[str, Any], device: torch.device, *, whole: bool = True) -> Network:
    """`network`, or what torch.compile makes of it where the recipe has `compile`.

    Shapes are taken as they come, never generalised, so that the code does not depend on what the process has seen
    before. The same network in a later trial of the process is not compiled again; in another process it comes from
    torch's cache on the disk (`TORCHINDUCTOR_CACHE_DIR`). On a CPU the network's batch-norms become ones that are kept
    whole (ltbench/training/device/batchnorm.py).

    Args:
        whole: compile it as one; False: its backbone alone, for a method whose `forward` calls the parts of the network
            by themselves. What is returned then shares all parts with `network`, and is to be called, not changed.

    Raises:
        UserError: there is no compiler on this machine, or nothing to fuse in this network.
    """
    mode = recipe.get("compile", "none")
    if mode == "none":
        return network
    if mode == FUSED:
        return _fused(network, recipe, device)
    _need_a_compiler(device)
    import torch._dynamo

    if device.type == "cuda" and mode == "reduce-overhead":
        _begin_in_this_thread()
    if device.type == "cpu":
        keep_whole(network)
    torch._dynamo.config.recompile_limit = _MOST_VARIANTS
    torch._dynamo.config.accumulated_recompile_limit = _MOST_VARIANTS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # on a CPU it misses CUDA, at every start
    if whole:
        return cast(Network, torch.compile(network, mode=mode, dynamic=False))
    parts = copy.copy(network)
    backbone: Any = torch.compile(network.get_submodule("backbone"), mode=mode, dynamic=False)
    parts._modules = {**network._modules, "backbone": backbone}
    return parts


def _begin_in_this_thread() -> None:
    """Torch before 2.14 keeps the graphs of `reduce-overhead` by thread, and knows only the one that first asked for
    them. Every trial of one of Ray's workers has a thread of its own."""
    from torch._inductor import cudagraph_trees

    kept: Any = cudagraph_trees.local
    if hasattr(kept, "tree_manager_containers"):
        return
    kept.tree_manager_containers, kept.tree_manager_locks = {}, defaultdict(threading.Lock)
    for name in ("tree_manager_containers", "tree_manager_locks"):  # for the threads of the backward pass
        torch._C._stash_obj_in_tls(name, getattr(kept, name))


def _fused(network: Network, recipe: Mapping[str, Any], device: torch.device) -> Network:
    if device.type == "cuda":
        _need_a_compiler(device)
    elif os.environ.get("TRITON_INTERPRET") != "1":
        raise UserError(f"recipe.compile: `{FUSED}` is made of kernels for a GPU, and this trial runs on a CPU: leave "
                        f"`compile` out")  # fmt: skip
    from ltbench.training.device.fused import fuse, launch_problem  # triton is not on every machine

    if device.type == "cuda" and (problem := launch_problem()) is not None:
        raise UserError(f"recipe.compile: triton cannot be used on this machine ({problem}): install a C compiler "
                        f"(CC names another than gcc) and Python's headers, or leave `compile` out")  # fmt: skip
    if not fuse(network):
        name = recipe.get("backbone", "this network")
        raise UserError(f"recipe.compile: `{FUSED}` finds nothing to fuse in {name}: it knows residual networks, and "
                        f"batch-norm in nn.Sequential; leave `compile` out")  # fmt: skip
    return network


def forget(recipe: Mapping[str, Any], device: torch.device) -> None:
    """After a trial: CUDA graphs hold its memory, and the worker goes on with other trials. What was compiled is read
    from the disk again."""
    if device.type == "cuda" and recipe.get("compile", "none") == "reduce-overhead":
        torch.compiler.reset()
        torch.cuda.empty_cache()


def can_compile(device: torch.device) -> bool:
    """Whether torch finds what it compiles for this device with."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    return shutil.which(_cpu_compiler()) is not None


def _need_a_compiler(device: torch.device) -> None:
    if can_compile(device):
        return
    if device.type == "cuda":
        raise UserError("recipe.compile: torch compiles for this GPU with triton, which is not installed: "
                        "pip install triton, or leave `compile` out")  # fmt: skip
    raise UserError(f"recipe.compile: torch compiles for the CPU with a C++ compiler, and there is no "
                    f"{_cpu_compiler()} on this machine: install one (CXX names another), or leave `compile` "
                    f"out")  # fmt: skip


def _cpu_compiler() -> str:
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
