"""What models started from: tables of other pre-training stand apart, and every form says what it was."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ltbench.ranking.build import build
from ltbench.ranking.formats.render import FORMATS
from ltbench.spec import Record, Result
from ltbench.tracking.mlflow_runs import result_of, tags_of
from tests.ranking.made import board_of, page_of, record, spec
from tests.ranking.test_build import grid

CLIP = "open_clip ViT-B-16 | openai"


def both() -> list[Result]:
    """CLIP's results come first, as a suite may list them."""
    scratch = grid({"ce": 40, "x": 45}, {"a": ["IF10"]})
    clip = [replace(r, recipe_name="clip", recipe_id="c1", key=f"{r.key}clip", pretraining=CLIP) for r in scratch]
    return [*clip, *scratch]


def test_scratch_comes_first_and_is_never_ranked_with_the_pretrained() -> None:
    board = build(both())
    assert [(t.recipe_name, t.pretraining, len(t.rows)) for t in board.tables] == [("r", "", 2), ("clip", CLIP, 2)]
    assert all({p.a, p.b} == {"ce", "x"} for t in board.tables for p in t.pairs)


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_says_what_a_table_started_from(form: str) -> None:
    shown = FORMATS[form](build(both()))
    assert shown.replace("\\textbar{}", "|").replace("\\", "").count(CLIP) >= 1
    if form in ("text", "markdown", "latex"):
        assert "trained from scratch" in shown


def test_a_single_pretrained_table_says_so_too_and_one_from_scratch_needs_no_heading() -> None:
    clip = [r for r in both() if r.pretraining]
    assert f"pre-trained: {CLIP}" in FORMATS["text"](build(clip))
    assert "==" not in FORMATS["text"](build([r for r in both() if not r.pretraining]))


def test_json_has_it_for_every_table() -> None:
    found = json.loads(FORMATS["json"](build(both())))
    assert [t["pretraining"] for t in found["tables"]] == ["", CLIP]


def test_it_is_read_from_records_and_from_runs_alike() -> None:
    trial = record(replace(spec(), recipe={"epochs": 4.0, "pretraining": CLIP}))
    assert Result.of(trial).pretraining == CLIP
    assert result_of(tags_of(trial, "digest"), {}, "made").pretraining == CLIP
    assert result_of(tags_of(record(spec()), "digest"), {}, "made").pretraining == ""


@pytest.mark.usefixtures("undrawn")
def test_the_page_heads_both_parts() -> None:
    rng = np.random.default_rng(0)
    records: list[Record] = []
    for seed in range(4):
        for label in ("ce", "good"):
            one = spec(label, seed=seed)
            other = replace(one, recipe_name="clip", recipe={"epochs": 4.0, "pretraining": CLIP}, label=label)
            records += [record(s, 0.4 + 0.1 * float(rng.random())) for s in (one, other)]
    shown = page_of(board_of(records), records)
    assert f"Recipe clip, pre-trained: {CLIP}" in shown
    assert "Recipe r, trained from scratch" in shown


def test_notes_are_said_once_for_all_tables_or_of_the_one_they_hold_for() -> None:
    results = both()
    assert FORMATS["text"](build(results)).count("This board covers one data set.") == 1
    one = [r for r in results if not r.pretraining or r.seed < 2]
    shown = " ".join(FORMATS["text"](build(one)).split())
    assert "Recipe clip: no p-value (" in shown
    assert "Recipe r: no p-value (" not in shown
