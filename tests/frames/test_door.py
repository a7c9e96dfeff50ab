"""The door for Python: the functions of `ltbench` say what the commands say, print nothing and end no process."""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import ltbench as lt
from ltbench.cli import app
from ltbench.errors import UserError
from ltbench.execution.progress import Progress
from ltbench.frames import Board, SuiteRun
from ltbench.system import messages
from tests.sampling import sampled

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "reference" / "quickstart"
TINY = {"recipes.scratch.epochs": 1}
Command = Callable[..., str]


@pytest.fixture(autouse=True)
def as_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that is no command: other tests have run commands here."""
    monkeypatch.setattr(messages.LOG, "handlers", [])


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing in the door prints, not even below Python's own streams."""
    yield
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def progress() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def ran(results: Path, data_root: Path, progress: list[Progress]) -> SuiteRun:
    return lt.run("quickstart", only=["ce", "mixup"], seeds=[0, 1], overrides=TINY, results=results, data=data_root,
                  inline=True, progress=progress.append)  # fmt: skip


@pytest.fixture(scope="module")
def board() -> Board:
    return lt.leaderboard(from_=REFERENCE)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, data_root: Path) -> Command:
    """What a command prints."""
    monkeypatch.setenv("LTBENCH_DATA", str(data_root))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


# -- the functions and the commands ------------------------------------------------------------------------------------


def test_the_words_are_those_of_the_command_line() -> None:
    commands = {c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands}
    assert set(lt.__all__) - commands == {"records", "import_predictions"}  # `import` is no name in Python


def test_every_parameter_is_documented_and_every_function_has_an_example() -> None:
    for name in lt.__all__:
        function = getattr(importlib.import_module("ltbench.frames"), name)
        text = inspect.getdoc(function) or ""
        parameters = list(inspect.signature(function).parameters)
        assert [p for p in parameters if f"\n    {p}: " not in text] == [], name
        assert "Raises:" in text, name
        assert ">>> import ltbench" in text, name


def test_the_examples_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(ROOT)
    tried = 0
    for file in sorted((ROOT / "ltbench" / "frames").glob("*.py")):
        told = io.StringIO()
        module = importlib.import_module(f"ltbench.frames.{file.stem}")
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        for example in doctest.DocTestFinder().find(module):
            if example.examples:
                runner.run(example, out=told.write)
                tried += 1
        assert runner.failures == 0, told.getvalue()
    assert tried == len(lt.__all__)


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    script = """
import sys
import typing  # which a Python with another start may not have yet
before = set(sys.modules)
import ltbench
assert dir(ltbench)
assert not {"numpy", "pandas", "torch", "scipy", "typer", "pydantic", "logging"} & (set(sys.modules) - before)
print(len(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert int(done.stdout) < 10


@sampled(
    "first",
    ["import ltbench.methods.mixup", "import ltbench", "from ltbench.registry import Registry; Registry()"],
    ["import ltbench.methods.mixup"],
)
def test_methods_is_a_function_and_a_package_whoever_comes_first(first: str, tmp_path: Path) -> None:
    script = f"{first}\nimport ltbench\nassert 'ce' in ltbench.methods().index\n"
    script += "from ltbench.methods.mixup import Mixup\nimport ltbench.methods as package\npackage.mixup\n"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'leaderbord'"):
        lt.leaderbord  # noqa: B018


# -- plan and run ------------------------------------------------------------------------------------------------------


def test_a_plan_is_a_frame_and_a_table(data_root: Path, tmp_path: Path) -> None:
    plan = lt.plan("quickstart", only="ce", seeds=[3, 4], results=tmp_path, data=data_root)
    frame = plan.to_frame()
    assert len(plan) == len(frame) == 4
    assert set(frame["method"]) == {"ce"}
    assert set(frame["seed"]) == {3, 4}
    assert set(frame["status"]) == {"to run"}
    assert list(frame["key"]) == [t.key for t in plan.trials]
    assert repr(plan) == "quickstart: 4 trials: 4 to run"
    assert "2 to run" in plan._repr_html_()


def test_a_suite_may_be_a_mapping(data_root: Path, tmp_path: Path) -> None:
    """The same contents have the same keys, wherever they come from."""
    there: dict[str, Any] = {
        "extends": "quickstart",
        "suite": "mine",
        "datasets": [{"name": "digits", "imbalance": 20}],
    }
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(there))
    plans = [lt.plan(suite, results=tmp_path, data=data_root) for suite in (there, file, str(file))]
    assert plans[0].suite == "mine"
    assert len({tuple(t.key for t in plan.trials) for plan in plans}) == 1
    assert there["datasets"][0]["imbalance"] == 20, "the caller's mapping stays as it was"


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ({}, "the suite: suite: "),
        ({"suite": "x", "datasets": 3}, "the suite: datasets: "),
        ({"extends": "quickstart", "datasets": [{"name": "digits", "imbalance": object()}]}, "got a object"),
        ({"extends": "no such"}, "no such suite file"),
        ("quickstrat", "Did you mean 'quickstart'"),
    ],
)
def test_a_wrong_suite_is_refused_with_its_place(suite: Any, message: str, data_root: Path) -> None:
    with pytest.raises(UserError) as refused:
        lt.plan(suite, data=data_root)
    assert message in str(refused.value)


@pytest.mark.parametrize("seeds", [[-1], [0, 0], [], ["0"], [1.5], [True]])
def test_seeds_are_different_whole_numbers(seeds: Any, data_root: Path) -> None:
    with pytest.raises(UserError, match="different whole numbers from 0 up"):
        lt.plan("quickstart", seeds=seeds, data=data_root)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [({"recipes.scratch.epoch": 1}, "epoch"), ({"recipes.scratch.epochs": object()}, "got a object"),
     (["recipes.scratch.epochs"], "expected KEY.PATH=VALUE")],
)  # fmt: skip
def test_a_wrong_override_is_refused(overrides: Any, message: str, data_root: Path) -> None:
    with pytest.raises(UserError, match=message):
        lt.plan("quickstart", overrides=overrides, data=data_root)


def test_a_run_is_finished_and_ranked_and_is_not_run_twice(
    ran: SuiteRun, results: Path, data_root: Path, progress: list[Progress]
) -> None:
    assert ran.complete
    assert (len(ran.finished), len(ran.failed), len(ran.left)) == (8, 0, 0)
    assert ran.board is not None
    assert set(ran.board.methods) == {"ce", "mixup"}
    assert repr(ran) == "quickstart: 8 finished, 0 failed, 0 left"
    assert "<table" in ran._repr_html_()
    assert progress[-1].done == progress[-1].total == 8
    assert progress[-1].fraction == pytest.approx(1.0)
    assert [p.done for p in progress] == sorted(p.done for p in progress)
    again = list[Progress]()
    assert lt.run("quickstart", only=["ce", "mixup"], seeds=[0, 1], overrides=TINY, results=results, data=data_root,
                  inline=True, progress=again.append).complete  # fmt: skip
    assert again == []


def test_python_and_the_command_line_make_the_same_trials(ran: SuiteRun, results: Path, command: Command) -> None:
    out = command(
        "plan", "quickstart", "--only", "ce,mixup", "--seeds", "0,1", "--set", "recipes.scratch.epochs=1", "--results",
        str(results),
    )  # fmt: skip
    assert "8 trials: 0 to run, 8 finished, 0 failed" in out


def test_what_is_told_goes_to_the_function_that_is_given(data_root: Path, tmp_path: Path) -> None:
    told: list[str] = []
    lt.run("quickstart", only="ce", seeds=0, overrides=TINY, results=tmp_path, data=data_root, inline=True,
           tell=told.append)  # fmt: skip
    assert told == ["quickstart: 2 trials to run"]


def test_a_failed_trial_is_a_record_and_no_exception(tmp_path: Path, data_root: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "broken.py").write_text(
        "from ltbench.api import Method\n\n\nclass Broken(Method):\n    'Fails.'\n\n"
        "    def loss(self, logits, target, now):\n        raise ValueError('on purpose')\n"
    )
    suite = {
        "extends": "quickstart",
        "suite": "broken",
        "methods": {"scratch": ["broken"]},
        "protocol": {"reference": None},
    }
    run = lt.run(suite, methods=mine, seeds=0, results=tmp_path / "results", data=data_root, inline=True)
    assert not run.complete
    assert run.board is None
    assert "on purpose" in (run.failed[0].error or "")
    assert "failed" in repr(run.failed[0])


# -- records -----------------------------------------------------------------------------------------------------------


def test_records_are_frames(ran: SuiteRun, results: Path) -> None:
    found = lt.records("quickstart", results=results)
    assert [r.key for r in found] == sorted(t.key for t in ran.outcome.plan.trials)
    frame = found.to_frame()
    assert set(frame["method"]) == {"ce", "mixup"}
    assert frame["balanced_accuracy"].between(0, 100).all()
    assert len(found[1:3]) == 2
    one = lt.records("quickstart", results=results, only="mixup", seeds=1, datasets="digits")
    assert {r.spec.seed for r in one} == {1}


def test_a_record_explains_itself(board: Board) -> None:
    record = lt.records(from_=REFERENCE, only="ce")[0]
    classes = record.per_class()
    assert list(classes["name"][:3]) == ["zero", "one", "two"]
    assert classes["recall"].mean() == pytest.approx(record.metrics["balanced_accuracy"])
    predictions = record.predictions()
    assert len(predictions) == classes["test_images"].sum()
    hits = (predictions["truth"] == predictions["label"]).mean()
    assert 100 * hits == pytest.approx(record.metrics["accuracy"], abs=1e-3)
    curve = record.curves()
    assert (curve["curve"] == "train/loss").any()
    assert "zero" in record._repr_html_()


# -- boards ------------------------------------------------------------------------------------------------------------


def test_a_board_prints_as_the_command_does(board: Board, command: Command) -> None:
    assert str(board) == command("leaderboard", "--from", str(REFERENCE))
    assert board.render("csv") == command("leaderboard", "--from", str(REFERENCE), "--format", "csv")
    with pytest.raises(UserError, match="Did you mean 'markdown'"):
        board.render("markdwon")


def test_a_board_is_frames_a_table_and_figures(board: Board) -> None:
    frame, pairs = board.to_frame(), board.pairs()
    assert {"method", "dataset", "imbalance", "metric", "mean"} <= set(frame.columns)
    assert {"a", "b", "diff", "ci95_low", "ci95_high", "p_holm", "verdict"} <= set(pairs.columns)
    html = board._repr_html_()
    assert all(method in html for method in board.methods)
    assert {"trade_off", "intervals", "ranks"} <= set(dir(board.plot))
    figure = board.plot.trade_off()
    assert type(figure).__module__ == "matplotlib.figure"
    assert board.plot.caption("trade_off")
    with pytest.raises(AttributeError, match="Did you mean 'trade_off'"):
        board.plot.tradeoff  # noqa: B018


def test_scores_may_be_a_frame() -> None:
    """The same numbers as a file and as a frame give the same board."""
    lines = [(m, "cifar10", 100, seed, "accuracy", base + seed / 7) for m, base in (("ce", 70.0), ("ours", 75.5))
             for seed in range(5)]  # fmt: skip
    frame = pd.DataFrame(lines, columns=["method", "dataset", "imbalance_factor", "seed", "metric", "value"])
    board = lt.leaderboard(from_=frame, reference="ce", primary="accuracy")
    assert board.methods == ["ours", "ce"]
    assert board.plot.intervals() is not None
    with pytest.raises(UserError, match="the frame of scores, row 1"):
        lt.leaderboard(from_=pd.concat([frame.head(1), frame.head(1)]))
    with pytest.raises(UserError, match="unknown column 'metod'"):
        lt.leaderboard(from_=frame.rename(columns={"method": "metod"}))


def test_a_comparison_is_a_frame_and_the_commands_text(command: Command) -> None:
    found = lt.compare("balanced_softmax", "ce", from_=REFERENCE)
    assert str(found) == command("compare", "balanced_softmax", "ce", "--from", str(REFERENCE))
    frame = found.to_frame()
    assert set(frame["imbalance"]) == {"IF20", "IF50"}
    assert (frame["low"] < frame["diff"]).all()


def test_a_report_is_written(tmp_path: Path) -> None:
    made = lt.report(from_=REFERENCE, out=tmp_path / "report", only=["ce", "mixup"])
    assert made.page.is_file()
    assert made.page in made.files
    assert len(made.files) > 10


def test_records_are_verified(data_root: Path) -> None:
    found = lt.verify("quickstart", trials=1, from_=REFERENCE, only="ce", data=data_root, device="cpu")
    frame = found.to_frame()
    assert len(frame) == 1
    assert found.holds
    assert set(frame["verdict"]) <= {"identical", "agrees"}
    assert "<table" in found._repr_html_()


def test_defaults_that_are_whole_numbers_stay_whole() -> None:
    assert [repr(value) for value in lt.methods("ride")["default"]].count("3") == 1
    assert lt.methods("ce").empty
