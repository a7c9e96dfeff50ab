"""Backbones from outside ltbench: a function `build(name, shape)` of an installed package or of a folder of plugins,
that gives a network from images (N, channels, H, W) to features (N, dim) and says `dim`."""

from __future__ import annotations

import inspect
import types
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltbench.errors import UserError
from ltbench.fingerprints import collect, files_read_by, fingerprint_of
from ltbench.plugins import BACKBONES, Entry, entries
from ltbench.system.process import one_thread


def names() -> dict[str, Entry]:
    """By the names that suites have for them."""
    return entries(BACKBONES)


def _builder(entry: Entry) -> Any:
    loaded = entry.load(types.FunctionType)
    if not inspect.isfunction(loaded):
        raise UserError(f"entry point {entry.name!r} of {BACKBONES} must name a function `build(name, shape)`")
    return loaded


def build(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """The network, freshly initialised. Raises UserError for one that does not say its `dim`."""
    entry = names()[name]
    network = _builder(entry)(name, shape)
    if not isinstance(network, nn.Module) or not isinstance(getattr(network, "dim", None), int):
        raise UserError(f"backbone {name!r} ({entry.value}) must be a torch module with `dim`, the number of its "
                        f"features")  # fmt: skip
    return network


def check(name: str, shape: tuple[int, int, int]) -> None:
    """Build the network and send one batch through it.

    Raises:
        UserError: it cannot be built, cannot read such images, or gives other features than it says.
    """
    height, width, channels = shape
    try:
        with one_thread(), torch.random.fork_rng(devices=[]), torch.no_grad():
            network = build(name, shape)
            found = network(torch.zeros(2, channels, height, width))
    except UserError:
        raise
    except Exception as error:  # somebody else's code
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"backbone {name!r} cannot read images of {height}x{width} pixels ({reason})") from error
    if tuple(found.shape) != (2, network.dim):
        raise UserError(f"backbone {name!r} says it has {network.dim} features and gives {tuple(found.shape)} for two "
                        f"images; expected (2, {network.dim})")  # fmt: skip


def code_of(name: str) -> str | None:
    """Fingerprint of the code that builds it, of its file and of what that imports from its folder; None for a backbone
    that comes with ltbench or a library."""
    entry = names().get(name)
    if entry is None:
        return None
    file = entry.file or Path(inspect.getfile(_builder(entry)))
    code: dict[str, Path] = {}
    collect(file, code)
    return fingerprint_of(code, files_read_by(code.values(), file.parent))
