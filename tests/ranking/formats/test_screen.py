"""A board on a screen: nothing is wider than it, and of many columns the summary is last."""

from __future__ import annotations

import pytest

from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import build
from ltbench.ranking.formats.render import text
from ltbench.ranking.formats.screen import on_screen
from tests.ranking.test_build import grid

METHODS = {name: 50.0 + i for i, name in enumerate((
    "ce", "cb_reweight", "balanced_softmax", "logit_adjustment", "mixup", "remix", "cutmix", "ldam_drw", "crt",
    "tau_norm", "paco", "bcl", "glmc", "text_guided_mixup", "progressive_sampling",
))}  # fmt: skip
FACTORS = ["IF10", "IF50", "IF100"]


@pytest.fixture(scope="module")
def large() -> Leaderboard:
    """15 methods on 12 cells."""
    return build(grid(METHODS, dict.fromkeys(("cifar10_lt", "cifar100_lt", "imagenet_lt", "places_lt"), FACTORS)))


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("detailed", [False, True])
def test_no_line_is_wider_than_the_screen(large: Leaderboard, width: int, detailed: bool) -> None:
    assert max(map(len, on_screen(large, width, detailed=detailed).splitlines())) <= width


def test_fifteen_methods_on_twelve_cells_fit_on_a_screen(large: Leaderboard) -> None:
    lines = on_screen(large, 100).splitlines()
    assert len(lines) < 40
    heads = [line for line in lines if line.startswith("rank")]
    assert len(heads) == 1, "one table"
    assert "cifar100" in heads[0]
    assert "places" in heads[0]
    assert any("--columns" in line for line in lines)


def test_details_come_before_the_summary(large: Leaderboard) -> None:
    shown = on_screen(large, 100, detailed=True)
    assert shown.count("(Holm over 14)") == 12
    assert shown.rindex("(Holm over 14)") < shown.index("\nrank ")
    assert "--columns" not in shown


def test_a_narrow_screen_has_every_number(large: Leaderboard) -> None:
    def numbers(shown: str) -> set[str]:
        return {word for line in shown.splitlines() if line.strip() for word in line.split() if "." in word}

    assert numbers(on_screen(large, 200)) - numbers(on_screen(large, 80)) == set()
    narrow = on_screen(large, 80).splitlines()
    assert [line.split()[:3] for line in narrow if line.startswith("rank")] == [["rank", "method", "mean"]]


def test_a_small_board_is_the_text_as_it_is() -> None:
    small = build(grid({"ce": 50, "good": 60}, {"a": ["IF10", "IF50"]}))
    assert on_screen(small, 100) == text(small)
