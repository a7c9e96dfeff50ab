"""Scores as others write them: names of metrics, which way is better, fractions, gaps."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ltbench import leaderboard
from ltbench.errors import UserError
from ltbench.metric_names import direction_of, known_name, metric_of
from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.formats.notes import header
from ltbench.ranking.formats.render import FORMATS
from ltbench.ranking.formats.text_tables import detail, signed
from ltbench.results.scores import REQUIRED, read_scores
from ltbench.workflow.make_board import BoardRequest, make_board

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(accuracy={"ce": [50, 51], ...})`: a file with these values of metrics by method, on data set d."""

    def make(add: str = "", **values: dict[str, list[float | str]]) -> Path:
        lines = [f"{method},d,10,{seed},{metric},{value}" for metric, rows in values.items()
                 for method, row in rows.items() for seed, value in enumerate(row)]  # fmt: skip
        file = tmp_path / "scores.csv"
        file.write_text("\n".join([",".join(REQUIRED), *lines]) + "\n" + add)
        return file

    return make


@pytest.mark.parametrize(
    ("name", "own"),
    [("ECE", "ece"), ("Nll", "nll"), ("Balanced Accuracy", "balanced_accuracy"), ("macro-F1", "macro_f1"),
     (" few-shot", "few"), ("negative log-likelihood", "nll"), ("my_accuracy", "my_accuracy")],
)  # fmt: skip
def test_ltbenchs_metrics_are_known_in_other_spellings(name: str, own: str) -> None:
    assert known_name(name) == own


@pytest.mark.parametrize(
    "name",
    ["error_rate", "Error", "top1_err", "few_error", "test_loss", "testLoss", "TEST LOSS", "logloss", "Brier score",
     "rmse", "1 - accuracy", "100-acc", "fnr", "false_negative_rate", "neg_log_likelihood", "MCE", "ppl"],
)  # fmt: skip
def test_a_name_says_that_lower_is_better(name: str) -> None:
    assert direction_of(name) is False
    assert not metric_of(name).higher_is_better


@pytest.mark.parametrize(
    "name",
    ["top-1 acc", "top1", "AUROC", "mAP", "G-mean", "head_accuracy", "log_likelihood", "neg_mean_squared_error"],
)
def test_a_name_says_that_higher_is_better(name: str) -> None:
    assert direction_of(name) is True


@pytest.mark.parametrize("name", ["x", "score", "quality", "accuracy_loss", "value", "50"])
def test_other_names_say_nothing(name: str) -> None:
    assert direction_of(name) is None


@pytest.mark.parametrize("metric", ["error_rate", "test_loss", "NLL", "ECE", "Loss"])
def test_the_smaller_value_of_what_is_an_error_ranks_first(metric: str, write: Write) -> None:
    board = build(read_scores(write(**{metric: {"ce": [22.0, 22.1, 22.2], "ours": [11.0, 11.2, 11.1]}})))
    assert [row.label for row in board.tables[0].rows] == ["ours", "ce"]
    assert ", lower is better" in FORMATS["text"](board)


def test_a_metric_of_unknown_direction_is_asked_about(write: Write) -> None:
    file = write(quality={"ce": [2, 3, 4], "ours": [1, 1, 2]})
    with pytest.raises(UserError, match="which way is better is not known of the metric 'quality'; say --lower-is"):
        leaderboard(from_=file)
    assert leaderboard(from_=file, lower_is_better="quality").methods == ["ours", "ce"]
    assert leaderboard(from_=file, higher_is_better=["quality"]).methods == ["ce", "ours"]


@pytest.mark.parametrize("shown", FORMATS)
def test_boards_of_opposite_directions_do_not_touch_each_other(
    shown: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are there before either is shown: what was declared for one is no matter of the other."""
    monkeypatch.setattr(time, "time", lambda: 1.8e9)  # one of the formats says when it was written
    file = write(quality={"ce": [2, 3, 4], "ours": [1, 1, 2]})
    asked = {"lower_is_better": BoardRequest(source=file, lower_is_better=("quality",)),
             "higher_is_better": BoardRequest(source=file, higher_is_better=("quality",))}  # fmt: skip
    alone = {way: FORMATS[shown](make_board(request).board) for way, request in asked.items()}
    down, up = (make_board(request).board for request in asked.values())
    assert [FORMATS[shown](board) for board in (down, up)] == list(alone.values())
    assert alone["lower_is_better"] != alone["higher_is_better"]
    assert [row.label for board in (down, up) for row in board.tables[0].rows] == ["ours", "ce", "ce", "ours"]
    for board, best in ((down, "ours"), (up, "ce")):
        table = board.tables[0]
        assert detail(table, table.columns[0], board)[0]["method"].text == best
        assert (", lower is better" in header(board)[0]) == (board is down)
    assert not make_board(asked["lower_is_better"]).board.about("quality").higher_is_better
    with pytest.raises(UserError, match="which way is better is not known"):
        leaderboard(from_=file)


def test_a_direction_against_that_of_a_known_metric_is_refused(write: Write) -> None:
    file = write(accuracy={"ce": [20, 30, 40]})
    for name in ("accuracy", "Accuracy"):
        with pytest.raises(UserError, match=f"--lower-is-better {name}: it is higher is better already"):
            leaderboard(from_=file, lower_is_better=name)
    with pytest.raises(UserError, match="already"):
        leaderboard(from_=file, lower_is_better="x", higher_is_better="x")


@pytest.mark.parametrize("metric", ["accuracy", "many", "few", "worst_class", "macro_f1", "ece", "error_rate"])
def test_a_row_in_fractions_is_refused_with_its_line_whatever_the_metric(metric: str, write: Write) -> None:
    file = write(**{metric: {"ce": [38, 39, 40], "ours": [0.41, 0.4, 0.42]}})
    with pytest.raises(UserError, match=rf"line 5: {metric} of ours is at most 0\.42 everywhere.*fractions"):
        read_scores(file)


def test_the_tail_of_a_row_in_percent_may_be_nearly_nothing(write: Write) -> None:
    file = write(accuracy={"ce": [38, 39]}, few={"ce": [0.4, 0.2]}, worst_class={"ce": [0, 1]})
    assert len(read_scores(file)) == 2


def test_an_empty_value_of_another_metric_leaves_the_trial_in(write: Write) -> None:
    board = build(read_scores(write(accuracy={"a": [50, 51, 52]}, ece={"a": [5, 6, ""]})))
    assert (board.finished, board.failed) == (3, 0)
    assert board.tables[0].rows[0].mean == 51
    by_ece = read_scores(write(accuracy={"a": [50, 51, 52]}, ece={"a": [5, 6, ""]}), "ece")
    assert [r.status for r in by_ece] == ["ok", "ok", "failed"]


def test_a_data_set_of_another_metric_takes_no_row_out(write: Write) -> None:
    file = write(accuracy={"a": [50, 51, 52], "b": [53, 54, 56]}, add="a,e,10,0,few,20\na,e,10,1,few,21\n")
    board = build(read_scores(file))
    assert [row.label for row in board.tables[0].rows] == ["b", "a"]
    assert board.missing == 0
    assert "Left out: 2 results on e IF10, where no trial has accuracy." in FORMATS["text"](board)


def test_a_table_of_scores_declares_no_metric(write: Write) -> None:
    file = write(accuracy={"a": [50, 51, 52]}, few={"a": [20, 21, 22]})
    shown = FORMATS["text"](build(read_scores(file, "few"), options=BoardOptions(primary="few")))
    assert "suite declares" not in " ".join(shown.split())


@pytest.mark.parametrize(("value", "shown"), [(-0.01, "0.0"), (0.04, "0.0"), (0, "0.0"), (-0.06, "-0.1"), (2, "+2.0")])
def test_what_rounds_to_nothing_has_no_sign(value: float, shown: str) -> None:
    assert signed(value) == shown


@pytest.mark.parametrize("format_", ["text", "markdown", "latex"])
def test_no_table_has_a_signed_zero(format_: str, write: Write) -> None:
    rows: dict[str, list[float | str]] = {"ce": [50, 51, 52], "b": [49.98, 51, 51.99], "c": [50.01, 51, 52]}
    shown = FORMATS[format_](build(read_scores(write(accuracy=rows))))
    assert re.search(r"(?<![\d.])[+-]0\.0+(?!\d)", shown) is None


def test_with_two_seeds_the_reason_is_given_with_and_without_a_reference(write: Write) -> None:
    for name in ("ce", "x"):
        shown = FORMATS["text"](build(read_scores(write(accuracy={name: [50, 51], "y": [60, 62]}))))
        assert "No p-value (too few seeds" in shown, name
