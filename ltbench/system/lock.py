"""One driver at a time on a suite's results: a file that says who it is, and whose time stamp says that they live."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from ltbench.errors import NotWritten, UserError

# A file of our own rather than the package filelock: the operating system's locks (flock) do not reach across hosts on
# every shared file system, and a lock file that only exists cannot tell a holder on another host from a dead one.

NAME = "run.lock"
BEAT_SECONDS = 30.0
"""How often a holder renews the time stamp of its file."""
STALE_SECONDS = 300.0
"""A holder on another machine that was silent for so long is taken for dead."""


class SuiteLock:
    """Held by whoever writes to a suite's folder of results. Use as a context manager.

    Args:
        folder: RESULTS/SUITE; made if need be. tell: told when the lock of a dead process is taken over.

    Raises:
        UserError: (on entering) somebody else holds it, with who and the cure, or the folder cannot be written.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda text: None) -> None:
        self._file, self._tell = folder / NAME, tell
        self._token = uuid.uuid4().hex
        self._released = threading.Event()

    def __enter__(self) -> SuiteLock:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with _one_taker_at_a_time(self._file.parent):
                self._take()
        except OSError as error:
            raise NotWritten(error, self._file) from error
        threading.Thread(target=self._beat, name="lock", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Give it back, unless it was taken over meanwhile."""
        self._released.set()
        with suppress(OSError):
            if (_read(self._file) or {}).get("token") == self._token:
                self._file.unlink()

    def _take(self) -> None:
        while not self._create():
            held, silent = _read(self._file), _silent_seconds(self._file)
            reason = _death(held or {}, silent)
            if reason is None:
                raise UserError(_refusal(self._file, held, silent))
            self._tell(f"{self._file}: {_who(held)} held it, but {reason}; taken over")
            self._file.unlink(missing_ok=True)

    def _create(self) -> bool:
        """Make the file unless there is one: the one step that only one process can do, on any file system."""
        try:
            handle = os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump({**myself(), "token": self._token}, stream, indent=1)
        except OSError:  # a full disk: an empty lock would look like somebody's
            self._file.unlink(missing_ok=True)
            raise
        return True

    def _beat(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._file)


@contextmanager
def _one_taker_at_a_time(folder: Path) -> Iterator[None]:
    """So that two who find the same dead holder do not remove each other's new file. Where the file system knows no
    such lock only that short moment is unguarded."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(file: Path) -> dict[str, Any] | None:
    """What the holder says of itself; None where that is not to be read (yet)."""
    for _ in range(5):
        with suppress(OSError, ValueError):
            found = json.loads(file.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else None
        time.sleep(0.05)  # made a moment ago, on a file system without flock
    return None


def _silent_seconds(file: Path) -> float:
    """Seconds since the last sign of life, by the clock of the file system: hosts' clocks differ."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".clock-") as now:
        try:
            return max(0.0, os.stat(now.name).st_mtime - file.stat().st_mtime)
        except FileNotFoundError:
            return 0.0


def _death(held: dict[str, Any], silent: float) -> str | None:
    """Why a holder counts as dead; None for one that lives or may live."""
    if is_of_this_machine(held):
        return "that process is gone" if is_gone(held) else None
    return f"gave no sign of life for {silent / 60:.0f} min" if silent > STALE_SECONDS else None


def is_of_this_machine(process: dict[str, Any]) -> bool:
    """Does `myself` of a process come from where its number means something to this one?"""
    return (process.get("host"), process.get("machine")) == (socket.gethostname(), _machine())


def is_gone(process: dict[str, Any]) -> bool:
    """Is there no such process on this machine any more? For one of this machine."""
    return not isinstance(process.get("pid"), int) or _began(process["pid"]) != process.get("began")


def myself() -> dict[str, Any]:
    """Who this process is, for another one to tell whether it lives."""
    # A password may stand in a tracking URI.
    command = re.sub(r"//[^/@\s]+@", "//***@", shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    return {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid(), "began": _began(os.getpid()),
            "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"), "command": command}  # fmt: skip


def _machine() -> str:
    """Equal for two processes that can see each other's ids: the same boot of the same host, and the same container."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _began(pid: int) -> str | None:
    """When a process began, so that a number that was given out anew is not taken for it; None: there is none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    with suppress(OSError, IndexError):
        state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if state == "Z" else rest[18]
    return "?"


def _who(held: dict[str, Any] | None) -> str:
    if held is None:
        return "an unknown process"
    return f"process {held.get('pid')} on {held.get('host')} (`{held.get('command')}`, since {held.get('since')})"


def _refusal(file: Path, held: dict[str, Any] | None, silent: float) -> str:
    return (
        f"{file}: another ltbench works on this suite: {_who(held)}, last sign of life {silent:.0f} s ago. Wait for "
        f"it, stop it there (kill {(held or {}).get('pid', 'PID')}), or choose another --results; a holder on another "
        f"host that died is taken over {STALE_SECONDS / 60:.0f} min after its last sign of life"
    )
