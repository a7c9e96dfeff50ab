"""The journal: one JSON file per finished trial, written atomically; predictions beside it. The source of truth."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ltbench.errors import UserError
from ltbench.spec import Record


class Unreadable(NamedTuple):
    """A file in a records folder that is no record, and why."""

    file: Path
    reason: str


class Journal:
    """Records of one suite in `folder`: KEY.json, and KEY.npz for the predictions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, record: Record) -> Path:
        """Store a record so that a crash at any moment leaves either all of it or nothing.

        Raises:
            UserError: the folder cannot be written (no space, no permission).
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if record.predictions is not None:
                write_atomically(self.folder / f"{record.key}.npz", record.predictions)
            file = self.folder / f"{record.key}.json"
            write_atomically(file, json.dumps(record.to_json(), indent=1, allow_nan=False).encode())
        except OSError as error:
            raise UserError(
                f"{self.folder}: the record {record.key} cannot be written ({error.strerror}); make room or choose "
                f"another --results"
            ) from error
        return file

    def read(self, key: str) -> Record | None:
        """The record of a key, or None; a damaged file counts as none, so its trial runs again."""
        file = self.folder / f"{key}.json"
        found = read_record(file) if file.exists() else None
        return found if isinstance(found, Record) else None

    def __iter__(self) -> Iterator[Record | Unreadable]:
        for file in sorted(self.folder.glob("*.json")):
            yield read_record(file)

    def records(self) -> dict[str, Record]:
        """All readable records by key."""
        return {r.key: r for r in self if isinstance(r, Record)}

    def predictions(self, key: str) -> bytes | None:
        """The stored npz of a key, or None."""
        file = self.folder / f"{key}.npz"
        return file.read_bytes() if file.exists() else None


def read_record(file: Path) -> Record | Unreadable:
    """One record, or the reason why the file is not one."""
    try:
        record = Record.from_json(json.loads(file.read_text(encoding="utf-8")))
        if record.key != file.stem:
            return Unreadable(file, f"it is the record of another trial, {record.key}")
        return record
    except (OSError, ValueError, RecursionError, UserError) as error:
        return Unreadable(file, str(error))


def write_atomically(file: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, rename over it, flush the folder."""
    handle, scratch = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(scratch, 0o644)
        os.replace(scratch, file)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
