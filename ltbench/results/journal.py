"""The journal: one JSON file per finished trial, written atomically; predictions beside it. The source of truth."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from ltbench.errors import UserError
from ltbench.spec import KEY, Record
from ltbench.system.files import write_together


class Unreadable(NamedTuple):
    """A file in a records folder that is no record, and why."""

    file: Path
    reason: str


class Journal:
    """Records of one suite in `folder`: KEY.json, and KEY.npz for the predictions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, record: Record) -> Path:
        """Store a record so that a crash at any moment leaves either all of it or nothing. What lies under its name and
        is no record is kept aside.

        Raises:
            UserError: the folder cannot be written (no space, no permission).
        """
        file = self.folder / f"{record.key}.json"
        contents = {file: json.dumps(record.to_json(), indent=1, allow_nan=False).encode()}
        if record.predictions is not None:  # first, so that whoever finds the record finds them too
            contents = {file.with_suffix(".npz"): record.predictions, **contents}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if file.exists() and isinstance(read_record(file), Unreadable):
                for damaged in (file, file.with_suffix(".npz")):
                    _keep_aside(damaged)
            write_together(contents)
        except OSError as error:
            raise UserError(
                f"{self.folder}: the record {record.key} cannot be written ({error.strerror}); make room or choose "
                f"another --results"
            ) from error
        return file

    def read(self, key: str) -> Record | None:
        """The record of a key, or None; a damaged file counts as none, so its trial runs again."""
        file = self.folder / f"{key}.json"
        found = read_record(file) if KEY.fullmatch(key) and file.is_file() else None
        return found if isinstance(found, Record) else None

    def __iter__(self) -> Iterator[Record | Unreadable]:
        for file in sorted(self.folder.glob("*.json")):
            yield read_record(file)

    def records(self) -> dict[str, Record]:
        """All readable records by key."""
        with without_collecting():
            return {r.key: r for r in self if isinstance(r, Record)}

    def predictions(self, key: str) -> bytes | None:
        """The stored npz of a key, or None. Keys come back from MLflow as well: one that is none names no file."""
        file = self.folder / f"{key}.npz"
        return file.read_bytes() if KEY.fullmatch(key) and file.is_file() else None


@contextmanager
def without_collecting() -> Iterator[None]:
    """Where hundreds of thousands of objects are made and kept, looking for circles among them takes most of the
    time; there are none."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def read_record(file: Path) -> Record | Unreadable:
    """One record, or the reason why the file is not one."""
    try:
        if file.exists() and not file.is_file():  # a link to a device has no end
            return Unreadable(file, "it is not a plain file")
        record = Record.from_json(json.loads(file.read_text(encoding="utf-8")))
        if record.key != file.stem:
            return Unreadable(file, f"it is the record of another trial, {record.key}")
        return record
    except (OSError, ValueError, RecursionError, UserError) as error:
        return Unreadable(file, str(error))


def _keep_aside(file: Path) -> None:
    """KEY.json becomes KEY.json.damaged, or .damaged2 and so on where that is taken."""
    if file.exists():
        names = (file.with_name(f"{file.name}.damaged{n if n > 1 else ''}") for n in count(1))
        os.replace(file, next(name for name in names if not name.exists()))
