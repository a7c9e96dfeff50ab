"""Backbones and data sets that installed packages bring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from ltbench import plugins
from ltbench.data.sources.digits import Digits
from ltbench.errors import UserError
from ltbench.models import code_of
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.suite.load import load_suite
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

SUITE: dict[str, Any] = {
    "suite": "brought",
    "datasets": [{"name": "numerals", "imbalance": [20]}],
    "recipes": {"a": {"backbone": "wide", "epochs": 1, "batch_size": 32, "optimizer": {"name": "sgd", "lr": 0.05}}},
    "methods": ["ce"],
    "protocol": {"final": {"seeds": [0]}},
}


class Numerals(Digits):
    """The digits under another name."""

    kind = "numerals"


class Wide(nn.Module):
    """One layer."""

    def __init__(self, shape: tuple[int, int, int], dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.layer = nn.Linear(shape[0] * shape[1] * shape[2], 16)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> (N, 16)."""
        out: Tensor = self.layer(x.flatten(1))
        return out


def build(name: str, shape: tuple[int, int, int]) -> nn.Module:
    return Wide(shape, 16)


def says_another_dim(name: str, shape: tuple[int, int, int]) -> nn.Module:
    return Wide(shape, 17)


def fails(name: str, shape: tuple[int, int, int]) -> nn.Module:
    raise RuntimeError("no such images")


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`brought(wide="build", numerals="Numerals")`: as if a package were installed that names these."""

    def install(wide: str = "build", numerals: str = "Numerals") -> None:
        named = {plugins.BACKBONES: ("wide", wide), plugins.DATASETS: ("numerals", numerals)}
        found = {group: EntryPoint(name, f"{__name__}:{value}", group) for group, (name, value) in named.items()}
        monkeypatch.setattr(plugins, "entry_points", lambda group: [found[group]] if group in found else [])
        plugins._installed.cache_clear()

    yield install
    monkeypatch.undo()
    plugins._installed.cache_clear()


def test_they_are_used_like_ltbenchs_own(brought: Any, tmp_path: Path) -> None:
    brought()
    plan, _ = make_plan(resolve(load_suite(SUITE), Registry(), tmp_path))
    (spec,) = plan.trials
    assert spec.recipe["backbone_code"] == code_of("wide")
    record = run_trial(spec, Site(data=tmp_path, device="cpu"))
    assert record.status == "ok", record.error
    other = replace(spec, recipe={**spec.recipe, "backbone_code": "0123456789ab"})
    assert other.key != spec.key
    assert "is other code here" in str(run_trial(other, Site(data=tmp_path, device="cpu")).error)


@pytest.mark.parametrize(
    ("wide", "numerals", "message"),
    [
        ("says_another_dim", "Numerals", "says it has 17 features and gives"),
        ("fails", "Numerals", "cannot read images of 8x8 pixels .no such images"),
        ("nowhere", "Numerals", "cannot be loaded"),
        ("Wide", "Numerals", "must name a function"),
        ("build", "nowhere", "cannot be loaded"),
        ("build", "Digits", "whose `kind` is 'numerals'"),
    ],
)
def test_what_does_not_fit_is_refused(brought: Any, wide: str, numerals: str, message: str, tmp_path: Path) -> None:
    brought(wide, numerals)
    with pytest.raises(UserError, match=message):
        make_plan(resolve(load_suite(SUITE), Registry(), tmp_path))


def test_ltbenchs_own_backbones_have_no_code_in_their_recipe() -> None:
    assert code_of("resnet32") is code_of("timm:resnet18") is None
