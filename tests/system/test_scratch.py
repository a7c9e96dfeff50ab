"""Temporary folders: removed at the end, and after a process that could not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ltbench.errors import UserError
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
