"""What the TAB key offers, asked for as a shell asks: through the environment, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ltbench.cli import completion
from ltbench.metric_names import METRICS
from ltbench.suite.yaml_file import shipped_suites

ROOT = Path(__file__).parents[2]
ASK = "import sys; sys.argv[0] = 'ltbench'; from ltbench.cli import main; main()"


def asked(shell: str, line: str, folder: Path) -> list[str]:
    """The words that a shell is given for what stands on its command line."""
    words = line.split(" ")
    environment = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    done = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, timeout=60, cwd=folder, check=False,
        env={**os.environ, **environment, "_LTBENCH_COMPLETE": f"complete_{shell}"},
    )  # fmt: skip
    assert done.stderr == ""
    if shell == "zsh":  # _arguments '*: :(("word":"help" ...
        return [word for i, word in enumerate(done.stdout.split('"')) if i % 4 == 1]
    return [word.partition("\t")[0] for word in done.stdout.splitlines() if word]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shells_are_offered_suites_methods_and_metrics(shell: str, tmp_path: Path) -> None:
    assert asked(shell, "ltbench run clip_", tmp_path) == sorted(n for n in shipped_suites() if n.startswith("clip_"))
    assert asked(shell, "ltbench run quickstart --only ce,balanced_", tmp_path) == ["ce,balanced_softmax"]
    assert asked(shell, "ltbench methods tau_", tmp_path) == ["tau_norm"]
    assert asked(shell, "ltbench leaderboard --primary balanced_acc", tmp_path) == ["balanced_accuracy"]
    assert asked(shell, "ltbench leader", tmp_path) == ["leaderboard"]


def test_bash_completes_with_the_script_that_is_printed(tmp_path: Path) -> None:
    """What `--install-completion` puts into the shell's files."""
    program = tmp_path / "ltbench"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{ASK}" "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(ltbench --show-completion bash)"; COMP_WORDS=(ltbench run qui); COMP_CWORD=2; '
        '$(complete -p ltbench | grep -o "_[a-z_]*completion[a-z_]*") ltbench; echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SHELL": "/bin/bash"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT,
                          env=environment, check=False)  # fmt: skip
    assert (done.stdout, done.stderr) == ("quickstart\n", "")


def context(**parameters: object) -> typer.Context:
    made = typer.Context(typer.main.get_command(typer.Typer(name="x", callback=lambda: None)))
    made.params.update(parameters)
    return made


def names(found: list[tuple[str, str]]) -> list[str]:
    return [name for name, _ in found]


def test_files_and_folders_of_suites_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("a.yaml", "a.txt", "mine/b.yml"):
        (tmp_path / name).write_text("")
    assert names(completion.suites(context(), "a")) == ["a.yaml"]
    assert names(completion.suites(context(), "mine/")) == ["mine/b.yml"]
    assert names(completion.suites(context(), "nowhere/")) == []


def test_suites_that_have_run_come_first(tmp_path: Path) -> None:
    for name in ("quickstart", "questions"):
        (tmp_path / name / "records").mkdir(parents=True)
    found = completion.suites_run(context(results=tmp_path), "qu")
    assert names(found) == ["questions", "quickstart"]


def test_methods_of_ones_own_are_offered(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine: ...")
    assert names(completion.methods(context(methods=tmp_path), "mi")) == ["mislas", "mixup", "mine"]


def test_a_list_goes_on_behind_its_last_comma() -> None:
    of_list = completion.listed(completion.metrics)
    assert set(names(of_list(context(), "accuracy,"))) >= {f"accuracy,{m}" for m in METRICS if m != "accuracy"}
    assert "accuracy,accuracy" not in names(of_list(context(), "accuracy,acc"))


def test_the_answer_comes_without_torch_or_pandas(tmp_path: Path) -> None:
    script = (
        "import sys, json\nfrom ltbench.cli import completion, main\ncompletion.suites(None, '')\n"
        "print(json.dumps(sorted({'torch', 'pandas', 'scipy'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path,
                          check=True)  # fmt: skip
    assert json.loads(done.stdout) == []
