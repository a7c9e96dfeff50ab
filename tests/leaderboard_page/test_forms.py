"""What the page says of the forms of a board, and of where its numbers come from, where no other test says it."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ltbench.page.evidence import gather
from ltbench.page.figures.prior import PRIORS
from ltbench.page.words import definitions
from ltbench.page.write import figures_of
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.build import build
from ltbench.ranking.formats.exchange.every_eval_ever import every_eval_ever
from ltbench.ranking.formats.latex.paper import MOST, paper
from ltbench.ranking.formats.render import FORMATS, text
from ltbench.ranking.formats.screen import on_screen
from ltbench.ranking.selection import Origin
from ltbench.results.journal import Journal
from ltbench.spec import NUMERICS, Result
from ltbench.workflow.exchange.diff import diff
from ltbench.workflow.make_board import RankedResults
from ltbench.workflow.prepare import Request, prepare
from ltbench.workflow.stale import stale_rows
from tests.leaderboard_page.page import REFERENCE
from tests.ranking.made import board_of, page_of, plan_of, record, records, spec
from tests.ranking.test_build import grid
from tests.ranking.test_draws import made as on_draws

Run = Callable[..., tuple[int, str, str]]
SCORES = "method,dataset,imbalance_factor,seed,metric,value\n" + "".join(
    f"{m},a,100,{seed},balanced_accuracy,{value + seed / 10 + seed % 2 / 7}\n{m},a,100,{seed},ece,{60 - value}\n"
    for m, value in (("ce", 38.0), ("ours", 41.0)) for seed in range(3)
)  # fmt: skip


@pytest.fixture(scope="module")
def large() -> Leaderboard:
    """Four columns."""
    return build(grid({"ce": 50.0, "x": 52.0}, {"a": ["IF10", "IF50"], "b": ["IF10", "IF50"]}))


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    file = tmp_path / "scores.csv"
    file.write_text(SCORES)
    return file


def test_of_many_columns_a_screen_shows_the_summary(large: Leaderboard) -> None:
    assert on_screen(large, 100).count("\nrank ") == 1
    assert "(Holm over 1)" not in on_screen(large, 100)
    three = build(grid({"ce": 50.0, "x": 52.0}, {"a": ["IF10", "IF50", "IF100"]}))
    assert on_screen(three, 200) == text(three)


def test_a_file_and_a_pipe_have_everything(ltbench: Run, tmp_path: Path) -> None:
    lines = SCORES.splitlines()
    more = [line.replace(",a,", f",{name},") for name in "bcd" for line in lines[1:]]
    (tmp_path / "scores.csv").write_text("\n".join([*lines, *more]))
    asked = ("leaderboard", "--from", str(tmp_path / "scores.csv"))
    _, piped, _ = ltbench(*asked)
    assert ltbench(*asked, "--out", str(tmp_path / "board.txt"))[0] == 0
    assert (tmp_path / "board.txt").read_text() == piped
    for name in "abcd":
        assert re.search(rf"^{name} IF100$", piped, re.MULTILINE)


def test_what_does_not_fit_stands_in_a_second_block(large: Leaderboard) -> None:
    made = paper(large)
    widths = [len(cells) for cells in re.findall(r"\\begin\{tabular\}\{l(r+)\}", made)]
    assert len(widths) == 1
    assert sum(widths) <= MOST
    wide = paper(build(grid({"ce": 50.0, "x": 52.0}, {name: ["IF10", "IF50"] for name in "abc"})))
    widths = [len(cells) for cells in re.findall(r"\\begin\{tabular\}\{l(r+)\}", wide)]
    assert len(widths) == 2
    assert max(widths) <= MOST


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "paper"])
def test_the_suites_digest_stands_in_the_header(board: Leaderboard, form: str, ranked: RankedResults) -> None:
    assert ranked.expectation is not None
    assert ranked.expectation.digest == board.config["plan"]
    head = FORMATS[form](board).split("rank", 1)[0] if form == "text" else FORMATS[form](board)
    assert f"50 of 50 trials, 0 failed, 0 missing, suite {board.config['plan']}" in head.replace("\n", " ")


def test_the_digest_changes_with_the_suite(ranked: RankedResults) -> None:
    plan = ranked.expectation
    assert plan is not None
    others = [
        replace(plan, protocol={**plan.protocol, "seeds": [0, 1, 2]}),
        replace(plan, columns=plan.columns[:1]),
        replace(plan, rows={**plan.rows, "ce": plan.rows["ce"]._replace(variant="0" * 8)}),
        replace(plan, question="Another?"),
    ]
    assert len({plan.digest, *(other.digest for other in others)}) == 5
    assert type(plan).from_json(json.loads(json.dumps(plan.to_json()))).digest == plan.digest


def test_a_row_of_another_version_of_ltbench_is_stale(tmp_path: Path) -> None:
    journal, old = Journal(tmp_path), record(spec(numerics=NUMERICS - 1))
    journal.write(old)
    assert stale_rows([Result.of(old)], journal, None) == {
        "ce": "trained by a version of ltbench whose numbers are others"
    }


def test_other_code_is_another_trial() -> None:
    assert spec().key != spec(code="0" * 12).key
    assert spec().key != spec(numerics=NUMERICS + 1).key


@pytest.mark.parametrize("option", ["--methods", "--plugins"])
def test_both_folders_of_methods_judge_rows(ltbench: Run, tmp_path: Path, option: str) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    source = 'from ltbench.api import Method\n\n\nclass Mine(Method):\n    """Mine."""\n'
    (folder / "mine.py").write_text(source)
    for label in ("ce", "mine"):
        for seed in range(3):
            Journal(tmp_path / "records").write(
                record(spec(label, seed=seed, method=label) if label == "mine" else spec(seed=seed))
            )
    code, out, err = ltbench("leaderboard", "--from", str(tmp_path / "records"), option, str(folder))
    assert code == 0, err
    assert "mine (stale)" in out
    assert "ce (stale)" not in out


def test_bounds_of_a_score_without_any_are_the_largest_numbers(board: Leaderboard) -> None:
    results = json.loads(every_eval_ever(board).splitlines()[0])["evaluation_results"]
    by_metric = {r["metric_config"]["additional_details"]["metric"]: r["metric_config"] for r in results}
    assert (by_metric["nll"]["min_score"], by_metric["nll"]["max_score"]) == (-sys.float_info.max, sys.float_info.max)
    assert by_metric["nll"]["additional_details"]["bounds"] == "none are known"
    assert (by_metric["few"]["min_score"], by_metric["few"]["max_score"]) == (0, 100)


def test_what_scores_are_ranked_by_and_held_against(ltbench: Run, scores: Path) -> None:
    def header(csv: str, *options: str) -> str:
        scores.write_text(csv)
        code, out, err = ltbench("leaderboard", "--from", str(scores), *options)
        assert code == 0, err
        return " ".join(out.split("\n\n")[0].split())

    assert ": balanced accuracy, %" in header(SCORES)
    assert ", reference ce " in header(SCORES)
    assert ", reference ours " in header(SCORES, "--reference", "ours")
    assert ": accuracy, %" in header(SCORES.replace("balanced_accuracy", "accuracy"))
    assert ": ECE, %" in header("\n".join(line for line in SCORES.splitlines() if "balanced" not in line))
    assert ", no reference " in header(SCORES.replace("ce,a", "them,a"))


@pytest.mark.parametrize("form", FORMATS)
def test_scores_take_options_and_formats(ltbench: Run, scores: Path, form: str) -> None:
    code, out, err = ltbench("leaderboard", "--from", str(scores), "--format", form, "--primary", "ece", "--rope", "30")
    assert code == 0, err
    assert out


def test_the_report_draws_accuracy_over_the_prior(ranked: RankedResults) -> None:
    assert ranked.journal is not None
    kept = list(ranked.journal.records().values())
    evidence = gather(kept, ranked.board, ranked.expectation, ranked.journal.predictions)
    (figure,) = (
        f for table in figures_of(ranked.board, evidence) for f in (*table.claims, *table.behind) if f.name == "priors"
    )
    assert set(figure.data["prior"]) == set(PRIORS)
    assert {"forward50", "uniform", "backward50"} <= set(PRIORS)
    assert set(figure.data["method"]) == {row.label for row in ranked.board.tables[0].rows}


def test_cells_of_a_diff_have_full_precision(ltbench: Run, tmp_path: Path) -> None:
    quick = REFERENCE / "quickstart"
    code, _, err = ltbench("diff", str(quick), str(quick), "--out", str(tmp_path / "cells.csv"))
    assert code == 0, err
    written, found = pd.read_csv(tmp_path / "cells.csv"), diff(str(quick), str(quick))
    assert list(written["a"]) == [cell.a for cell in found.moves.cells]
    assert any(round(value, 4) != value and math.isfinite(value) for value in written["a"])


def test_a_report_begins_with_the_answer() -> None:
    kept = records(seeds=3)
    page = page_of(board_of(kept), kept)
    at = [page.index(mark) for mark in ('class="lead"', "<svg", 'id="leaderboard"', "<h2>Gains and ranks", 'id="runs"')]
    assert at == sorted(at)


def test_without_an_imbalance_factor_a_column_is_its_data_set(ltbench: Run, scores: Path) -> None:
    scores.write_text("method,dataset,seed,accuracy\nce,arc,0,50\nce,arc,1,51\nours,arc,0,60\nours,arc,1,62\n")
    asked = ("leaderboard", "--from", str(scores))
    _, out, _ = ltbench(*asked)
    assert re.search("^arc$", out, re.MULTILINE)
    assert "native" not in out
    assert "native" not in ltbench(*asked, "--format", "latex")[1]
    first = json.loads(ltbench(*asked, "--format", "every_eval_ever")[1].splitlines()[0])["evaluation_results"][0]
    assert (first["evaluation_name"], first["source_data"]["dataset_name"]) == ("arc accuracy", "arc")


def test_a_suite_may_say_its_looks(tmp_path: Path) -> None:
    seeds = {"from": 3, "to": 20, "until": "resolved", "looks": [3, 6, 20]}
    suite = {"suite": "looks", "extends": "quickstart", "protocol": {"final": {"seeds": seeds}}}
    plan = prepare(Request(suite=suite, data=tmp_path)).plan
    assert plan.protocol["looks"]["seeds"] == [3, 6, 20]
    assert sorted({trial.seed for trial in plan.trials}) == list(range(20))


def test_tables_from_elsewhere_come_last() -> None:
    one = {"recipe_name": "elsewhere", "recipe_id": "r0", "elsewhere": True}
    tower = {"recipe_name": "clip", "recipe_id": "r2", "pretraining": "CLIP"}
    taken = [replace(r, **other) for other in (one, tower) for r in grid({"x": 60.0}, {"a": ["IF10"]})]
    taken = [replace(r, key=f"{r.recipe_id}{r.key}") for r in taken]
    tables = build([*taken, *grid({"ce": 50.0}, {"a": ["IF10"]})]).tables
    assert [table.recipe_name for table in tables] == ["r", "clip", "elsewhere"]


def test_a_plan_says_the_digest_of_its_boards(ltbench: Run, tmp_path: Path, board: Leaderboard) -> None:
    """That of the records that come with ltbench, too: nothing has changed in them since."""
    code, out, err = ltbench("plan", "quickstart", "--results", str(tmp_path))
    assert code == 0, err
    said = re.search(r"^quickstart: 50 trials: .*, suite ([0-9a-f]{12})$", out, re.MULTILINE)
    assert said is not None
    assert said[1] == board.config["plan"]
    assert ", suite " not in ltbench("plan", "quickstart", "--only", "ce", "--results", str(tmp_path))[1]


def test_a_page_says_of_training_what_is_known() -> None:
    def said(board: Leaderboard) -> str:
        return " ".join(words for _, words in definitions(board))

    results = grid({"ce": 50.0, "x": 52.0}, {"a": ["IF10"]})
    ours, others = build(results), build(results, origin=Origin(file="scores.csv"))
    for known in ("last epoch", "the same seed is the same start", "that a long-tailed subset keeps", "more than 100"):
        assert known in said(ours)
        assert known not in said(others)
    kept = on_draws(moves=3.0)
    several = said(build([Result.of(r) for r in kept], plan_of(kept)))
    assert "training images of a (or the order of its classes) were drawn several times" in several
    assert "that a long-tailed subset keeps" not in several
