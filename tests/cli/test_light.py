"""A light install, `pip install ltbench`: what ranks works; what needs an extra says which, and how to get it.

The extras are made absent in a process of their own, as where they are not installed. `tests/test_wheel.py` does the
same with a real install.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from ltbench.cli import app
from ltbench.fingerprints import stated_in
from ltbench.registry import Registry
from ltbench.system import extras
from ltbench.system.extras import EXTRAS
from ltbench.system.shipped import method_names, shipped_folder

ROOT = Path(__file__).parents[2]
RUN = """
import contextlib, io, json, sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in ABSENT else self.finder.find_spec(name, *rest)

    def __getattr__(self, name):
        return getattr(self.finder, name)

commands, absent = json.loads(sys.argv[1])
ABSENT = set(absent)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from ltbench.cli import main
for command in commands:
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["ltbench", *command]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
assert not ABSENT & {name.partition(".")[0] for name in sys.modules}
"""
ALL = sorted({module for modules in EXTRAS.values() for module in modules})
REFERENCE = ["--from", "reference:quickstart"]


def without(absent: list[str], folder: Path, *commands: list[str]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of commands, run one after the other where these modules are absent."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([commands, absent])], capture_output=True, text=True, timeout=300,
        cwd=folder, env={**os.environ, "COLUMNS": "200"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_boards_are_made_without_any_extra(tmp_path: Path) -> None:
    """Scores and records are ranked and compared, suites and documents shown; no extra is ever imported."""
    scores, records = tmp_path / "scores.csv", str(ROOT / "results" / "reference" / "quickstart")
    rows = [f"{m},d,100,{s},accuracy,{v + s}" for m, v in (("a", 50), ("b", 60)) for s in range(3)]
    scores.write_text("\n".join(["method,dataset,imbalance_factor,seed,metric,value", *rows]))
    commands = {
        "Behrens-Fisher": ["leaderboard", *REFERENCE],
        "\\begin{table": ["leaderboard", *REFERENCE, "--format", "paper"],
        "paired seeds": ["compare", "balanced_softmax", "ce", *REFERENCE],
        "b  ": ["leaderboard", "--from", str(scores)],
        "10 identical": ["diff", records, records],
        "quickstart": ["suites"],
        "suite: quickstart": ["suites", "show", "quickstart"],
        "mine.yaml": ["suites", "copy", "quickstart", "mine.yaml"],
        "imagenet_lt": ["datasets"],
        "slurm.sbatch": ["cluster"],
        "# The leaderboard": ["docs", "leaderboard"],
        "ready to be sent": ["submit", "--from", records, "--out", "sent"],
        "no run is going on": ["watch", "quickstart", "--results", str(ROOT / "results/reference"), "--once"],
        "quickstart: 50 new records": ["import", f"{records}/records", "--results", "mine"],
        "not installed: torch": ["doctor"],
        "ltbench ": ["--version"],
    }
    for (says, command), (code, out, err) in zip(
        commands.items(), without(ALL, tmp_path, *commands.values()), strict=True
    ):
        assert code == 0, (command, out, err)
        assert says in out, (command, out, err)


NEEDS: dict[str, list[list[str]]] = {
    "train": [
        ["plan", "quickstart"], ["methods"], ["methods", "ce"], ["features", "digits"], ["check", "x.py"],
        ["doctor", "quickstart"], ["fetch", "quickstart"], ["trial", "x.json"], ["split", "digits", "--out", "x.json"],
        ["verify", "quickstart"], ["run", "quickstart", "--inline"],
    ],
    "all": [["run", "quickstart"], ["plan", "quickstart", "--address", "auto"]],
    "mlflow": [["sync"], ["ui"], ["leaderboard", "s", "--tracking-uri", "http://127.0.0.1:9"]],
    "report": [["report", *REFERENCE], ["site", "results"]],
}  # fmt: skip
CORE = {"leaderboard", "compare", "diff", "suites", "datasets", "cluster", "docs", "submit", "watch", "import"}
"""Commands that need no extra, whatever their options, but a store that only MLflow reads."""


def test_a_command_that_needs_an_extra_says_which_and_how_to_get_it(tmp_path: Path) -> None:
    commands = [(extra, command) for extra, several in NEEDS.items() for command in several]
    found = without(ALL, tmp_path, *[command for _, command in commands])
    for (extra, command), (code, out, err) in zip(commands, found, strict=True):
        assert (code, out) == (2, ""), (command, out, err)
        assert err.startswith("error: "), (command, err)
        assert "not installed: " in err, (command, err)
        assert err.rstrip().endswith(f"pip install 'ltbench[{extra}]'"), (command, err)
        assert len(err.splitlines()) == 1, (command, err)


def test_every_command_is_known_to_need_something_or_nothing() -> None:
    there = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    assert there == CORE | {command[0] for several in NEEDS.values() for command in several}


@pytest.mark.nightly
@pytest.mark.slow
def test_reports_and_sites_need_neither_torch_nor_ray_nor_mlflow(tmp_path: Path) -> None:
    absent = sorted({*EXTRAS["train"], *EXTRAS["ray"], *EXTRAS["mlflow"]} - {"PIL"})  # which matplotlib needs
    report, site = without(absent, tmp_path, ["report", *REFERENCE, "--out", "report"],
                           ["site", str(ROOT / "results/reference/quickstart"), "--out", "site"])  # fmt: skip
    assert report[0] == site[0] == 0, (report, site)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Balanced Meta-Softmax" in page, "papers are read from the methods' files"


@pytest.mark.nightly
@pytest.mark.slow
def test_trials_run_in_this_process_without_ray_and_mlflow(tmp_path: Path, data_root: Path) -> None:
    command = ["run", "quickstart", "--inline", "--only", "ce", "--seeds", "0", "--datasets", "digits", "--set",
               "recipes.scratch.epochs=1", "--data", str(data_root)]  # fmt: skip
    absent = [*EXTRAS["ray"], *EXTRAS["mlflow"], *EXTRAS["report"]]
    (code, _, err), plan, board = without(absent, tmp_path, command, ["plan", *command[1:2], *command[3:]],
                                          ["leaderboard", "quickstart"])  # fmt: skip
    assert code == 0, err
    assert "pip install 'ltbench[mlflow]'; then `ltbench sync`" in err
    assert plan[0] == board[0] == 0
    assert "2 of 50 trials" in board[1]


def test_from_python_it_is_the_same(tmp_path: Path) -> None:
    script = RUN.partition("from ltbench.cli")[0] + (
        "import ltbench\nfrom ltbench.errors import UserError\n"
        "board = ltbench.leaderboard(from_='reference:quickstart')\n"
        "print(board.methods[0])\n"
        "found = ltbench.compare('mixup', 'ce', from_='reference:quickstart')\n"
        "print(len(found.comparison.by_column))\n"
        "for word in ('run', 'plan', 'verify'):\n"
        "    try:\n        getattr(ltbench, word)\n"
        "    except UserError as error:\n        print(error)\n"
        "report = lambda: ltbench.report(from_='reference:quickstart')\n"
        "for ask in (found.to_frame, report, lambda: board.plot.answer):\n"
        "    try:\n        ask()\n"
        "    except UserError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, json.dumps([[], ALL])], capture_output=True, text=True,
                          timeout=120, cwd=tmp_path, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, columns, *refused = done.stdout.splitlines()
    assert (first, columns) == ("balanced_softmax", "2")
    what = ["ltbench.run", "ltbench.plan", "ltbench.verify", "a DataFrame", "ltbench.report", "board.plot"]
    assert [line.partition(":")[0] for line in refused] == what
    assert refused[3].endswith("Install with: pip install 'ltbench[frames]'")


# -- the table of extras -----------------------------------------------------------------------------------------------

MODULES = {"open_clip_torch": "open_clip", "scikit-learn": "sklearn", "pillow": "PIL",
           "sentence-transformers": "sentence_transformers"}  # fmt: skip


def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_table_of_extras_is_that_of_the_project() -> None:
    declared = project()["optional-dependencies"]
    for extra, modules in EXTRAS.items():
        names = {Requirement(line).name for line in declared[extra]}
        assert {MODULES.get(name, name) for name in names} == set(modules)
    assert declared["all"] == ["ltbench[train,ray,mlflow,report,frames]"]


def test_what_is_left_out_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "train", ("json", "no_such_module"))
    assert extras.lacking("train") == ["no_such_module"]
    with pytest.raises(
        extras.UserError, match=r"^ltbench x: not installed: no_such_module\. Install with: pip install"
    ):
        extras.need("ltbench x", "train")
    extras.need("ltbench x")


def test_what_methods_files_state_is_read_without_importing_them() -> None:
    registry = Registry()
    assert method_names() == registry.names()
    for name in method_names():
        cls = registry.get(name)
        assert stated_in(shipped_folder("methods") / f"{name}.py") == (cls.summary(), cls.paper, cls.defaults_from)
