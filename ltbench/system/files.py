"""Files written whole: a crash leaves the old contents or the new, never a part. And files read with patience: what a
file system cannot give for a moment is no damage."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ltbench.errors import NotWritten

Read = TypeVar("Read")
_PAUSES = (0.05, 0.2, 0.5, 1.0)
"""Seconds between tries of reading what an error that may pass kept from being read."""
_LASTING = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL,
}  # fmt: skip
"""What waiting does not mend. Everything else may pass: ESTALE, EIO, ETIMEDOUT, and what a network adds."""


def write_atomically(file: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, rename over it, flush the folder.

    Raises:
        NotWritten: no space, no permission; the target is as it was.
    """
    write_together({file: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """`write_atomically` for files of one folder: no name changes before all contents are on the disk; then they
    change in the order given."""
    scratch: dict[Path, Path] = {}
    file = next(iter(contents))
    try:
        for file, content in contents.items():
            handle, scratch[file] = new_file_beside(file)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        for file in contents:
            os.replace(scratch[file], file)
            del scratch[file]
        _flush_folder(file.parent)
    except OSError as error:
        raise NotWritten(error, file) from error
    finally:
        for left in scratch.values():
            with suppress(OSError):
                os.unlink(left)


def new_file_beside(file: Path) -> tuple[int, Path]:
    """A new file `.NAME-xxxxxxxx` in the folder of `file`, opened for writing, with the mode that the umask gives:
    `tempfile` makes files that a group cannot share. Its descriptor, and where it is."""
    scratch = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    return os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), scratch


def new_folder_in(parent: Path, prefix: str) -> Path:
    """A new folder with the mode that the umask gives, for what is renamed to its place and stays."""
    folder = parent / f"{prefix}{secrets.token_hex(4)}"
    folder.mkdir()
    return folder


def read_patiently(file: Path) -> bytes:
    """The content of a plain file; errors that may pass are waited out for some seconds.

    Raises:
        OSError: it cannot be read, for good or for longer than that. ValueError: it is a pipe, a device, a folder.
    """
    return patiently(lambda: _read_plain(file))


def patiently(read: Callable[[], Read]) -> Read:
    """What a function reads, called again while it fails with an OSError that may pass. Raises the last one."""
    for pause in _PAUSES:
        try:
            return read()
        except OSError as error:
            if error.errno in _LASTING:
                raise
        time.sleep(pause)
    return read()


def _read_plain(file: Path) -> bytes:
    """A pipe would be waited for, and a device read for ever."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError("it is no plain file")
    return file.read_bytes()


def read_own(file: Path, most: int = 1 << 16) -> bytes:
    """The content of a small plain file that this user made, in a folder where others may put things.

    Args:
        most: bytes; the rest is not read.

    Raises:
        OSError: it cannot be read, or is a link. ValueError: it is no plain file, or another user's.
    """
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.getuid():
            raise ValueError("it is no plain file of this user")
        return os.read(handle, most)
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
