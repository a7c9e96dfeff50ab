"""MLflow's sqlite file, made whole or not at all: MLflow itself makes its tables one by one, and a file that was left
in the middle of that is refused by it for ever. No MLflow in here: what opens a store is handed in."""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from ltbench.errors import UserError

LOCK_SECONDS = 120.0
"""How long to wait for other processes that open or write the store."""
_HALF_MADE = ("already exists", "duplicate column", "no such table", "no such column")
_DAMAGED = ("file is not a database", "malformed")
_OLD = "out-of-date database schema"
_NEWER = "Can't locate revision"


class Tools(NamedTuple):
    """What MLflow does to a sqlite file.

    Attributes:
        open: make what is missing in it, and see that it can be used. upgrade: bring it to this version's tables.
        forget: close the connections to it that are kept.
    """

    open: Callable[[Path], None]
    upgrade: Callable[[Path], None]
    forget: Callable[[Path], None]


def make_ready(file: Path, tools: Tools, own: bool) -> str | None:
    """See that there is a store that can be used; for one process at a time.

    Args:
        own: it holds nothing but what the records hold, and may be set aside and made anew.

    Returns:
        Why its records are to be sent again: it was made just now. None: it was there.

    Raises:
        UserError: it was left half made, and is not our own. Whatever MLflow raises for a store it cannot open.
    """
    if not file.exists() or file.stat().st_size == 0:
        _make(file, tools)
        return "it was not there"
    try:
        tools.open(file)
        return None
    except Exception as error:
        tools.forget(file)
        said = "\n".join(_messages(error))
        if own and _OLD in said:
            if _upgraded(file, tools):
                return None
        elif not any(sign in said for sign in (*_HALF_MADE, *_DAMAGED)):
            raise
        if not own:
            raise UserError(f"{file}: was left half made, or is damaged; set it aside (mv {file} {file}.damaged), and "
                            f"`ltbench sync` makes it anew from the records") from error  # fmt: skip
    aside = set_aside(file)
    _make(file, tools)
    return f"it was left half made, or damaged, and is kept as {aside.name}"


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """One process after the other on a store. Where no lock can be had (read-only, or held for minutes), go on
    without."""
    lock = file.with_name(f".{file.name}.lock")
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        yield
        return
    until = time.monotonic() + LOCK_SECONDS
    try:
        while time.monotonic() < until:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # a network file system without locks
                break
        yield
    finally:
        os.close(handle)


def set_aside(file: Path) -> Path:
    """FILE becomes FILE.damaged, or .damaged2 and so on where that is taken; with what sqlite keeps beside it."""
    names = (file.with_name(f"{file.name}.damaged{n if n > 1 else ''}") for n in count(1))
    aside = next(name for name in names if not os.path.lexists(name))
    os.replace(file, aside)
    for ending in ("-journal", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.replace(f"{file}{ending}", f"{aside}{ending}")
    return aside


def _make(file: Path, tools: Tools) -> None:
    """Beside its place, and renamed when it is whole: a process that is killed, or finds no room, leaves no store."""
    with _beside(file) as scratch:
        # Sqlite's own mode is 0644, whatever the umask: a group could not write to its store.
        os.close(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        tools.open(scratch)
        tools.forget(scratch)
        os.replace(scratch, file)


def _upgraded(file: Path, tools: Tools) -> bool:
    """Bring a store of an earlier MLflow up to date, in a copy that takes its place when it is whole; False: its tables
    are not those of any version.

    Raises:
        UserError: it is of a later MLflow.
    """
    with _beside(file) as scratch:
        with closing(sqlite3.connect(file)) as old, closing(sqlite3.connect(scratch)) as new:
            old.backup(new)
        os.chmod(scratch, file.stat().st_mode & 0o777)
        try:
            tools.upgrade(scratch)
            tools.open(scratch)
        except Exception as error:
            said = "\n".join(_messages(error))
            if _NEWER in said:
                raise UserError(f"{file}: was made by a later MLflow; install that one, or name another store: "
                                f"--tracking-uri") from error  # fmt: skip
            if not any(sign in said for sign in (*_HALF_MADE, *_DAMAGED, _OLD)):
                raise
            return False
        finally:
            tools.forget(scratch)
        os.replace(scratch, file)
    return True


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """A name beside a store for what is not whole yet; what killed processes left there is removed."""
    mark = f".{file.name}-making-"
    for left in file.parent.glob(f"{mark}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LOCK_SECONDS:
                left.unlink()
    scratch = file.with_name(f"{mark}{secrets.token_hex(4)}")
    try:
        yield scratch
    finally:
        for left in (scratch, *(scratch.with_name(f"{scratch.name}{e}") for e in ("-journal", "-wal", "-shm"))):
            left.unlink(missing_ok=True)


def _messages(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__
