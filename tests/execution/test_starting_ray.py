"""Joining Ray, or starting it: what is said when that fails, where its session lies, what a signal does meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ltbench.errors import UserError
from ltbench.execution.resources import Resources
from ltbench.system.interrupt import Interrupt, Interrupted


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `ray.init` is asked for, instead of starting anything."""
    from ltbench.execution import cluster

    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(cluster, "_TOO_LATE", False)
    monkeypatch.setattr(cluster.ray, "init", lambda **options: calls.append(options))
    return calls


def test_a_stale_address_is_told_with_where_it_is_from_and_the_cures(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltbench.execution import cluster

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UserError) as refused:
        cluster.connect()
    for word in ("127.0.0.1:9", "--address", "unset RAY_ADDRESS", "--inline"):
        assert word in str(refused.value)


@pytest.mark.parametrize("error", [Exception("The node timed out"), RuntimeError(""), OSError(28, "No space left")])
def test_a_ray_that_does_not_start_is_one_message_with_the_cure(
    error: Exception, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltbench.execution import cluster

    def fails(**options: Any) -> None:
        raise error

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster.ray, "init", fails)
    with pytest.raises(UserError, match=r"Ray could not be started: .+ --inline") as refused:
        cluster.connect()
    assert "\n" not in str(refused.value)


def test_the_session_lies_in_ltbenchs_own_folder_with_room_for_its_sockets(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ltbench.execution import tune

    seen: list[tuple[int, int]] = []

    def look(*_: Any) -> None:
        session = Path(asked[0]["_temp_dir"])
        seen.append((session.parent.stat().st_mode & 0o777, len(str(session))))

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(tune, "machines", look)
    monkeypatch.setattr(tune, "place_all", lambda *_: {})
    monkeypatch.setattr(tune, "check_nodes", lambda *_: None)
    monkeypatch.setattr(tune, "_fit", lambda *_: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # long, as pytest's are
    tune.run_on_ray([], None, Resources(), None)  # type: ignore[arg-type]
    ((mode, length),) = seen
    assert mode == 0o700, "Ray itself opens its folder to everybody"
    assert length + len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store") <= 107
    assert not Path(asked[0]["_temp_dir"]).parent.exists()


def test_workers_import_nothing_from_the_folder_the_command_was_started_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ltbench.execution import cluster

    monkeypatch.chdir(tmp_path)
    config = cluster._InstalledOnly()
    config._py_driver_sys_path.extend([str(tmp_path), "/somewhere"])
    config._serialize()
    assert config._py_driver_sys_path == []


@pytest.mark.parametrize("module", ["ltbench", "ltbench.trial"])
def test_a_file_of_the_working_folder_is_not_taken_for_a_library(module: str, tmp_path: Path) -> None:
    for name in ("numpy", "random", "torch"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError(__file__)")
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=tmp_path, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_sigterm_that_rays_own_handler_catches_ends_with_the_documented_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltbench.execution import session, tune

    def starting(place: Path) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as ray.init does
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(session, "connect", starting)
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt, interrupt.gently(), pytest.raises(Interrupted) as stop:
        tune.run_on_ray([], None, Resources(), None, interrupt)  # type: ignore[arg-type]
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.usefixtures("foreground")
def test_a_ray_that_a_signal_to_all_kept_from_starting_is_no_fault_of_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltbench.execution import session, tune

    def starting(place: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        raise UserError("Ray could not be started")

    monkeypatch.setattr(session, "connect", starting)
    with Interrupt() as interrupt, interrupt.gently(), pytest.raises(Interrupted) as stop:
        tune.run_on_ray([], None, Resources(), None, interrupt)  # type: ignore[arg-type]
    assert stop.value.code == 130


@pytest.mark.parametrize("hangs", [False, True])
def test_a_ray_that_was_killed_is_one_message_even_if_everything_waits_for_it(
    hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltbench.execution import session

    def dead() -> None:
        raise UserError("Ray's raylet on this machine has ended")

    left: list[tuple[str, int]] = []
    interrupt, over = Interrupt(), threading.Event()
    monkeypatch.setattr(session, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(session, "DEAD_SECONDS", 0.05 if hangs else 30.0)
    monkeypatch.setattr(session, "refuse_dead_ray", dead)
    monkeypatch.setattr(interrupt, "leave", lambda words, code: left.append((words, code)))
    watching = threading.Thread(target=session._end_with_ray, args=(interrupt, over))
    watching.start()
    if not hangs:
        over.set()
    watching.join(10)
    assert left == [("error: Ray's raylet on this machine has ended", 2)] * hangs


def test_which_of_rays_processes_are_gone_is_asked_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltbench.execution import cluster

    class Node:
        gone = [("log_monitor", None)]

        def dead_processes(self) -> list[tuple[str, None]]:
            return self.gone

    node = Node()
    monkeypatch.setattr(cluster.ray._private.worker, "_global_node", node)
    cluster.refuse_dead_ray()
    node.gone = [*node.gone, ("raylet", None)]
    with pytest.raises(UserError, match=r"raylet on this machine has ended.*--inline"):
        cluster.refuse_dead_ray()


def test_a_ray_of_the_users_own_is_left_alone(asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    from ltbench.execution import cluster, session

    left: list[str] = []
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(session, "disconnect", lambda: left.append("shut down"))
    with (
        Interrupt() as interrupt,
        pytest.raises(UserError, match=r"joined a Ray already .+ inline=True"),
        session.joined(interrupt),
    ):
        pass
    assert (asked, left) == ([], [])


def test_runs_of_two_threads_join_ray_one_after_the_other(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltbench.execution import session

    within, most = [], []
    monkeypatch.setattr(session, "connect", lambda place: within.append(place))
    monkeypatch.setattr(session, "disconnect", lambda: within.pop())

    def run() -> None:
        with session.joined(Interrupt()):
            most.append(len(within))
            threading.Event().wait(0.05)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
