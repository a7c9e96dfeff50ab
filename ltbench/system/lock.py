"""One driver at a time on a suite's results: a file that says who it is, and whose time stamp says that they live."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import socket
import stat
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
_AHEAD_SECONDS = 60.0
"""A time stamp that lies further in the future than this is no sign of life: a clock was set back."""
_LONGEST = 1 << 16
"""Bytes of a lock that are read."""


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
            if self._is_mine():
                self._file.unlink()

    def check(self) -> None:
        """Called before what only the holder may write: a process that was stopped for minutes, or cut off from the
        file system, may have been taken for dead.

        Raises:
            UserError: somebody else took the lock over.
        """
        try:
            if self._is_mine():
                return
        except FileNotFoundError:  # removed by hand, or by one that took it over and is through
            with suppress(OSError):
                if self._create():
                    return
        except OSError:  # a file system that cannot be read for the moment: what is written next will tell
            return
        raise UserError(
            f"{self._file}: {_who(_read(self._file))} took this suite over while this process gave no sign of life; "
            f"this one writes nothing more. What it finished is recorded, and the other one runs the rest"
        )

    def _is_mine(self) -> bool:
        """Raises OSError where there is no lock, or none that can be read for the moment."""
        held = _read(self._file)
        if held is None:
            _content_or_nothing(self._file)
        return (held or {}).get("token") == self._token

    def _take(self) -> None:
        while not self._create():
            with suppress(FileNotFoundError):  # given back at this moment
                if not stat.S_ISREG(self._file.lstat().st_mode):
                    raise UserError(f"{self._file}: is no plain file, and so no lock; remove it")
            held, silent = _read(self._file), _silent_seconds(self._file)
            if silent < -_AHEAD_SECONDS and not is_of_this_machine(held or {}):
                with suppress(OSError):
                    os.utime(self._file)  # from here on it counts like any other
                raise UserError(_refusal_of_the_future(self._file, held, -silent))
            reason = _death(held or {}, silent)
            if reason is None:
                raise UserError(_refusal(self._file, held, max(0.0, silent)))
            self._tell(f"{self._file}: {_who(held)} held it, but {reason}; taken over")
            self._file.unlink(missing_ok=True)

    def _create(self) -> bool:
        """Make the file unless there is one: the one step that only one process can do, on any file system."""
        try:
            handle = os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
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
                if self._is_mine():  # else it would keep another's lock alive
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
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(_content(file))
            return found if isinstance(found, dict) else None
        time.sleep(0.05)  # made a moment ago, on a file system without flock
    return None


def is_held(folder: Path) -> bool:
    """Whether somebody works on a suite's folder, as far as the lock there gives signs of life. Writes nothing."""
    try:
        silent = time.time() - (folder / NAME).stat().st_mtime
    except OSError:
        return False
    held = _read(folder / NAME)
    return held is not None and _death(held, silent) is None


def _content(file: Path) -> bytes:
    """What is in a lock; ValueError for a pipe, which would be waited for, and for what is too long to be one."""
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LONGEST:
            raise ValueError("no lock")
        return os.read(handle, _LONGEST)
    finally:
        os.close(handle)


def _content_or_nothing(file: Path) -> None:
    """Raises OSError if a file cannot be read; what is in it is no matter."""
    with suppress(ValueError):
        _content(file)


def _silent_seconds(file: Path) -> float:
    """Seconds since the last sign of life, by the clock of the file system: hosts' clocks differ. Less than 0 for a
    time stamp in the future."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".clock-") as now:
        try:
            return os.stat(now.name).st_mtime - file.stat().st_mtime
        except FileNotFoundError:
            return 0.0


def _death(held: dict[str, Any], silent: float) -> str | None:
    """Why a holder counts as dead; None for one that lives or may live."""
    if is_of_this_machine(held):
        return "that process is gone" if is_gone(held) else None
    if held.get("host") == socket.gethostname() and silent > _uptime() + 2 * BEAT_SECONDS:
        return "this machine was started anew since its last sign of life"
    return f"gave no sign of life for {silent / 60:.0f} min" if silent > STALE_SECONDS else None


def _uptime() -> float:
    """Seconds since this machine was started; infinite where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return float("inf")


def is_of_this_machine(process: dict[str, Any]) -> bool:
    """Does `myself` of a process come from where its number means something to this one?"""
    return (process.get("host"), process.get("machine")) == (socket.gethostname(), _machine())


def is_gone(process: dict[str, Any]) -> bool:
    """Is there no such process on this machine any more? For one of this machine."""
    pid = process.get("pid")
    return type(pid) is not int or pid < 1 or _began(pid) != process.get("began")


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
    except (ProcessLookupError, OverflowError):
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
    pid, host, command, since = (_shown(held.get(name)) for name in ("pid", "host", "command", "since"))
    return f"process {pid} on {host} (`{command}`, since {since})"


def _shown(value: object) -> str:
    """Others may have written it: one line, without what a terminal would obey."""
    text = "".join(c if c.isprintable() else "?" for c in str(value)[:300])
    return text if len(str(value)) <= 300 else f"{text}..."


def _refusal(file: Path, held: dict[str, Any] | None, silent: float) -> str:
    last = f"last sign of life {silent:.0f} s ago"
    after = f"{STALE_SECONDS / 60:.0f} min after its last sign of life"
    if held is None or "token" not in held:
        return (f"{file}: is damaged and does not say who holds it: an unknown process, {last}. If no ltbench works on "
                f"this suite, remove the file; otherwise it is taken over {after}")  # fmt: skip
    here = is_of_this_machine(held)  # and alive: its number and its beginning are those of a process
    stop = f"stop it (kill {held['pid']})" if here else f"stop it on {_shown(held.get('host'))}"
    return (
        f"{file}: another ltbench works on this suite: {_who(held)}, {last}. Wait for it, {stop}, or choose another "
        f"--results; a holder on another host that died is taken over {after}"
    )


def _refusal_of_the_future(file: Path, held: dict[str, Any] | None, ahead: float) -> str:
    return (
        f"{file}: its time stamp lies {ahead / 60:.0f} min in the future, so a clock was set back; whether "
        f"{_who(held)} lives cannot be told yet. The time stamp was set to now: a holder that lives renews it, and a "
        f"dead one is taken over in {STALE_SECONDS / 60:.0f} min. If no ltbench works on this suite, remove the file"
    )
