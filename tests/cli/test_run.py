"""`ltbench run` and `ltbench trial` as a stranger types them: exit codes, messages, and what they leave behind."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from ltbench.execution.exported import main as run_bundle
from ltbench.results.journal import Journal
from ltbench.spec import Record, TrialSpec
from ltbench.training.engine import LossMeter
from ltbench.training.trial import run_trial
from tests.cli.made import Run


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
