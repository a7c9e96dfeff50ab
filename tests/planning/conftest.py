"""A small suite and its plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ltbench.planning.planner import Selection, make_plan
from ltbench.planning.resolve import Inputs, resolve
from ltbench.registry import Registry
from ltbench.spec import Plan
from ltbench.suite.load import load_suite

SUITE = """\
suite: small
text: {encoder: bundled}
datasets: [{name: digits, imbalance: [20, 50]}]
recipes:
  scratch: {backbone: mlp, epochs: 2, batch_size: 32, optimizer: {name: sgd, lr: 0.05}}
methods: [ce, mixup, text_guided_mixup]
protocol: {final: {seeds: [3, 1, 2]}}
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


@pytest.fixture
def lay_out(tmp_path: Path, registry: Registry) -> Callable[..., tuple[Plan, Inputs]]:
    """`lay_out("protocol.final.seeds=[0]", seeds=[1])`: the small suite's plan under overrides and a selection."""

    def make(*overrides: str, text: str = SUITE, **chosen: Any) -> tuple[Plan, Inputs]:
        file = tmp_path / "small.yaml"
        file.write_text(text)
        return make_plan(resolve(load_suite(str(file), overrides), registry, tmp_path / "data", Selection(**chosen)))

    return make
