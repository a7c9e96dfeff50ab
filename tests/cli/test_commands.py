"""The commands as a stranger types them: exit codes, messages, and what they print."""

from __future__ import annotations

import json
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ltbench.execution.exported import main as run_bundle
from ltbench.planning.bundle import read_bundle
from ltbench.results.journal import Journal
from ltbench.spec import Plan, Record, TrialSpec
from ltbench.training.engine import LossMeter
from ltbench.training.trial import run_trial

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]
Make = Callable[..., TrialSpec]


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
    for command in ("run", "plan", "leaderboard", "methods", "datasets", "check", "trial", "import", "sync", "ui"):
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


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("shape", "    def loss(self, logits, target, now):\n        return logits @ target\n", "(shape.py, line 6)"),
        ("later", "    tau = hp(1.0)\n", "(later.py, line 5)"),
        ("bare", None, "holds no method: a subclass of ltbench.api.Method"),
        ("_hidden", "    pass\n", "holds no method: a subclass of ltbench.api.Method"),
    ],
)
def test_check_says_where_a_method_fails(ltbench: Run, tmp_path: Path, name: str, code: str | None, says: str) -> None:
    head = "from ltbench.api import Method, hp\n\nclass Mine(Method):\n    'Mine.'\n"
    (tmp_path / f"{name}.py").write_text("x = 1\n" if code is None else head + code)
    status, out, err = ltbench("check", str(tmp_path / f"{name}.py"))
    assert status in (1, 2)
    assert says in out + err
    assert "Traceback" not in err


def test_check_says_where_a_method_would_keep_a_gpu_waiting(ltbench: Run, tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text(
        "from ltbench.api import Method\nfrom ltbench.parts import cross_entropy\n\nclass Asks(Method):\n"
        "    'Halves a small loss.'\n    paper = defaults_from = 'none'\n\n    def loss(self, logits, target, now):\n"
        "        loss = cross_entropy(logits, target)\n        return loss if loss > 1 else loss / 2\n"
    )
    code, out, _ = ltbench("check", str(tmp_path / "asks.py"))
    assert code == 0
    waits, verdict = out.splitlines()
    assert waits.startswith("slow on a GPU: asks.py, line 10, reads a number of the device")
    assert verdict == "asks: keeps the contract"


def test_the_template_that_is_printed_is_a_method_that_runs(ltbench: Run, tmp_path: Path) -> None:
    code, printed, _ = ltbench("methods", "--template")
    assert code == 0
    (tmp_path / "mine.py").write_text(printed)
    assert ltbench("check", str(tmp_path / "mine.py"))[:2] == (0, "mine: keeps the contract\n")


def test_an_unknown_method_says_how_to_bring_one(ltbench: Run) -> None:
    code, _, err = ltbench("methods", "vector_scaling")
    assert code == 2
    assert "--methods FOLDER" in err


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--device", "gpu"], "--device gpu: is none; give cpu, cuda, or cuda:1"),
        (["--device", "meta"], "--device meta: is none"),
        (["--device", "cuda:99"], "leave the option out, or give cpu"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_a_trial_on_a_machine_that_is_not_there_is_refused_and_leaves_no_record(
    ltbench: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str], says: str
) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "out"
    ltbench("plan", "quickstart", "--export", str(bundle), "--only", "ce", "--seeds", "0")
    files = [str(file) for file in bundle.glob("*.json")]
    code, _, err = ltbench("trial", *files, "--out", str(out), *option)
    assert code == 2
    assert says in err
    assert run_bundle([*files, "--out", str(out), *option]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*.json"))


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
    assert "failed: broken digits IF20 s0: RuntimeError: no good (broken.py, line 7) (in step 1)" in err
    (cure,) = [line for line in err.splitlines() if "1 trials failed; run only these again with: " in line]
    again = shlex.split(cure.partition("with: ")[2])
    assert again[:3] == ["ltbench", "run", "quickstart"]
    assert {"--retry-failed", "--inline", str(mine), "methods={scratch: [ce, broken]}"} <= set(again)
    code, _, err = ltbench(*again[1:])
    assert code == 1
    assert "1 trials to run" in err


# -- what a command costs before it does anything ----------------------------------------------------------------------

HEAVY = ("torch", "ray", "mlflow", "pandas", "pydantic", "numpy", "scipy", "yaml", "open_clip", "sklearn", "matplotlib")


def test_help_answers_at_once_and_loads_nothing_heavy(tmp_path: Path) -> None:
    """For the program and for each of its commands; a second of processor time is not used up by all of them. (For the
    options of a command typer itself loads pydantic.)"""
    script = f"""
import sys
from ltbench import cli
commands = [c.name or c.callback.__name__ for c in cli.app.registered_commands]
for command in ([], *([c] for c in commands)):
    sys.argv = ["ltbench", *command, "--help"]
    try:
        cli.main()
    except SystemExit as stop:
        assert stop.code in (0, None), (command, stop.code)
    heavy = set({HEAVY!r}) & set(sys.modules)
    assert heavy <= ({{"pydantic"}} if command else set()), (command, heavy)
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: ") >= 10
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_without_a_command_the_commands_are_shown(ltbench: Run) -> None:
    _, out, err = ltbench()
    assert "leaderboard" in out + err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["leadrboard"], "'leaderboard'"),
        (["plan", "quickstart", "--sed", "1"], "--se"),
        (["plan", "quickstart", "--seeds"], "--seeds"),
        (["ui", "--port", "http"], "--port"),
        (["plan", "quickstart", "quickstart"], "unexpected"),
    ],
)
def test_a_slip_of_the_keyboard_is_met_with_what_was_meant(ltbench: Run, arguments: list[str], says: str) -> None:
    code, _, err = ltbench(*arguments)
    assert code == 2
    assert says in err


# -- methods and plans -------------------------------------------------------------------------------------------------

MINE = """from ltbench.api import Method, hp

class Mine(Method):
    "Mine in a line."
    k: int = hp(3, 'how many')
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with one method."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.py").write_text(MINE)
    return tmp_path / "mine"


def test_methods_lists_those_of_a_folder_too(ltbench: Run, mine: Path) -> None:
    _, out, _ = ltbench("methods", "--methods", str(mine))
    assert any(line.split() == ["mine", "Mine", "in", "a", "line."] for line in out.splitlines())


def test_a_method_of_ones_own_is_shown_with_where_it_comes_from(ltbench: Run, mine: Path) -> None:
    code, out, _ = ltbench("methods", "mine", "--methods", str(mine))
    assert code == 0
    for piece in ("mine: Mine in a line.", "how many", "3", "not stated"):
        assert piece in " ".join(out.split())
    assert str(mine) in "".join(out.split()), "a long path is broken at the end of a line"


def test_a_plan_tells_what_is_finished_and_what_failed(ltbench: Run, tmp_path: Path) -> None:
    chosen = ["--results", str(tmp_path), "--seeds", "0,1,2", "--only", "ce"]
    ltbench("plan", "quickstart", "--export", str(tmp_path / "bundle"), *chosen)
    specs = [read_bundle(file)[0] for file in sorted((tmp_path / "bundle").glob("*.json"))]
    journal = Journal(tmp_path / "quickstart" / "records")
    journal.write(Record(spec=specs[0], status="ok"))
    journal.write(Record(spec=specs[1], status="failed", error="boom"))
    _, out, _ = ltbench("plan", "quickstart", *chosen)
    assert out.startswith("quickstart: 6 trials: 4 to run, 1 finished, 1 failed")


def test_the_whole_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ltbench", "nothing"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert "No such command 'nothing'" in done.stderr


# -- a leaderboard of a folder -----------------------------------------------------------------------------------------


def of_suite(folder: Path, suite: str) -> None:
    """Give the records of a folder to another suite, beside the ones that are there."""
    journal = Journal(folder)
    for record in list(journal.records().values()):
        journal.write(replace(record, spec=replace(record.spec, suite=suite, seed=record.spec.seed + 100)))


def test_what_is_written_to_a_file_is_what_would_be_shown(ltbench: Run, records: Path, tmp_path: Path) -> None:
    _, shown, _ = ltbench("leaderboard", "--from", str(records))
    ltbench("leaderboard", "--from", str(records), "--out", str(tmp_path / "new" / "board.txt"))
    assert (tmp_path / "new" / "board.txt").read_text(encoding="utf-8") == shown


def test_a_results_folder_may_be_given_in_place_of_its_records(ltbench: Run, records: Path) -> None:
    assert ltbench("leaderboard", "--from", str(records.parent)) == ltbench("leaderboard", "--from", str(records))


def test_the_plan_beside_the_records_says_what_is_missing(ltbench: Run, records: Path) -> None:
    specs = [r.spec for r in Journal(records).records().values()]
    trials = (*specs, *(replace(s, seed=s.seed + 3) for s in specs))
    protocol = {"primary": "balanced_accuracy", "report": ["few"], "reference": "ce", "seeds": [0, 1, 2, 3, 4, 5]}
    plan = Plan(suite="test", question="Why?", trials=trials, skips=(), protocol=protocol)
    (records.parent / "plan.json").write_text(json.dumps(plan.expectation()))
    _, out, _ = ltbench("leaderboard", "--from", str(records))
    assert "6 of 12 trials, 0 failed, 6 missing" in out


def test_of_two_suites_in_a_folder_the_named_one_is_ranked(ltbench: Run, records: Path) -> None:
    of_suite(records, "other")
    code, _, err = ltbench("leaderboard", "--from", str(records))
    assert code == 2
    assert "choose one" in err
    code, out, err = ltbench("leaderboard", "other", "--from", str(records))
    assert code == 0, err
    assert out.startswith("other: ")


def test_a_suite_that_a_folder_does_not_hold_is_refused(ltbench: Run, records: Path) -> None:
    code, _, err = ltbench("leaderboard", "cifar_lt", "--from", str(records))
    assert code == 2
    assert "cifar_lt" in err


def test_a_misspelt_row_is_not_silently_left_away(ltbench: Run, records: Path) -> None:
    code, _, err = ltbench("leaderboard", "--from", str(records), "--only", "ce,mixpu")
    assert code == 2
    assert "mixpu" in err
    assert "'mixup'" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "nowhere"], "no such folder"),
        (["--from", "empty"], "no results"),
        (["--from", "{records}", "--out", "{records}"], "cannot be written"),
        (["--from", "{records}", "--seeds", "77"], "not among the results"),
        (["--from", "{records}", "--out", "table.pdf"], "no format goes by .pdf. Known: .txt, .md, .tex, .csv, .json"),
        (["--from", "{records}", "--format", "html5"], "unknown"),
    ],
)
def test_a_leaderboard_that_cannot_be_made_says_why(
    ltbench: Run, records: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    code, out, err = ltbench("leaderboard", *(a.format(records=records) for a in arguments))
    assert (code, out) == (2, "")
    assert says in err


def test_a_damaged_plan_beside_the_records_is_named(ltbench: Run, records: Path) -> None:
    (records.parent / "plan.json").write_text('{"suite": ')
    code, _, err = ltbench("leaderboard", "--from", str(records))
    assert code == 2
    assert "plan.json" in err


def test_exported_trials_train_once_what_they_have_in_common_and_resume(
    ltbench: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "out"
    small = ("--set", "methods.scratch=[ce, tau_norm]", "--datasets", "digits", "--seeds", "0",
             "--set", "datasets=[{name: digits, imbalance: 20}]", "--set", "recipes.scratch.epochs=4")  # fmt: skip
    ltbench("plan", "quickstart", "--export", str(bundle), *small)
    files = [str(file) for file in sorted(bundle.glob("*.json"))]
    add, left = LossMeter.add, [20]

    def interrupted(meter: LossMeter, loss: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        add(meter, loss)

    monkeypatch.setattr(LossMeter, "add", interrupted)
    monkeypatch.setattr("ltbench.execution.exported.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run_bundle([*files, "--out", str(out)])
    assert run_bundle([*files, "--out", str(out)]) == 0
    first, second = Journal(out).records().values()
    taker, trainer = (first, second) if "trained_by" in first.environment else (second, first)
    assert taker.environment["trained_by"] == trainer.key
    assert trainer.environment["resumed"] == 1
    assert not (out / "checkpoints").exists()
    code, _, err = ltbench("import", str(out))
    assert code == 0, err
    capsys.readouterr()


def test_a_file_that_is_named_twice_runs_once(
    ltbench: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("--only", "ce", "--seeds", "0", "--set", "datasets.0.imbalance=[20]", "--set", "recipes.scratch.epochs=1")
    ltbench("plan", "quickstart", "--export", str(tmp_path / "bundle"), *small)
    (file,) = (tmp_path / "bundle").glob("*.json")
    ran: list[str] = []

    def counted(spec: TrialSpec, *rest: Any) -> Record:
        ran.append(spec.key)
        return run_trial(spec, *rest)

    monkeypatch.setattr("ltbench.execution.exported.run_trial", counted)
    assert run_bundle([str(file), str(file), "--out", str(tmp_path / "out")]) == 0
    assert ran == [file.stem]
    assert capsys.readouterr().out.count(": ok") == 2


def test_a_bundle_that_cannot_be_written_is_exit_code_2(ltbench: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    code, _, err = ltbench("plan", "quickstart", "--export", str(tmp_path / "taken"), "--results", str(tmp_path))
    assert code == 2
    assert str(tmp_path / "taken") in err


# -- single trials -----------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(ltbench: Run, tmp_path: Path) -> Path:
    """One exported trial of the quickstart, a tenth of a second long."""
    small = ["--set", "recipes.scratch.epochs=1", "--set", "datasets.0.imbalance=[20]", "--seeds", "0"]
    ltbench("plan", "quickstart", "--export", str(tmp_path / "bundle"), "--only", "text_guided_mixup", *small)
    (file,) = (tmp_path / "bundle").glob("*.json")
    return file


def test_a_trial_that_is_finished_does_not_run_again(
    ltbench: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["trial", str(exported), "--out", str(tmp_path / "out"), "--device", "cpu", "--threads", "1"]
    code, first, _ = ltbench(*arguments)
    assert code == 0
    monkeypatch.setattr("ltbench.training.trial.run_trial", None)
    assert ltbench(*arguments)[:2] == (0, first)


def test_a_failing_trial_is_exit_code_1_with_its_reason(
    ltbench: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(*_: object) -> None:
        raise ValueError("no such images")

    monkeypatch.setattr("ltbench.training.assemble.load_cell", no_data)
    code, out, _ = ltbench("trial", str(exported), "--out", str(tmp_path / "out"), "--device", "cpu")
    assert code == 1
    assert "failed, ValueError: no such images" in out


@pytest.mark.parametrize("text", [None, "[]", "{", '{"key": "x"}'])
def test_a_file_that_is_no_trial_is_exit_code_2_with_its_name(ltbench: Run, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "spec.json"
    if text is not None:
        file.write_text(text)
    code, _, err = ltbench("trial", str(file), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "spec.json" in err


def test_a_trial_with_a_methods_folder_that_is_not_there_is_refused(
    ltbench: Run, exported: Path, tmp_path: Path
) -> None:
    code, _, err = ltbench("trial", str(exported), "--methods", str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "no such folder" in err


# -- import ------------------------------------------------------------------------------------------------------------


class NoStore:
    """Stands for the way to MLflow, which takes seconds to start."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def deliver_backlog(self) -> int:
        return 0

    def close(self) -> int:
        return 0


@pytest.fixture
def bring(ltbench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`bring(folder)`: import it into `tmp_path/results`."""
    monkeypatch.setattr("ltbench.tracking.delivery.Tracker", NoStore)
    return lambda folder: ltbench("import", str(folder), "--results", str(tmp_path / "results"))


def test_imported_records_are_in_the_journal_of_their_suite(bring: Run, records: Path, tmp_path: Path) -> None:
    assert bring(records)[:2] == (0, "test: 6 new records\n")
    assert Journal(tmp_path / "results" / "test" / "records").records() == Journal(records).records()


def test_importing_twice_brings_nothing_new(bring: Run, records: Path) -> None:
    bring(records)
    assert bring(records)[:2] == (0, "test: 0 new records\n")


def test_a_finished_record_replaces_a_failed_one_and_never_the_other_way(
    bring: Run, records: Path, tmp_path: Path
) -> None:
    here = Journal(tmp_path / "results" / "test" / "records")
    good = next(iter(Journal(records).records().values()))
    here.write(Record(spec=good.spec, status="failed", error="boom"))
    bring(records)
    assert here.read(good.key) == good
    Journal(records).write(Record(spec=good.spec, status="failed", error="boom"))
    bring(records)
    assert here.read(good.key) == good


def test_imported_predictions_come_along(bring: Run, records: Path, tmp_path: Path) -> None:
    record = next(iter(Journal(records).records().values()))
    Journal(records).write(replace(record, predictions=b"PK npz"))
    bring(records)
    assert Journal(tmp_path / "results" / "test" / "records").predictions(record.key) == b"PK npz"


def test_a_damaged_record_is_not_imported_and_named(bring: Run, records: Path) -> None:
    (records / "0123456789ab.json").write_text("{")
    code, out, err = bring(records)
    assert (code, out) == (0, "test: 6 new records\n")
    assert "0123456789ab.json: left out" in err


@pytest.mark.parametrize("suite", ["../outside", "{tmp_path}/outside", "..", "a/b", ""])
def test_a_record_cannot_choose_a_folder_outside_the_results(
    bring: Run, records: Path, tmp_path: Path, suite: str
) -> None:
    journal, suite = Journal(records), suite.format(tmp_path=tmp_path)
    for record in list(journal.records().values()):
        journal.write(replace(record, spec=replace(record.spec, suite=suite)))
    before = {f for f in tmp_path.rglob("*") if f.is_file()}
    code, _, err = bring(records)
    assert code == 2
    assert repr(suite) in err
    assert {f for f in tmp_path.rglob("*") if f.is_file()} == before


@pytest.mark.parametrize(("name", "says"), [("nowhere", "no such folder"), ("empty", "holds no records")])
def test_a_folder_with_nothing_to_import_is_refused(bring: Run, tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = bring(tmp_path / name)
    assert code == 2
    assert says in err


# -- sync --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sync_sends_what_a_store_lacks_of_all_suites_or_one(ltbench: Run, records: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for suite in ("test", "other"):
        shutil.copytree(records, results / suite / "records")
    where = ("--results", str(results))
    assert ltbench("sync", "test", *where)[:2] == (0, "test: 6 sent, 0 there before, 0 not sent\n")
    both = "other: {} sent, {} there before, 0 not sent\ntest: 0 sent, 6 there before, 0 not sent\n"
    assert ltbench("sync", *where)[:2] == (0, both.format(6, 0))
    assert ltbench("sync", *where)[:2] == (0, both.format(0, 6))
    new = ("--tracking-uri", f"sqlite:///{tmp_path / 'new.db'}")
    assert ltbench("sync", "test", *where, *new)[:2] == (0, "test: 6 sent, 0 there before, 0 not sent\n")


def test_sync_of_what_is_not_there_is_refused(ltbench: Run, records: Path, tmp_path: Path) -> None:
    code, _, err = ltbench("sync", "--results", str(tmp_path / "nowhere"))
    assert code == 2
    assert "holds no records" in err
    code, _, err = ltbench("sync", "mode", "--results", str(records.parent.parent))
    assert code == 2
    assert "Did you mean 'made'?" in err


def test_a_plan_shows_what_the_long_tails_came_out_as(ltbench: Run) -> None:
    code, out, _ = ltbench("plan", "quickstart", "--set", "protocol.shots={many: 50, few: 10}")
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith("digits IF50 "))
    assert line.split() == ["digits", "IF50", "10", "353", "128", "2", "3", "3", "4", "500"]
    assert "many (> 50)" in out
    assert "few (< 10)" in out


def test_the_ui_makes_no_store_where_nothing_has_been_run(ltbench: Run, tmp_path: Path) -> None:
    code, _, err = ltbench("ui", "--results", str(tmp_path / "results"))
    assert code == 2
    assert "nothing has been run yet" in err
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_printed(ltbench: Run) -> None:
    from ltbench import __version__

    assert ltbench("--version")[:2] == (0, f"ltbench {__version__}\n")


def test_a_report_of_a_file_of_scores_is_refused_with_what_ranks_it(ltbench: Run, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("method\n")
    code, _, err = ltbench("report", "--from", str(tmp_path / "scores.csv"))
    assert code == 2
    assert "`ltbench leaderboard --from` ranks it" in err


def test_the_ui_of_a_server_is_the_servers_own(ltbench: Run) -> None:
    code, out, _ = ltbench("ui", "--tracking-uri", "http://user:secret@tracking.example:5000")
    assert code == 0
    assert "tracking.example" in out
    assert "secret" not in out
