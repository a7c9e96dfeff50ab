"""Ctrl-C and SIGTERM, in another process: what is left behind, what is told, and how the next run goes on."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.registry import read_sources
from ltbench.results.folders import Folders
from ltbench.spec import Record, TrialSpec
from ltbench.system.interrupt import Interrupt, Interrupted
from ltbench.system.lock import NAME
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

pytestmark = pytest.mark.usefixtures("foreground")

MINE = """
import os, pathlib, time
from ltbench.api import Method

class NAME(Method):
    "Leaves a mark when it trains, DOES."
    def loss(self, logits, target, now):
        mark = pathlib.Path(MARKS) / str(os.getpid())
        mark.touch()
        BODY
        return super().loss(logits, target, now)
"""
SUITE = """
suite: stopped
datasets: [{name: digits, imbalance: [20]}]
recipes:
  scratch:
    backbone: cnn_small
    epochs: 6
    batch_size: 32
    optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
    augment: crop
methods: [slow, {hangs: {as: hangs}}]
protocol: {final: {seeds: [0, 1, 2, 3]}, reference: slow}
resources: {checkpoint_seconds: 3600}
"""
SHORT_GRACE = """
import sys
from ltbench import cli
from ltbench.system.interrupt import Interrupt
Interrupt.__init__.__defaults__ = (1.0,)
cli.main()
"""


def _hear_ctrl_c() -> None:
    """In the new process: a shell in the background starts its programs deaf to Ctrl-C, tests included, and a driver
    respects that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Workplace:
    """A suite of two methods, one that takes its time (until there is a file `hurry`) and one that never comes back,
    and drivers in other processes."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.mine, self.marks = folder, folder / "mine", folder / "marks"
        self.hurry = folder / "hurry"
        self.mine.mkdir()
        self.marks.mkdir()
        takes_time = f"time.sleep(0 if os.path.exists({str(self.hurry)!r}) else 0.05)"
        for name, body in {"slow": takes_time, "hangs": "time.sleep(600)"}.items():
            text = MINE.replace("NAME", name.title()).replace("BODY", body).replace("DOES", name)
            (self.mine / f"{name}.py").write_text(text.replace("MARKS", repr(str(self.marks))))
        (folder / "suite.yaml").write_text(SUITE)
        self.folders = Folders(folder / "results", "stopped")
        self.arguments = ["run", str(folder / "suite.yaml"), "--methods", str(self.mine), "--data", str(data),
                          "--results", str(folder / "results")]  # fmt: skip
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
        self.environment |= {"RAY_worker_niceness": "0"}

    @contextmanager
    def driver(self, *more: str, program: tuple[str, ...] = ("-m", "ltbench")) -> Iterator[subprocess.Popen[str]]:
        """A driver in a process group of its own, with a trial that trains."""
        with subprocess.Popen(
            [sys.executable, *program, *self.arguments, *more],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment, cwd=self.folder,
            start_new_session=True, preexec_fn=_hear_ctrl_c,
        ) as process:  # fmt: skip
            try:
                deadline = time.monotonic() + 120
                while not any(self.marks.iterdir()):
                    assert process.poll() is None, process.communicate()[0]
                    assert time.monotonic() < deadline, "nothing trains"
                    time.sleep(0.02)
                yield process
            finally:
                process.kill()

    def finish(self, *more: str) -> str:
        self.hurry.touch()
        done = subprocess.run(
            [sys.executable, "-m", "ltbench", *self.arguments, *more],
            capture_output=True, text=True, timeout=240, env=self.environment, cwd=self.folder, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def place(tmp_path: Path, data_root: Path) -> Workplace:
    return Workplace(tmp_path, data_root)


def whole(record: Record, folders: Folders) -> Record:
    """A record of the journal as a trial returns it."""
    spec = TrialSpec.from_json(record.spec.to_json())
    return replace(record, spec=spec, predictions=folders.journal.predictions(record.key))


def no_workers_are_left(marks: Path) -> bool:
    """Processes that trained are gone."""
    deadline = time.monotonic() + 10
    pids = {int(mark.name) for mark in marks.iterdir()}
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "ask", "code"),
    [
        pytest.param(  # Ctrl-C reaches all of the terminal's group
            "ray", lambda driver: os.killpg(driver.pid, signal.SIGINT), 130, marks=pytest.mark.nightly
        ),
        pytest.param(  # and so does the end of the terminal
            "ray", lambda driver: os.killpg(driver.pid, signal.SIGHUP), 129, marks=pytest.mark.nightly
        ),
        ("inline", lambda driver: driver.terminate(), 143),
    ],
    ids=["ray-int", "ray-hup", "inline-term"],
)
def test_the_first_signal_lets_running_trials_take_a_checkpoint(
    executor: str, ask: Callable[[subprocess.Popen[str]], None], code: int, place: Workplace, site: Site
) -> None:
    options = ["--only", "slow", "--set", f"resources.executor={executor}"]
    with place.driver(*options) as driver:
        began = time.monotonic()
        ask(driver)
        told = driver.communicate(timeout=60)[0]
        assert time.monotonic() - began < 20
    assert driver.returncode == code, told
    assert "Traceback" not in told
    finished = place.folders.journal.records()
    begun = {f.parent.name for f in place.folders.checkpoints.glob("*/*.ckpt")}
    assert 1 <= len(begun) <= 2
    if code != 129:  # there is nobody to tell any more
        assert told.splitlines()[-1] == (
            f"stopped: {4 - len(finished)} of 4 trials are left, {len(begun)} of them with a checkpoint; the same "
            f"command continues"
        )
    assert not (place.folders.suite_folder / NAME).exists()
    assert no_workers_are_left(place.marks)
    place.finish("--only", "slow", "--inline")  # whoever began it; Ray goes on in test_checkpoints.py
    records = place.folders.journal.records()
    assert {key: r.environment["resumed"] for key, r in records.items()} == {k: int(k in begun) for k in records}
    assert len(records) == 4
    for key in begun:
        again = run_trial(records[key].spec, replace(site, methods=read_sources(place.mine)))
        found = whole(records[key], place.folders)
        assert again.numbers() == found.numbers()
        assert again.predictions == found.predictions


@pytest.mark.slow
@pytest.mark.nightly
def test_a_terminal_that_is_closed_pauses_the_run(place: Workplace) -> None:
    """A real one, with the live display on it: the kernel sends the hangup, and every write to it fails."""
    ours, theirs = pty.openpty()

    def own_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    command = [sys.executable, "-m", "ltbench", *place.arguments, "--only", "slow", "--inline"]
    driver = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=place.environment,
                              cwd=place.folder, preexec_fn=own_the_terminal)  # fmt: skip
    os.close(theirs)
    deadline = time.monotonic() + 120
    while not any(place.marks.iterdir()):
        assert driver.poll() is None
        assert time.monotonic() < deadline, "nothing trains"
        if select.select([ours], [], [], 0.05)[0]:
            os.read(ours, 10_000)
    os.close(ours)
    assert driver.wait(60) == 129
    assert len(list(place.folders.checkpoints.glob("*/*.ckpt"))) >= 1
    assert not (place.folders.suite_folder / NAME).exists()


def test_hangups_are_one_wish_however_many_come_and_nohup_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltbench.system.interrupt._speak_to_nobody", lambda: None)
    with Interrupt() as interrupt, interrupt.gently():
        interrupt._number, interrupt._when = signal.SIGTERM, time.monotonic() - 10
        signal.raise_signal(signal.SIGHUP)  # a second SIGTERM would end the process
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            with interrupt.deaf_to_hangups():
                signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)
            assert not interrupt.asked
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.parametrize("executor", [pytest.param("ray", marks=pytest.mark.nightly), "inline"])
def test_the_second_signal_ends_it_at_once(executor: str, place: Workplace) -> None:
    with place.driver("--only", "hangs", "--set", f"resources.executor={executor}") as driver:
        driver.send_signal(signal.SIGINT)
        time.sleep(1.0)
        assert driver.poll() is None
        began = time.monotonic()
        driver.send_signal(signal.SIGINT)
        told = driver.communicate(timeout=30)[0]
        assert time.monotonic() - began < 5
    assert driver.returncode == 130
    assert "Traceback" not in told
    assert told.splitlines()[-1].startswith("stopped at once")
    assert not (place.folders.suite_folder / NAME).exists()
    assert no_workers_are_left(place.marks)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_trial_that_does_not_come_to_the_end_of_its_step_is_not_waited_for(place: Workplace) -> None:
    with place.driver("--only", "hangs", program=("-c", SHORT_GRACE)) as driver:
        began = time.monotonic()
        driver.terminate()
        told = driver.communicate(timeout=60)[0]
        assert time.monotonic() - began < 10, told
    assert driver.returncode == 143
    assert "Traceback" not in told
    assert "stopped: 4 of 4 trials are left, 0 of them with a checkpoint" in told.splitlines()[-1]
    assert no_workers_are_left(place.marks)


def test_where_there_is_nothing_to_wait_for_a_signal_ends_the_command() -> None:
    with Interrupt() as interrupt, pytest.raises(Interrupted) as stop:
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.code == interrupt.code == 143


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_the_echo_of_a_signal_is_not_a_second_one(capfd: pytest.CaptureFixture[str]) -> None:
    with Interrupt() as interrupt, interrupt.gently():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the process would be gone
        assert interrupt.asked
    assert capfd.readouterr().err.count("stopping") == 1


def test_a_signal_that_the_shell_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGINT)
            assert not interrupt.asked
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
