"""Files of checkpoints: the last two of a trial in a folder, or at a URI; and what lies where trials keep them."""

from __future__ import annotations

import hashlib
import io
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, Protocol

import torch

from ltbench.spec import KEY
from ltbench.system.files import patiently, read_patiently, write_atomically
from ltbench.system.remote import Remote, RemoteFiles

_MAGIC = b"ltbench checkpoint 1 "


class Damaged(ValueError):
    """The bytes of a checkpoint are not those that were written: its checksum says so."""


class Foreign(Damaged):
    """The checksum fits, and the content is nothing that this version reads."""


class Store(Protocol):
    """Where the last two checkpoints of a trial lie: `Files` in a folder, `RemoteFiles` under a URI."""

    @property
    def place(self) -> Path | Remote:
        """What holds them, for messages."""

    def problem(self) -> str | None:
        """Why nothing can be kept here; None: it can."""

    def newest_first(self) -> Sequence[PurePath]:
        """The checkpoints there are. Raises OSError, or what a network raises."""

    def write(self, content: dict[str, Any], last: bool = False) -> None:
        """Keep a checkpoint; with `last`, it has arrived when this returns. Raises OSError."""

    def read(self, file: Any) -> dict[str, Any]:
        """The content of a file as `newest_first` lists it. Raises Damaged, or what keeps it from being read now."""

    def remove(self, file: Any) -> None:
        """Remove a file as `newest_first` lists it."""

    def clear(self) -> None:
        """Remove all of them."""

    def settle(self) -> None:
        """Wait until what was written has arrived. Raises OSError."""


class Files:
    """The last two checkpoints in `folder`: NUMBER.ckpt, a line with the SHA-256 of the rest, then torch's format."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, folder.parent

    def problem(self) -> str | None:
        """Why nothing can be kept here."""
        return None if self.place.is_dir() else f"there is no {self.place} on {socket.gethostname()}"

    def newest_first(self) -> list[Path]:
        """The checkpoints there are."""
        return sorted(self.folder.glob("[0-9]*.ckpt"), reverse=True)

    def write(self, content: dict[str, Any], last: bool = False) -> None:
        """All of it or nothing, whenever the machine stops. Raises OSError."""
        packed = pack(content)
        self.folder.mkdir(exist_ok=True)
        before = self.newest_first()
        number = int(before[0].stem) + 1 if before else 1
        write_atomically(self.folder / f"{number:08d}.ckpt", packed)
        for old in [*before[1:], *self.folder.glob(".*.ckpt-*")]:
            old.unlink(missing_ok=True)

    def read(self, file: Path) -> dict[str, Any]:
        """The content of a file. Raises OSError, or Damaged."""
        return unpack(read_patiently(file))

    def remove(self, file: Path) -> None:
        """Remove one of them. Raises OSError."""
        file.unlink()

    def clear(self) -> None:
        """Remove all of them; what cannot be removed stays."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def settle(self) -> None:
        """Nothing to wait for: what was written is there."""


def pack(content: dict[str, Any]) -> bytes:
    """A checkpoint as a file holds it."""
    stream = io.BytesIO()
    torch.save(content, stream)
    payload = stream.getvalue()
    return _MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def unpack(packed: bytes) -> dict[str, Any]:
    """The inverse; nothing of it is ever run as code. Raises Damaged."""
    head, _, payload = packed.partition(b"\n")
    if head != _MAGIC + hashlib.sha256(payload).hexdigest().encode():
        raise Damaged("its checksum does not fit")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise Foreign(str(error)) from error
    return content


def newest_in(store: Store, report: Callable[[str], None]) -> Sequence[PurePath] | None:
    """The checkpoints of a store, newest first; None, and a message for `report`, where it cannot be asked."""
    try:
        return patiently(store.newest_first)
    except Exception as error:  # a network that comes and goes
        report(f"checkpoints could not be looked for ({error}); the trial started over")
        return None


def place_for(checkpoints: Path | Remote | None, key: str) -> Path | RemoteFiles | None:
    """Where the checkpoints of one trial lie; None where none are kept."""
    if isinstance(checkpoints, Remote):
        return RemoteFiles(checkpoints / key, pack, unpack)
    return None if checkpoints is None else checkpoints / key


def keys_in(checkpoints: Path | Remote) -> list[str]:
    """Trials that have left something there. Raises OSError."""
    return [name for name in names_in(checkpoints) if KEY.fullmatch(name)]


def names_in(checkpoints: Path | Remote) -> list[str]:
    """All that lies there. Raises OSError, or what a network raises."""
    return checkpoints.names() if isinstance(checkpoints, Remote) else [f.name for f in checkpoints.iterdir()]


def discard(checkpoints: Path | Remote | None, key: str) -> None:
    """Remove the checkpoints of a trial that has a record, or what a group of trials has shared."""
    if isinstance(checkpoints, Remote):
        (checkpoints / key).clear()
    elif checkpoints is not None:
        shutil.rmtree(checkpoints / key, ignore_errors=True)
