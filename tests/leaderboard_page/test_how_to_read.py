"""`How to read it`: what the text says of the picture, the board says as well."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from ltbench.page.figures.answer import ENDS
from ltbench.page.figures.spans import TONES
from ltbench.ranking.board import Leaderboard, Row
from ltbench.ranking.formats.notes import notes
from ltbench.stats.fixed_datasets import Verdict
from tests.leaderboard_page.page import PAGE, ROOT
from tools.docs_pictures import data_of

SVG = (ROOT / "docs" / "images" / "gains.svg").read_text(encoding="utf-8")
BARS = re.findall(r"stroke: (#\w{6}); stroke-opacity: 0.5; stroke-width: 4", SVG)
"""Colours of the intervals, from the top."""
GREEN = ["balanced_softmax", "text_guided_mixup", "cb_reweight"]


@pytest.fixture(scope="module")
def picture() -> pd.DataFrame:
    return data_of(SVG).set_index("method")


def test_the_intervals_of_the_picture_are_the_boards(picture: pd.DataFrame, rows: dict[str, Row]) -> None:
    title = re.search("<title>(.*?)</title>", SVG)
    assert title is not None
    assert f"![{title[1]}](images/gains.svg)" in PAGE
    for label, line in picture.iterrows():
        gain = rows[str(label)].gain
        assert gain is not None
        assert gain.test.diff is not None
        assert gain.test.half is not None
        assert line["gain"] == pytest.approx(gain.test.diff)
        assert (line["low"], line["high"]) == pytest.approx(
            (gain.test.diff - gain.test.half, gain.test.diff + gain.test.half)
        )
    right = [label for label, line in picture.iterrows() if line["low"] > 0]
    assert right == GREEN
    assert BARS[:3] == [TONES[Verdict.better].lower()] * 3
    for label in right:
        gain = rows[label].gain
        assert gain is not None
        assert gain.verdict is Verdict.better


def test_mixup_is_left_of_nothing_and_undecided(
    picture: pd.DataFrame, rows: dict[str, Row], board: Leaderboard
) -> None:
    (table,) = board.tables
    assert picture.loc["mixup", "high"] < 0
    gain = rows["mixup"].gain
    assert gain is not None
    assert gain.p_holm is not None
    assert gain.test.p is not None
    assert len(table.pairs) == 10
    assert gain.test.p < 0.05 < gain.p_holm
    assert gain.verdict is Verdict.undecided
    red, green, blue = (int(BARS[3][i : i + 2], 16) for i in (1, 3, 5))
    assert max(red, green, blue) - min(red, green, blue) < 5, "grey"
    told = [line for line in notes(board) if line.startswith("Undecided: mixup against ce.")]
    assert re.search(r"About \d+ seeds would settle it", " ".join(told))


def test_the_three_best_are_not_ranked(picture: pd.DataFrame, rows: dict[str, Row]) -> None:
    best = picture.loc[GREEN, "gain"]
    assert best.max() - best.min() < 1
    assert {rows[label].rank for label in GREEN} == {(1, 3)}


def test_the_right_side_is_head_and_tail(picture: pd.DataFrame, rows: dict[str, Row]) -> None:
    assert {bucket: marker for bucket, (marker, _) in ENDS.items()} == {"many": "o", "few": "D"}
    for label, line in picture.iterrows():
        for bucket in ENDS:
            assert line[f"{bucket}-shot gain"] == pytest.approx(rows[str(label)].others[bucket].test.diff)


def test_head_and_tail_have_no_interval(picture: pd.DataFrame) -> None:
    assert list(picture.columns) == ["gain", "low", "high", "many-shot gain", "few-shot gain"]


def test_text_guided_mixup_gives_and_takes_the_most(picture: pd.DataFrame) -> None:
    assert picture["few-shot gain"].idxmax() == "text_guided_mixup"
    assert picture["many-shot gain"].idxmin() == "text_guided_mixup"
