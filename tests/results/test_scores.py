"""Numbers produced elsewhere: a file of scores is read as it is meant, or refused with file, line, cause and cure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ltbench.errors import UserError
from ltbench.metric_names import declared_directions
from ltbench.ranking.build import build
from ltbench.ranking.formats.render import FORMATS
from ltbench.results.scores import REQUIRED, read_scores
from ltbench.spec import Result
from tests.ranking.test_build import grid

HEAD = ",".join(REQUIRED)
Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(*lines: str, head: str = HEAD, encoding: str = "utf-8", end: str = "\n") -> Path:
        file = tmp_path / "scores.csv"
        file.write_bytes((end.join([head, *lines]) + end).encode(encoding))
        return file

    return make


@pytest.fixture
def ltbench(ltbench: Run) -> Run:
    return partial(ltbench, "leaderboard")


def lines_of(results: list[Result], metrics: list[str] | None = None) -> list[str]:
    return [
        f"{r.label},{r.dataset},{r.imbalance},{r.seed},{name},{'' if value is None else repr(value)}"
        for r in results
        for name, value in r.metrics.items()
        if metrics is None or name in metrics
    ]


# -- what is understood ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "label"),
    [("100", "IF100"), ("IF100", "IF100"), ("if100", "IF100"), ("100.0", "IF100"), ("100step", "IF100step"),
     ("100exp1000", "IF100exp1000"),
     ("IF100STEP", "IF100step"), ("2.5", "IF2.5"), ("native", "native"), ("Native", "native"), ("", "native"),
     (" 10 ", "IF10"), ("1", "IF1")],
)  # fmt: skip
def test_imbalance_factors_are_written_in_many_ways(write: Write, written: str, label: str) -> None:
    (found,) = read_scores(write(f"ce,cifar10,{written},0,accuracy,70.5"))
    assert found.imbalance == label


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_spreadsheets_file_is_read(write: Write, encoding: str, end: str) -> None:
    file = write(
        'ce, cifar10, 100, 0, accuracy, "70.5"', "", '"a ""b"", c",cifar10,100,0,accuracy,71',
        head=", ".join(REQUIRED), encoding=encoding, end=end,
    )  # fmt: skip
    assert [(r.label, r.dataset, r.metrics) for r in read_scores(file)] == [
        ("ce", "cifar10", {"accuracy": 70.5}), ('a "b", c', "cifar10", {"accuracy": 71.0}),
    ]  # fmt: skip


def test_a_column_for_each_metric_says_the_same_as_a_line_for_each_value(write: Write) -> None:
    long = read_scores(write("a,d,10,0,accuracy,70", "a,d,10,0,ece,3.5", "b,d,10,0,accuracy,71", "b,d,10,0,ece,"))
    wide = read_scores(
        write("0,a,d,70,3.5,10", "0,b,d,71,,10", head="seed,method,dataset,Accuracy,ECE,imbalance_factor")
    )
    assert wide == long


def test_a_column_for_each_metric_needs_no_imbalance_factor(write: Write) -> None:
    (found,) = read_scores(write("ce,d,3,70.5", head="method,dataset,seed,accuracy"))
    assert (found.imbalance, found.seed, found.metrics) == ("native", 3, {"accuracy": 70.5})


def test_the_numbers_of_rows_that_pandas_writes_and_capitals_do_no_harm(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Method": ["ce", "ours"], "dataset": "d", "SEED": 0, "Accuracy": [70.5, 71.0]})
    frame.to_csv(file := tmp_path / "scores.csv")
    assert read_scores(file) == read_scores(frame)
    assert [(r.label, r.metrics) for r in read_scores(file)] == [
        ("ce", {"accuracy": 70.5}),
        ("ours", {"accuracy": 71.0}),
    ]


def test_a_frame_may_have_a_column_for_each_metric() -> None:
    frame = pd.DataFrame({"method": ["ce", "ce"], "dataset": "d", "seed": [0, 1], "accuracy": [70.5, None]})
    assert [(r.status, r.metrics) for r in read_scores(frame)] == [("ok", {"accuracy": 70.5}), ("failed", {})]


def test_a_column_of_a_metric_of_ones_own_is_declared(write: Write) -> None:
    file = write("ce,d,3,70.5,4", head="method,dataset,seed,accuracy,zork")
    with pytest.raises(UserError, match=r"unknown column 'zork'.*--lower-is-better"):
        read_scores(file)
    assert read_scores(file, directions=declared_directions(["zork"]))[0].metrics == {"accuracy": 70.5, "zork": 4.0}


@pytest.mark.parametrize(
    ("head", "line", "message"),
    [
        ("method,dataset,imbalance,seed,accuracy", "ce,d,100,0,70", "unknown column 'imbalance'. Did you mean 'imb"),
        ("method,,dataset,seed,accuracy", "ce,0,d,0,70", "unknown column ''"),
        ("method,dataset,seed,zork", "ce,d,0,70", "--higher-is-better say which way"),
        ("method,dataset,accuracy", "ce,d,70", "lacks the column seed;"),
        ("method,dataset,seed,accuracy,accuracy", "ce,d,0,70,71", "a column is there twice"),
        ("method,dataset,seed,accuracy,Accuracy", "ce,d,0,70,71", "is on line 2 already, with another value"),
        ("method,dataset,seed,accuracy", "ce,d,0,70.1%", "accuracy is '70.1%'; expected a number"),
        ("method,dataset,seed,accuracy", "ce,d,0,0.7", "looks like fractions"),
        ("method,dataset,seed,accuracy,value", "ce,d,0,70,70", "unknown column 'accuracy'"),
    ],
)
def test_what_a_column_for_each_metric_may_not_be(write: Write, head: str, line: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        read_scores(write(line, head=head))


@pytest.mark.parametrize("blank", [chr(c) for c in (0x1C, 0x1D, 0x1E, 0x1F, 0x85, 0xA0, 0x2003)])
def test_blanks_of_all_kinds_around_numbers_do_no_harm(write: Write, blank: str) -> None:
    (found,) = read_scores(write(f"ce,a,10,{blank}3{blank},accuracy,{blank}70.5{blank}"))
    assert (found.seed, found.metrics) == (3, {"accuracy": 70.5})


def test_columns_may_stand_in_any_order(write: Write) -> None:
    (found,) = read_scores(write("70,accuracy,3,ce,a,10", head="value,metric,seed,method,dataset,imbalance_factor"))
    assert (found.label, found.dataset, found.seed, found.metrics) == ("ce", "a", 3, {"accuracy": 70.0})


def test_manifests_split_columns_and_recipes_split_tables(write: Write) -> None:
    head = f"{HEAD},manifest,recipe"
    kinds = ("version-1,short", "version-2,short", "version-1,long")
    lines = [f"{m},a,10,{s},accuracy,{50 + s},{kind}" for m in ("ce", "x") for s in range(3) for kind in kinds]
    board = build(read_scores(write(*lines, head=head)))
    assert {t.recipe_name: len(t.columns) for t in board.tables} == {"short": 2, "long": 1}
    (short,) = (t for t in board.tables if t.recipe_name == "short")
    assert len({short.title(c) for c in short.columns}) == 2, "titles tell columns apart beyond their first letters"


def test_other_pretraining_is_another_table(write: Write) -> None:
    lines = [f"{m},a,10,{s},accuracy,{50 + s},{start}"
             for m in ("ce", "x") for s in range(3) for start in ("CLIP", "")]  # fmt: skip
    board = build(read_scores(write(*lines, head=f"{HEAD},pretraining")))
    assert [(t.pretraining, len(t.rows)) for t in board.tables] == [("", 2), ("CLIP", 2)]


def test_the_statistics_are_those_of_the_same_numbers_from_trials(write: Write) -> None:
    results = grid({"ce": 50, "good": 60, "bad": 40}, {"a": ["IF10", "IF50"], "b": ["IF100"]})
    results[0] = replace(results[0], status="failed", metrics=dict.fromkeys(results[0].metrics))
    read = build(read_scores(write(*lines_of(results))))
    own = build([replace(r, manifest="", recipe_id="", metrics={} if r.status == "failed" else r.metrics)
                 for r in results])  # fmt: skip
    for ours, theirs in zip(read.tables[0].rows, own.tables[0].rows, strict=True):
        assert ours == theirs
    assert read.tables[0].pairs == own.tables[0].pairs
    assert (read.trials, read.finished, read.failed) == (own.trials, own.finished, own.failed) == (45, 44, 1)


def test_a_metric_of_ones_own_ranks_when_it_is_the_only_one(write: Write) -> None:
    lines = lines_of(grid({"ce": 50, "good": 60}, {"a": ["IF10"]}), ["accuracy"])
    board = build(read_scores(write(*(line.replace("accuracy", "G-mean_50%") for line in lines))))
    assert board.primary == "G-mean_50%"
    assert [r.label for r in board.tables[0].rows] == ["good", "ce"], "higher is better"
    for name, render in FORMATS.items():
        shown = render(board)
        assert "G-mean" in shown
        assert name != "latex" or "50%" not in shown.replace(r"50\%", "").split("\\begin")[1]


def test_a_known_metric_comes_before_ones_own(write: Write) -> None:
    board = build(read_scores(write("ce,a,10,0,aaa,1", "ce,a,10,0,accuracy,2")))
    assert board.primary == "accuracy"


# -- what is lost ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", " ", "nan", "NaN", "-nan"])
@pytest.mark.parametrize("beside", [[], ["ece"]])
def test_a_lost_value_is_a_failed_trial_and_is_not_imputed(write: Write, value: str, beside: list[str]) -> None:
    """Also where another metric of the trial has a value: its mean would be over fewer seeds than it says."""
    results = grid({"ce": 50, "good": 60}, {"a": ["IF10"]})
    lines = lines_of(results, ["accuracy", *beside])
    at = next(i for i, line in enumerate(lines) if line.startswith("good,a,IF10,3,accuracy"))
    board = build(read_scores(write(*lines[:at], f"good,a,10,3,accuracy,{value}", *lines[at + 1 :])))
    (row,) = (r for r in board.tables[0].rows if r.label == "good")
    kept = [r.metrics["accuracy"] or 0.0 for r in results if r.label == "good" and r.seed != 3]
    assert row.mean == pytest.approx(sum(kept) / 4)
    assert (board.finished, board.failed, board.missing) == (9, 1, 0)
    assert "Failed: good a IF10 s3" in FORMATS["text"](board)


def test_a_shot_bucket_may_be_empty(write: Write) -> None:
    (found,) = read_scores(write("ce,a,10,0,accuracy,50", "ce,a,10,0,few,"))
    assert (found.status, found.metrics) == ("ok", {"accuracy": 50.0, "few": None})


# -- what is refused ---------------------------------------------------------------------------------------------------

GOOD = "ce,a,10,0,accuracy,50"
BAD = {
    "no factor": (["ce,a,ten,0,accuracy,50"], "line 2: imbalance_factor is 'ten'; expected a number from 1 up"),
    "below one": (["ce,a,0.5,0,accuracy,50"], "line 2: imbalance_factor is '0.5'; expected a number from 1 up"),
    "negative factor": (["ce,a,-10,0,accuracy,50"], "line 2: imbalance_factor is '-10'"),
    "infinite factor": ([f"ce,a,{'9' * 400},0,accuracy,50"], "line 2: imbalance_factor is '999"),
    "seed": ([GOOD, "ce,a,10,x,accuracy,50"], "line 3: seed is 'x'; expected a whole number"),
    "half a seed": (["ce,a,10,0.5,accuracy,50"], "line 2: seed is '0.5'; expected a whole number"),
    "negative seed": (["ce,a,10,-1,accuracy,50"], "line 2: seed is -1; seeds count from 0 up"),
    "value": (["ce,a,10,0,accuracy,5o"], "line 2: value is '5o'; expected a number, or nothing for a failed trial"),
    "percent": (["ce,a,10,0,accuracy,50 %"], "line 2: value is '50 %'; expected a number"),
    "no method": ([GOOD, "", " ,a,10,0,accuracy,50"], "line 4: method is empty"),
    "no data set": (["ce,,10,0,accuracy,50"], "line 2: dataset is empty"),
    "no metric": (["ce,a,10,0, ,50"], "line 2: metric is empty"),
    "too few": (["ce,a,10,0,accuracy"], "line 2: has not as many fields as the header"),
    "too many": (["ce,a,10,0,accuracy,50,1"], "line 2: has not as many fields as the header"),
    "twice": ([GOOD, GOOD], "line 3: accuracy of ce on a IF10 seed 0 is on line 2 already, with the same value; keep"),
    "two values": ([GOOD, "ce,a,IF10,0,accuracy,51"], "line 3: accuracy of ce on a IF10 seed 0 is on line 2 already, "
                   "with another value; keep one of the two"),
    "a quote": (['ce,a,10,0,accuracy,"50'], "after line 1: is no CSV (unexpected end of data); close or "
                "double its quotes"),
    "nothing": ([], "holds no scores below its header"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_one_message_with_file_line_cause_and_cure(write: Write, ltbench: Run, name: str) -> None:
    lines, says = BAD[name]
    file = write(*lines)
    code, out, err = ltbench("--from", str(file))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {file}")
    assert says in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (HEAD.replace("dataset", "data_set"), "unknown column 'data_set'. Did you mean 'dataset'?"),
        (HEAD.replace(",seed", ""), "lacks the column seed; it needs a header with method, dataset"),
        (HEAD + ",seed", "a column is there twice"),
        (HEAD + ",", "unknown column ''"),
        (HEAD.replace(",", ";"), "its columns are separated by ';'; write commas"),
        ("", "lacks the columns method, dataset"),
    ],
)
def test_a_bad_header_is_told_what_it_should_be(write: Write, ltbench: Run, head: str, says: str) -> None:
    code, _, err = ltbench("--from", str(write(GOOD, head=head)))
    assert code == 2
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"\xff\xfe\x00m", b"method\x00,dataset\n", b""])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, ltbench: Run, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    assert ltbench("--from", str(tmp_path / "x.csv"))[0] == 2


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path: Path, ltbench: Run) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, says in (("none.csv", "no such file"), ("folder.csv", "cannot be read")):
        code, _, err = ltbench("--from", str(tmp_path / name))
        assert (code, err.startswith(f"error: {tmp_path / name}: {says}")) == (2, True)


def test_accuracies_are_percent(write: Write, ltbench: Run) -> None:
    """Fractions would all be equivalent within half a point."""
    code, _, err = ltbench("--from", str(write("ce,a,10,0,accuracy,0.384", "ours,a,10,0,accuracy,0.41")))
    assert code == 2
    assert "looks like fractions; write percent (38.4, not 0.384)" in err
    code, _, err = ltbench("--from", str(write("ce,a,10,0,accuracy,138.4")))
    assert code == 2
    assert "expected percent, from 0 to 100" in err


def test_a_file_of_scores_belongs_to_no_suite(write: Write, ltbench: Run) -> None:
    code, _, err = ltbench("quickstart", "--from", str(write(GOOD)))
    assert code == 2
    assert "belongs to no suite" in err


# -- through the command line ------------------------------------------------------------------------------------------


def test_a_file_of_scores_is_ranked_from_the_command_line(write: Write, ltbench: Run) -> None:
    file = write(*lines_of(grid({"ce": 50, "good": 60, "bad": 40}, {"a": ["IF10"]})))
    code, out, err = ltbench("--from", str(file), "--format", "json", "--reference", "bad", "--only", "good,bad")
    assert (code, err) == (0, "")
    (table,) = json.loads(out)["tables"]
    assert [(r["label"], r["rank"]) for r in table["rows"]] == [("good", [1, 1]), ("bad", [2, 2])]
    assert table["reference"] == "bad"
    assert json.loads(out)["suite"] == "scores"


def test_without_predictions_the_board_of_a_file_says_so(write: Write, ltbench: Run) -> None:
    _, out, _ = ltbench("--from", str(write(*lines_of(grid({"ce": 50, "good": 60}, {"a": ["IF10"]})))))
    assert "the noise of the test images (no predictions are at hand)" in " ".join(out.split())


# -- whatever is written -----------------------------------------------------------------------------------------------

FIELD = st.one_of(
    st.sampled_from(["ce", "a", "10", "IF10", "0", "1", "accuracy", "few", "50", "nan", "", '"', "inf", "1e400", "²"]),
    st.text(max_size=6),
)
ROWS = st.lists(st.lists(FIELD, min_size=4, max_size=7).map(",".join), max_size=5)
FILES = st.one_of(st.text(), ROWS.map(lambda rows: "\n".join([HEAD, *rows])))


@given(text=FILES)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gives_results_or_one_message(tmp_path: Path, text: str) -> None:
    file = tmp_path / "fuzz.csv"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read_scores(file)
    except UserError:
        return
    assert found
    board = build(found)
    for render in FORMATS.values():
        render(board)
