"""A temporary folder that does not outlive its process for long: what a killed one left, the next one removes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ltbench.errors import NotWritten, UserError
from ltbench.system.files import read_own
from ltbench.system.lock import is_gone, is_of_this_machine, myself

PREFIX = "ltbench-ray-"
OWNER = "owner.json"
_SHORT_ROOTS = ("/tmp", "/var/tmp", "/dev/shm")
"""Where a folder with a short path can be made, if the user's own temporary folder has a long one."""


@contextmanager
def scratch_folder(longest: int | None = None) -> Iterator[Path]:
    """A folder of this process that only this user can open, removed at the end. Folders of this user's processes on
    this machine that are gone are removed first.

    Args:
        longest: bytes that its path may have; None: any number. Where the temporary folder's own path is too long for
            that, it is made in a shorter one.

    Raises:
        UserError: there is no room for one, or every path is too long.
    """
    roots = list(dict.fromkeys([tempfile.gettempdir(), *([] if longest is None else _SHORT_ROOTS)]))
    for root in roots:
        _sweep(Path(root))
    folder = _made(roots, longest)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made(roots: list[str], longest: int | None) -> Path:
    trouble: NotWritten | None = None
    for root in roots:
        if longest is not None and len(os.fsencode(os.path.join(root, f"{PREFIX}12345678"))) > longest:
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
            (folder / OWNER).write_text(json.dumps(myself()), encoding="utf-8")
        except OSError as error:
            trouble = trouble or NotWritten(error, Path(root))
        else:
            return folder
    if trouble is not None:
        raise trouble
    raise UserError(f"{roots[0]}: its path is too long for Ray's sockets; set TMPDIR to a shorter one, or run without "
                    f"Ray: --inline")  # fmt: skip


def _sweep(root: Path) -> None:
    """Others can put things here under the same name: nothing is believed, or waited for, but what this user made."""
    for folder in root.glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError, RecursionError):  # of another user, or made at this moment
            about = folder.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
                continue
            owner = json.loads(read_own(folder / OWNER))
            if isinstance(owner, dict) and is_of_this_machine(owner) and is_gone(owner):
                shutil.rmtree(folder, ignore_errors=True)
