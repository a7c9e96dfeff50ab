"""A folder of plugins: a method, a backbone and a data set, and a suite of these three."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

METHOD = """
    from ltbench.api import Method, hp

    from .shared import SHIFT

    class Shifted(Method):
        '''Cross-entropy of shifted logits.'''
        paper = defaults_from = "none"
        shift: float = hp(SHIFT, "what is added to the logits of frequent classes", low=0.0)

        def loss(self, out, target, now):
            return super().loss(out + self.shift * self.task.log_prior, target, now)
"""
BACKBONE = """
    from torch import nn

    from .shared import WIDTH

    def build(name, shape):
        return Wide(shape)

    class Wide(nn.Module):
        '''One layer.'''

        def __init__(self, shape):
            super().__init__()
            self.dim = WIDTH
            self.layer = nn.Linear(shape[0] * shape[1] * shape[2], WIDTH)

        def forward(self, x):
            return self.layer(x.flatten(1)).relu()
"""
DATASET = """
    from ltbench.data.sources.digits import Digits

    class Numerals(Digits):
        '''The digits, darker.'''
        kind = "numerals"
        summary = "the digits, darker"

        def read(self):
            arrays = super().read()
            return arrays
"""
SHARED = "SHIFT = 0.5\nWIDTH = 16\n"
SUITE: dict[str, Any] = {
    "suite": "brought",
    "datasets": [{"name": "numerals", "imbalance": [20]}],
    "recipes": {"a": {"backbone": "wide", "epochs": 1, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.05}}},
    "methods": ["shifted"],
    "protocol": {"final": {"seeds": [0]}},
    "resources": {"executor": "inline"},
}


def folder_of_plugins(place: Path, **files: str | None) -> Path:
    """The three and their helper in `place`; `files` adds to them, replaces, or (None) leaves out."""
    place.mkdir(parents=True, exist_ok=True)
    whole = {"shifted": METHOD, "wide": BACKBONE, "numerals": DATASET, "shared": SHARED, **files}
    for name, text in whole.items():
        if text is not None:
            (place / f"{name}.py").write_text(textwrap.dedent(text).lstrip("\n"))
    return place
