"""Files written whole: a crash leaves the old contents or the new, never a part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ltbench.errors import NotWritten


def write_atomically(file: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, rename over it, flush the folder.

    Raises:
        NotWritten: no space, no permission; the target is as it was.
    """
    write_together({file: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """`write_atomically` for files of one folder: no name changes before all contents are on the disk; then they
    change in the order given."""
    scratch: dict[Path, str] = {}
    file = next(iter(contents))
    try:
        for file, content in contents.items():
            handle, scratch[file] = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(scratch[file], 0o644)
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


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
