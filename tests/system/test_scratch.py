"""Temporary folders: removed at the end, and after a process that could not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ltbench.errors import UserError
from ltbench.system import scratch
from ltbench.system.lock import myself
from ltbench.system.scratch import OWNER, PREFIX, scratch_folder

KILLED = """
import os, signal
from ltbench.system.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "something").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_is_removed_by_the_next(temp: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(temp)}, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = temp.iterdir()
    with scratch_folder() as mine:
        assert mine.is_dir()
        assert not left.exists()
    assert not mine.exists()


@pytest.mark.parametrize(
    "owner", [json.dumps(myself()), json.dumps({**myself(), "host": "elsewhere", "pid": 2**22 + 1}), "{", "[]", None]
)
def test_folders_whose_owner_lives_or_may_live_are_left(temp: Path, owner: str | None) -> None:
    other = temp / f"{PREFIX}other"
    other.mkdir()
    if owner is not None:
        (other / OWNER).write_text(owner)
    with scratch_folder():
        assert other.is_dir()


def test_no_room_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/none")
    with pytest.raises(UserError, match="make room"), scratch_folder():
        pass


def fifo(folder: Path) -> None:
    os.mkfifo(folder / OWNER)


def deep(folder: Path) -> None:
    (folder / OWNER).write_text("[" * 100_000)


def linked(folder: Path) -> None:
    """To a file that says of a dead process what only this folder may say."""
    (folder / "elsewhere").write_text(json.dumps({**myself(), "pid": 2**22 + 1}))
    (folder / OWNER).symlink_to(folder / "elsewhere")


def open_to_all(folder: Path) -> None:
    (folder / OWNER).write_text(json.dumps({**myself(), "pid": 2**22 + 1}))
    folder.chmod(0o777)


@pytest.mark.parametrize("make", [fifo, deep, linked, open_to_all])
def test_what_others_may_have_put_there_is_neither_waited_for_nor_believed(
    make: Callable[[Path], None], temp: Path
) -> None:
    other = temp / f"{PREFIX}other"
    other.mkdir(0o755)
    make(other)
    with scratch_folder():
        assert other.is_dir()


def test_a_link_is_not_followed_to_what_is_removed(temp: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    precious = tmp_path_factory.mktemp("precious")
    (precious / OWNER).write_text(json.dumps({**myself(), "pid": 2**22 + 1}))
    (temp / f"{PREFIX}link").symlink_to(precious)
    with scratch_folder():
        assert (precious / OWNER).exists()


def test_only_this_user_can_open_it(temp: Path) -> None:
    before = os.umask(0)
    try:
        with scratch_folder() as mine:
            assert mine.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_a_long_temporary_folder_gives_way_to_a_short_one(temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = temp / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with scratch_folder(longest=40) as mine:
        assert len(os.fsencode(mine)) <= 40
    with scratch_folder() as mine:
        assert mine.parent == long
    monkeypatch.setattr(scratch, "_SHORT_ROOTS", ())
    with pytest.raises(UserError, match="TMPDIR to a shorter one"), scratch_folder(longest=40):
        pass
