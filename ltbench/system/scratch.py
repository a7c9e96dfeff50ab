"""A temporary folder that does not outlive its process for long: what a killed one left, the next one removes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ltbench.errors import NotWritten
from ltbench.system.lock import is_gone, is_of_this_machine, myself

PREFIX = "ltbench-ray-"
OWNER = "owner.json"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this process, removed at the end. Folders of processes of this machine that are gone are removed
    first.

    Raises:
        UserError: there is no room for one.
    """
    root = Path(tempfile.gettempdir())
    _sweep(root)
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        (folder / OWNER).write_text(json.dumps(myself()), encoding="utf-8")
    except OSError as error:
        raise NotWritten(error, root) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    for folder in root.glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):  # of another user, or made at this moment
            owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
            if isinstance(owner, dict) and is_of_this_machine(owner) and is_gone(owner):
                shutil.rmtree(folder, ignore_errors=True)
