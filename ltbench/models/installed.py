"""Backbones of installed packages: an entry point of the group `ltbench.backbones` names a function
`build(name, shape)` that gives a network from images (N, channels, H, W) to features (N, dim) and says `dim`."""

from __future__ import annotations

import inspect
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltbench.errors import UserError
from ltbench.fingerprints import collect, files_read_by, fingerprint_of

ENTRY_POINTS = "ltbench.backbones"


@cache
def entries() -> dict[str, EntryPoint]:
    """By the names that suites have for them."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _builder(name: str) -> Any:
    entry = entries()[name]
    try:
        loaded = entry.load()
    except (Exception, SystemExit) as error:
        raise UserError(f"backbone {name!r}: its entry point {entry.value!r} cannot be loaded: {error}") from error
    if not inspect.isfunction(loaded):
        raise UserError(f"entry point {name!r} of {ENTRY_POINTS} must name a function `build(name, shape)`")
    return loaded


def build(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """The network, freshly initialised. Raises UserError for one that does not say its `dim`."""
    network = _builder(name)(name, shape)
    if not isinstance(network, nn.Module) or not isinstance(getattr(network, "dim", None), int):
        raise UserError(f"backbone {name!r} ({entries()[name].value}) must be a torch module with `dim`, the number "
                        f"of its features")  # fmt: skip
    return network


def check(name: str, shape: tuple[int, int, int]) -> None:
    """Build the network and send one batch through it.

    Raises:
        UserError: it cannot be built, cannot read such images, or gives other features than it says.
    """
    height, width, channels = shape
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
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
    that no package brings."""
    if name not in entries():
        return None
    file = Path(inspect.getfile(_builder(name)))
    code: dict[str, Path] = {}
    collect(file, code)
    return fingerprint_of(code, files_read_by(code.values(), file.parent))
