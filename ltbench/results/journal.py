"""The journal: one JSON file per finished trial, written atomically; predictions beside it. The source of truth."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from ltbench.errors import UserError
from ltbench.spec import KEY, Record
from ltbench.system.files import read_patiently, write_together


class Unreadable(NamedTuple):
    """A file in a records folder that is no record, or that cannot be read now, and why.

    Attributes:
        damaged: its content is no record; False where there may be one that the file system does not give.
    """

    file: Path
    reason: str
    damaged: bool = True


class Journal:
    """Records of one suite in `folder`: KEY.json, and KEY.npz for the predictions.

    Args:
        folder: as it is named in messages. It is read where it lay when this was made, also after `os.chdir`.
        may_write: called before every write; raises where this process is not, or no more, the one that may.
    """

    def __init__(self, folder: Path, may_write: Callable[[], object] = lambda: None) -> None:
        self.folder, self._may_write = folder, may_write
        self._place = folder.absolute()

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: boards and records of Python hold a journal. The copy may not write."""
        return {**vars(self), "_may_write": _refuse}

    def write(self, record: Record) -> Path:
        """Store a record so that a crash at any moment leaves either all of it or nothing. What lies under its name and
        is no record is kept aside.

        Raises:
            UserError: the folder cannot be written (no space, no permission), or not by this process.
        """
        self._may_write()
        file = self.folder / f"{record.key}.json"
        contents = {file: json.dumps(record.to_json(), indent=1, allow_nan=False).encode()}
        if record.predictions is not None:  # first, so that whoever finds the record finds them too
            contents = {file.with_suffix(".npz"): record.predictions, **contents}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(file) and isinstance(there := read_record(file), Unreadable) and there.damaged:
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
        """The record of a key, or None; a damaged file counts as none, so its trial runs again.

        Raises:
            UserError: there is one, and it cannot be read: a file system that is away, no permission.
        """
        file = self._place / f"{key}.json"
        found = read_record(file) if KEY.fullmatch(key) and os.path.lexists(file) else None
        if isinstance(found, Unreadable) and not found.damaged:
            raise UserError(f"{found.file}: {found.reason}; the same command continues once it can")
        return found if isinstance(found, Record) else None

    def keys(self) -> set[str]:
        """The keys that have a file, by the files' names alone: nothing is read."""
        if not self._place.is_dir():
            return set()
        stems = (name.removesuffix(".json") for name in os.listdir(self._place) if name.endswith(".json"))
        return {stem for stem in stems if KEY.fullmatch(stem)}

    def names(self) -> list[str]:
        """The names of all files that should be records, sorted."""
        try:
            return sorted(name for name in os.listdir(self._place) if name.endswith(".json"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # no folder, no records
            return []

    def __iter__(self) -> Iterator[Record | Unreadable]:
        return (read_record(self._place / name) for name in self.names())

    def records(self) -> dict[str, Record]:
        """All readable records by key."""
        with without_collecting():
            return {r.key: r for r in self if isinstance(r, Record)}

    def predictions(self, key: str, *, needed: bool = False) -> bytes | None:
        """The stored npz of a key; None where there is none, or no plain file in its place. Keys come back from MLflow
        as well: one that is none names no file.

        Args:
            needed: what the file system does not give now is an error; otherwise it is as if there were none.

        Raises:
            UserError: it cannot be read.
        """
        file = self._place / f"{key}.npz"
        if not KEY.fullmatch(key) or not file.is_file():
            return None
        try:
            return read_patiently(file)
        except OSError as error:
            if needed:
                raise UserError(f"{file}: cannot be read ({error.strerror})") from error
            return None

    def predictions_there(self) -> Callable[[str], bytes | None]:
        """`predictions` for a board: of keys whose file is there now, which is found out once for all of them."""
        try:
            names = {name for name in os.listdir(self._place) if name.endswith(".npz")}
        except OSError:  # the folder is away: each file says so for itself
            return self.predictions
        return lambda key: self.predictions(key) if f"{key}.npz" in names else None


def _refuse() -> None:
    raise UserError("a copy of a journal, made by pickle or `copy`, writes no records")


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
        record = Record.from_json(json.loads(read_patiently(file).decode("utf-8")))
        if record.key != file.stem:
            return Unreadable(file, f"it is the record of another trial, {record.key}")
        return record
    except FileNotFoundError:  # a link to nothing
        return Unreadable(file, f"{file.name} is a link to a file that is not there")
    except OSError as error:
        return Unreadable(file, f"cannot be read ({error.strerror})", damaged=False)
    except (ValueError, RecursionError, UserError) as error:
        return Unreadable(file, str(error))


def _keep_aside(file: Path) -> None:
    """KEY.json becomes KEY.json.damaged, or .damaged2 and so on where that is taken."""
    if os.path.lexists(file):
        names = (file.with_name(f"{file.name}.damaged{n if n > 1 else ''}") for n in count(1))
        os.replace(file, next(name for name in names if not name.exists()))
