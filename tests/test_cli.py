"""The commands as a stranger types them: exit codes, messages, and what they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ltbench import cli
from ltbench.records import Journal
from ltbench.spec import Record, TrialSpec

ROOT = Path(__file__).parent.parent
Run = Callable[..., tuple[int, str, str]]
Make = Callable[..., TrialSpec]


@pytest.fixture
def ltbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data_root: Path) -> Run:
    """`ltbench("plan", "quickstart")` -> exit code, stdout, stderr; through the entry point of the console script."""
    monkeypatch.setenv("LTBENCH_DATA", str(data_root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ltbench", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def records(tmp_path: Path, make_spec: Make) -> Path:
    """A folder of made-up records: two methods, three seeds."""
    journal = Journal(tmp_path / "made" / "records")
    for method, mean in (("ce", 50.0), ("mixup", 60.0)):
        for seed in range(3):
            value = mean + 0.1 * seed * (1 if method == "ce" else -1)
            metrics = {"accuracy": value, "balanced_accuracy": value, "many": value, "medium": value, "few": None,
                       "worst_class": value}  # fmt: skip
            journal.write(Record(spec=make_spec(method, seed=seed), status="ok", metrics=metrics))
    return journal.folder


def test_help_names_every_command(ltbench: Run) -> None:
    code, out, _ = ltbench("--help")
    assert code == 0
    for command in ("run", "plan", "leaderboard", "methods", "datasets", "check", "trial", "import", "ui"):
        assert f"\n  {command} " in out


def test_a_misspelt_command_or_option_is_exit_code_2(ltbench: Run) -> None:
    for arguments in (["leadrboard"], ["plan", "quickstart", "--sed", "1"], ["plan"]):
        code, _, err = ltbench(*arguments)
        assert code == 2
        assert "Traceback" not in err


def test_a_users_mistake_is_one_message_and_exit_code_2(ltbench: Run) -> None:
    code, _, err = ltbench("plan", "quickstrt")
    assert code == 2
    assert err.startswith("error: quickstrt: no such suite")
    assert "Did you mean 'quickstart'?" in err


def test_plan_counts_what_would_run_and_does_nothing(ltbench: Run, tmp_path: Path) -> None:
    code, out, _ = ltbench("plan", "quickstart", "--results", str(tmp_path / "r"), "--seeds", "0,1", "--only", "ce")
    assert code == 0
    assert out.startswith("quickstart: 4 trials: 4 to run, 0 finished, 0 failed")
    assert not (tmp_path / "r").exists()


def test_plan_says_what_is_skipped_and_why(ltbench: Run) -> None:
    _, out, _ = ltbench("plan", "quickstart", "--set", "text=null")
    assert (
        "skipped: text_guided_mixup on digits IF20, text_guided_mixup on digits IF50: needs class-name vectors" in out
    )


def test_methods_lists_every_file_and_shows_one_in_full(ltbench: Run) -> None:
    code, out, _ = ltbench("methods")
    assert code == 0
    stems = {f.stem for f in (ROOT / "methods").glob("[a-z]*.py")}
    assert stems == {line.split()[0] for line in out.splitlines()[:-2]}
    code, out, _ = ltbench("methods", "text_guided_mixup")
    for piece in ("tau", "0.05", "loguniform(0.01, 1)", "BMVC 2024", "text"):
        assert piece in out


def test_an_unknown_method_is_met_with_the_nearest(ltbench: Run) -> None:
    code, _, err = ltbench("methods", "ldam_dwr")
    assert code == 2
    assert "Did you mean 'ldam_drw'?" in err


def test_datasets_are_listed_with_their_options(ltbench: Run) -> None:
    _, out, _ = ltbench("datasets")
    assert all(kind in out for kind in ("digits", "cifar10", "cifar100", "folder", "size (default 32)"))


@pytest.mark.parametrize("name", ["text", "markdown", "csv", "json"])
def test_a_folder_of_records_is_ranked_in_every_format(ltbench: Run, records: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "out" / "board"
    code, out, _ = ltbench("leaderboard", "--from", str(records), "--format", name, "--out", str(file))
    assert (code, out) == (0, "")
    shown = file.read_text()
    assert "mixup" in shown
    if name == "json":
        assert json.loads(shown)["tables"][0]["rows"][0]["label"] == "mixup"


def test_a_damaged_record_is_left_out_with_a_warning(ltbench: Run, records: Path) -> None:
    (records / "0123456789ab.json").write_text('{"schema": 1, "spec"')
    code, out, err = ltbench("leaderboard", "--from", str(records))
    assert code == 0
    assert "0123456789ab.json: left out" in err
    assert "6 of 6 trials" in out


def test_a_leaderboard_before_any_run_says_how_to_begin(ltbench: Run, tmp_path: Path) -> None:
    code, _, err = ltbench("leaderboard", "--results", str(tmp_path / "none"))
    assert code == 2
    assert "ltbench run quickstart" in err


def test_an_unknown_format_is_refused_with_those_there_are(ltbench: Run, records: Path) -> None:
    code, _, err = ltbench("leaderboard", "--from", str(records), "--format", "markdwn")
    assert code == 2
    assert "Did you mean 'markdown'?" in err


def test_seeds_must_be_different_numbers(ltbench: Run) -> None:
    for seeds in ("0,x", "1,1", "-1"):
        code, _, err = ltbench("plan", "quickstart", f"--seeds={seeds}")
        assert code == 2
        assert f"--seeds {seeds}" in err


def test_check_passes_our_own_and_names_the_faults_of_another(ltbench: Run, tmp_path: Path) -> None:
    assert ltbench("check", str(ROOT / "methods" / "mixup.py"))[:2] == (0, "mixup: keeps the contract\n")
    idle = tmp_path / "idle.py"
    idle.write_text(
        "from ltbench.api import Method, hp\n\n\nclass Idle(Method):\n    '''Does nothing with its option.'''\n"
        "    paper = 'none'\n    defaults_from = 'none'\n    strength: float = hp(1.0, 'unused')\n"
    )
    code, out, _ = ltbench("check", str(idle))
    assert code == 1
    assert "strength has no effect" in out


def test_an_exported_trial_runs_here_and_is_imported(ltbench: Run, tmp_path: Path) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "elsewhere"
    small = ["--set", "recipes.scratch.epochs=1", "--set", "datasets.0.imbalance=[20]", "--only", "ce", "--seeds", "0"]
    ltbench("plan", "quickstart", "--export", str(bundle), *small)
    (file,) = bundle.glob("*.json")
    code, told, _ = ltbench("trial", str(file), "--out", str(out), "--device", "cpu", "--threads", "1")
    assert code == 0
    assert "ce digits IF20 s0: ok" in told
    assert (out / file.name).exists()


def test_an_edited_trial_is_refused(ltbench: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    ltbench("plan", "quickstart", "--export", str(bundle), "--only", "ce", "--seeds", "0")
    file = next(bundle.glob("*.json"))
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    code, _, err = ltbench("trial", str(file), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "it was edited" in err


@pytest.mark.slow
def test_a_whole_run_inline_then_again_then_ranked_from_mlflow(ltbench: Run, tmp_path: Path) -> None:
    small = ["--set", "recipes.scratch.epochs=1", "--set", "datasets.0.imbalance=[20]", "--only", "ce,mixup"]
    arguments = ["run", "quickstart", "--results", str(tmp_path), "--inline", "--seeds", "0,1,2", *small]
    code, out, err = ltbench(*arguments)
    assert code == 0, err
    assert "6 of 6 trials, 0 failed, 0 missing" in out
    assert "6 trials to run" in err
    code, again, err = ltbench(*arguments)
    assert code == 0
    assert "0 trials to run, 6 finished before" in err
    board = out[out.index("quickstart: balanced") :]
    assert again == board
    code, ranked, _ = ltbench("leaderboard", "--results", str(tmp_path), "--only", "ce,mixup", "--seeds", "0,1,2")
    assert code == 0
    assert ranked == board
    code, imported, _ = ltbench(
        "import", str(tmp_path / "quickstart" / "records"), "--results", str(tmp_path / "other")
    )
    assert code == 0
    assert imported == "quickstart: 6 new records\n"


@pytest.mark.slow
def test_a_failing_method_is_named_and_the_exit_code_is_1(ltbench: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "broken.py").write_text(
        "from ltbench.api import Method\n\n\nclass Broken(Method):\n    '''Fails.'''\n"
        "    def loss(self, logits, target, now):\n        raise RuntimeError('no good')\n"
    )
    arguments = [
        *("run", "quickstart", "--inline", "--methods", str(mine), "--seeds", "0", "--results", str(tmp_path)),
        *("--set", "methods={scratch: [ce, broken]}", "--set", "recipes.scratch.epochs=1"),
        *("--set", "datasets.0.imbalance=[20]"),
    ]
    code, out, err = ltbench(*arguments)
    assert code == 1
    assert "no good" in out
    assert "1 trials failed; run only these again with: ltbench run quickstart --retry-failed" in err
    code, _, err = ltbench(*arguments, "--retry-failed")
    assert code == 1
    assert "1 trials to run" in err
