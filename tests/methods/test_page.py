"""methods/README.md is what its tool makes of the methods as they are."""

from __future__ import annotations

import json

import pytest

from tests.methods.made import NAMES, REGISTRY
from tools import methods_page


def test_the_page_of_methods_is_up_to_date() -> None:
    """`python -m tools.methods_page` writes it."""
    assert methods_page.PAGE.read_text(encoding="utf-8") == methods_page.page()


def test_every_method_has_a_measured_cost() -> None:
    """`python -m tools.methods_page --measure` measures what is missing."""
    costs = json.loads(methods_page.COSTS.read_text())
    assert set(costs) == set(NAMES)
    assert costs["ce"] == 1.0


@pytest.mark.parametrize(
    ("paper", "venue"),
    [
        ("A, B. Title of 2019. ICLR 2020, 4.1.", "ICLR 2020"),
        ("Chou. Remix: Rebalanced Mixup. ECCV Workshops 2020, equations 5 to 7.", "ECCV Workshops 2020"),
        ("no paper", "-"),
    ],
)
def test_a_venue_is_found_in_a_reference(paper: str, venue: str) -> None:
    assert methods_page.venue(paper) == venue


def test_the_hooks_of_a_method_are_those_that_it_or_its_bases_change() -> None:
    assert list(methods_page.hooks(REGISTRY.get("ce"))) == []
    assert list(methods_page.hooks(REGISTRY.get("crt_mixup"))) == ["stages", "mix"]
    assert list(methods_page.hooks(REGISTRY.get("ride"))) == ["head", "stages", "loss", "predict"]
