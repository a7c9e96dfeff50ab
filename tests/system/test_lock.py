"""One driver per suite: who is refused, who takes over, and what is told."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ltbench.errors import UserError
from ltbench.results.journal import Journal
from ltbench.system import lock
from ltbench.system.lock import NAME, STALE_SECONDS, SuiteLock
from tests.results.made import NEW, OLD

HOLDER = """
import sys, time
from pathlib import Path
from ltbench.system.lock import SuiteLock
sys.argv = ["ltbench", "run", "mine.yaml", "--tracking-uri", "http://me:secret@host"]
with SuiteLock(Path(FOLDER)):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path/a`."""
    script = HOLDER.replace("FOLDER", repr(str(tmp_path / "a")))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def forge(folder: Path, silent: float = 0.0, **changes: Any) -> Path:
    """A lock as another process would have left it, `silent` seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / NAME
    file.write_text(json.dumps({**lock.myself(), "token": "other", **changes}))
    when = file.stat().st_mtime - silent
    os.utime(file, (when, when))
    return file


def test_a_second_driver_is_refused_and_told_who_holds_the_lock(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused, SuiteLock(tmp_path / "a"):
        pass
    told = str(refused.value)
    assert f"process {holder.pid} on {os.uname().nodename}" in told
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", told)
    assert "`ltbench run mine.yaml --tracking-uri http://***@host`" in told
    assert f"kill {holder.pid}" in told
    assert "secret" not in told


def test_suites_in_one_results_folder_do_not_mind_each_other(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with SuiteLock(tmp_path / "b"):
        assert (tmp_path / "a" / NAME).exists()


def test_the_lock_of_a_killed_process_is_taken_over_with_a_message(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    told: list[str] = []
    with SuiteLock(tmp_path / "a", told.append):
        pass
    assert len(told) == 1
    assert f"process {holder.pid}" in told[0]
    assert told[0].endswith("that process is gone; taken over")
    assert [f.name for f in (tmp_path / "a").iterdir()] == []


def test_a_number_that_was_given_to_another_process_is_not_the_holder(tmp_path: Path) -> None:
    forge(tmp_path, began="1")
    with SuiteLock(tmp_path):
        pass


def test_a_zombie_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        began = lock._began(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        forge(tmp_path, pid=child.pid, began=began)
        with SuiteLock(tmp_path):
            pass


def test_a_holder_that_lives_is_respected_however_long_it_is_silent(tmp_path: Path) -> None:
    forge(tmp_path, silent=10 * STALE_SECONDS)
    with pytest.raises(UserError, match="another ltbench works"), SuiteLock(tmp_path):
        pass


@pytest.mark.parametrize("elsewhere", [{"host": "node7"}, {"machine": "another container"}])
def test_a_lock_of_another_host_is_respected_until_it_is_silent(elsewhere: dict[str, str], tmp_path: Path) -> None:
    forge(tmp_path, silent=STALE_SECONDS - 30, **elsewhere)
    with pytest.raises(UserError, match=r"last sign of life 27\d s ago"), SuiteLock(tmp_path):
        pass
    forge(tmp_path, silent=STALE_SECONDS + 30, **elsewhere)
    told: list[str] = []
    with SuiteLock(tmp_path, told.append):
        pass
    assert "no sign of life for 6 min" in told[0] or "no sign of life for 5 min" in told[0]


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    with SuiteLock(tmp_path):
        file = tmp_path / NAME
        os.utime(file, (0, 0))
        deadline = time.monotonic() + 5
        while file.stat().st_mtime == 0 and time.monotonic() < deadline:
            pass
        assert file.stat().st_mtime > 0


def test_what_was_taken_over_is_not_removed_by_its_former_holder(tmp_path: Path) -> None:
    with SuiteLock(tmp_path):
        file = forge(tmp_path)
    assert file.exists()


def test_an_unreadable_lock_is_respected_like_one_of_another_host(tmp_path: Path) -> None:
    file = forge(tmp_path)
    file.write_text("")
    with pytest.raises(UserError, match="an unknown process"), SuiteLock(tmp_path):
        pass
    forge(tmp_path, silent=2 * STALE_SECONDS, host="x")
    with SuiteLock(tmp_path):
        pass


def test_of_many_who_find_a_dead_holder_one_takes_over(tmp_path: Path) -> None:
    forge(tmp_path, began="1")
    script = f"""
import sys, time
from pathlib import Path
from ltbench.errors import UserError
from ltbench.system.lock import SuiteLock
sys.stdin.readline()
try:
    SuiteLock(Path({str(tmp_path)!r})).__enter__()
except UserError:
    print("refused", flush=True)
else:
    print("taken", flush=True)
sys.stdin.readline()
"""
    many = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in many:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = sorted(process.stdout.readline().strip() for process in many if process.stdout is not None)
    for process in many:
        process.communicate("end\n")
    assert answers == ["refused"] * 5 + ["taken"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another place"), SuiteLock(tmp_path / "file"):
        pass


def test_the_command_is_refused_while_another_runs_and_reading_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ltbench import cli

    forge(tmp_path / "quickstart")

    def ltbench(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ltbench", *arguments, "--results", str(tmp_path)])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    code, told = ltbench("run", "quickstart", "--inline")
    assert code == 2
    assert told.startswith(f"error: {tmp_path / 'quickstart' / NAME}: another ltbench works on this suite")
    assert [f.name for f in (tmp_path / "quickstart").iterdir()] == [NAME], "nothing was written"
    assert ltbench("plan", "quickstart") == (0, "")


# -- what others put in the lock's place, and clocks -------------------------------------------------------------------


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as refused, SuiteLock(folder):
        pass
    return str(refused.value)


@pytest.mark.parametrize("content", ["", "[" * 100_000, "[1]", "null", '"text"', "\0" * 100, " " * 200_000])
def test_a_lock_that_says_nothing_is_told_as_damaged_with_the_cure(content: str, tmp_path: Path) -> None:
    file = forge(tmp_path)
    file.write_text(content)
    told = refusal(tmp_path)
    assert "is damaged" in told
    assert "remove the file" in told
    assert "kill" not in told
    os.utime(file, (1, 1))
    with SuiteLock(tmp_path):
        pass


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda file: os.symlink("/dev/zero", file)])
def test_what_is_no_plain_file_is_refused_at_once(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / NAME)
    assert re.search("no plain file.*remove it", refusal(tmp_path))


@pytest.mark.parametrize("pid", [10**30, 2**31, 0, -1, True, 1.5, "1", None])
def test_a_number_that_is_no_process_is_gone(pid: Any, tmp_path: Path) -> None:
    forge(tmp_path, pid=pid)
    with SuiteLock(tmp_path):
        pass


def test_a_time_stamp_in_the_future_is_no_sign_of_life_for_a_day(tmp_path: Path) -> None:
    file = forge(tmp_path, silent=-86400.0, host="elsewhere")
    told = refusal(tmp_path)
    assert "1440 min in the future" in told
    assert "remove the file" in told
    assert abs(file.stat().st_mtime - time.time()) < 60, "it goes stale like any other from now on"
    assert "last sign of life" in refusal(tmp_path)


def test_a_clock_that_is_a_little_ahead_is_no_matter(tmp_path: Path) -> None:
    forge(tmp_path, silent=-20.0, host="elsewhere")
    assert "last sign of life 0 s ago" in refusal(tmp_path)


def test_a_lock_from_before_the_machine_was_started_anew_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(tmp_path, silent=200.0, machine="another boot")
    assert "last sign of life 200 s ago" in refusal(tmp_path), "it may be another machine of the same name"
    monkeypatch.setattr(lock, "_uptime", lambda: 100.0)
    told: list[str] = []
    with SuiteLock(tmp_path, told.append):
        pass
    assert "started anew since" in told[0]


def test_the_advice_names_a_process_to_kill_only_where_it_is_the_holder(tmp_path: Path) -> None:
    forge(tmp_path, host="node7", pid=1)
    told = refusal(tmp_path)
    assert "kill" not in told
    assert "stop it on node7" in told


def test_what_another_wrote_into_the_lock_does_not_reach_the_terminal(tmp_path: Path) -> None:
    forge(tmp_path, host="node7\x1b[2J\n", command="x" * 10_000)
    told = refusal(tmp_path)
    assert told.isprintable()
    assert len(told) < 1500


# -- a holder that was taken over --------------------------------------------------------------------------------------


def test_a_holder_that_was_taken_over_writes_no_record_more(tmp_path: Path) -> None:
    journal_folder = tmp_path / "records"
    with SuiteLock(tmp_path) as held:
        journal = Journal(journal_folder, held.check)
        journal.write(NEW)
        forge(tmp_path, host="node7", pid=77)
        with pytest.raises(UserError, match=r"process 77 on node7 .* took this suite over"):
            journal.write(OLD)
        assert journal.read(NEW.key) == NEW


def test_a_lock_that_was_removed_is_made_again(tmp_path: Path) -> None:
    with SuiteLock(tmp_path) as held:
        (tmp_path / NAME).unlink()
        held.check()
        assert json.loads((tmp_path / NAME).read_text())["token"] == held._token
    assert not (tmp_path / NAME).exists()


def test_a_lock_that_cannot_be_read_for_a_moment_is_still_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SuiteLock(tmp_path) as held:
        with monkeypatch.context() as away:
            away.setattr(lock, "_content", stale)
            held.check()
        held.check()


def stale(file: Path) -> bytes:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(file))


def test_a_former_holder_keeps_nobody_elses_lock_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    with SuiteLock(tmp_path):
        file = forge(tmp_path, silent=1000.0)
        before = file.stat().st_mtime
        time.sleep(0.2)
        assert file.stat().st_mtime == before
