"""The program itself, and the commands beside run, plan and leaderboard: methods, check, import, sync, ui."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from ltbench.results.journal import Journal
from ltbench.spec import Record
from tests.cli.made import Run

ROOT = Path(__file__).parents[2]


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


def test_check_passes_our_own_and_names_the_faults_of_another(ltbench: Run, tmp_path: Path) -> None:
    code, out, err = ltbench("check", str(ROOT / "methods" / "mixup.py"))
    assert code == 0
    assert out.endswith("\n\ngraph: yes\nmixup: keeps the contract\n")
    table = out.split("\n\n")[0].splitlines()
    assert [line.split("  ")[0] for line in table][::5] == ["what the class states", "a training in bf16"]
    assert all(" ok " in line for line in table[:-1])
    assert "trying one batch through all hooks ..." in err
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
    waits, graph, verdict = out.splitlines()[-3:]
    assert graph == "graph: no: asks.py, line 10 reads a number of the device"
    assert waits.startswith("slow on a GPU: asks.py, line 10, reads a number of the device")
    assert verdict == "asks: keeps the contract"


def test_the_template_that_is_printed_is_a_method_that_runs(ltbench: Run, tmp_path: Path) -> None:
    code, printed, _ = ltbench("methods", "--template")
    assert code == 0
    (tmp_path / "mine.py").write_text(printed)
    code, out, _ = ltbench("check", str(tmp_path / "mine.py"))
    assert code == 0
    assert out.endswith("\ngraph: yes\nmine: keeps the contract\n")


def test_an_unknown_method_says_how_to_bring_one(ltbench: Run) -> None:
    code, _, err = ltbench("methods", "vector_scaling")
    assert code == 2
    assert "--methods FOLDER" in err


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


def test_the_ui_makes_no_store_where_nothing_has_been_run(ltbench: Run, tmp_path: Path) -> None:
    code, _, err = ltbench("ui", "--results", str(tmp_path / "results"))
    assert code == 2
    assert "nothing has been run yet" in err
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_printed(ltbench: Run) -> None:
    from ltbench import __version__

    assert ltbench("--version")[:2] == (0, f"ltbench {__version__}\n")


def test_the_ui_of_a_server_is_the_servers_own(ltbench: Run) -> None:
    code, out, _ = ltbench("ui", "--tracking-uri", "http://user:secret@tracking.example:5000")
    assert code == 0
    assert "tracking.example" in out
    assert "secret" not in out


class _Server:
    """Stands for MLflow's server; remembers how it was started."""

    started: ClassVar[list[tuple[list[str], dict[str, str]]]] = []

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.started.append((command, env))

    def poll(self) -> int:
        return 0

    def wait(self) -> int:
        return 0


def test_the_ui_says_who_can_reach_it_and_listens_on_this_machine_alone(
    ltbench: Run, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setattr("subprocess.Popen", _Server)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    code, out, err = ltbench("ui", "--results", str(tmp_path), "--port", "5077")
    assert code == 0, err
    assert "http://127.0.0.1:5077" in out
    assert "everybody who is logged in on this machine can read the store" in out
    assert "change and delete" in out
    ((command, environment),) = _Server.started
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert environment["MLFLOW_BACKEND_STORE_URI"] not in command


def test_the_ui_of_a_server_is_its_own(ltbench: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its password."""
    monkeypatch.setattr("subprocess.Popen", None)
    code, out, _ = ltbench("ui", "--tracking-uri", "http://me:secret@tracking.example:5000")
    assert code == 0
    assert "tracking.example" in out
    assert "secret" not in out
