"""Checkpoints at a URI (s3://, gs://, ...), for nodes that share no disk: through fsspec, which is imported only here
and only when a URI is given."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from ltbench.errors import UserError, last_line
from ltbench.system.files import patiently
from ltbench.system.uris import shown_uri, without_secrets

SEND_SECONDS = 20.0
"""How long a trial that ends waits for its last checkpoint to arrive: less than the grace of a driver that stops."""
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "r2"}
"""Folders are not made there; making one could make a bucket."""


def is_uri(place: object) -> bool:
    """Is this a URI, or a path that was one before it became a Path?"""
    scheme, colon, rest = str(place).partition(":")
    return bool(colon) and len(scheme) > 1 and scheme.replace("+", "").isalnum() and rest.startswith("/")


class Remote:
    """What lies under a URI.

    Raises:
        UserError: (on any use) unknown scheme, or the package that speaks it is not installed.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._system: Any = None
        self._root = ""

    def __str__(self) -> str:
        return shown_uri(self.uri)

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.uri}/{name}")

    def __reduce__(self) -> tuple[type[Remote], tuple[str]]:
        return Remote, (self.uri,)  # a node that lacks the package can still read the trial, and say so

    def open(self) -> tuple[Any, str]:
        """The file system of fsspec that speaks the scheme, and the path in it; connects on the first call.

        Raises:
            UserError: there is none, or its package is not installed.
        """
        if self._system is None:
            import fsspec

            scheme = self.uri.partition(":")[0]
            try:
                options = {"auto_mkdir": True} if scheme in ("file", "local") else {}
                self._system, self._root = fsspec.core.url_to_fs(self.uri, use_listings_cache=False, **options)
            except ImportError as error:
                raise UserError(f"{self}: {last_line(str(error))} (on every machine that runs trials)") from error
            except Exception as error:
                raise UserError(f"{self}: cannot be used: {self.reason(error)}") from error
        return self._system, self._root

    def reason(self, error: BaseException) -> str:
        """An error in words that may be shown: a URI may hold secrets."""
        return without_secrets(f"{type(error).__name__}: {last_line(str(error))}", self.uri)

    def problem(self) -> str | None:
        """Why nothing can be left here: found out by leaving something, reading it and taking it away again."""
        name, content = f".probe-{uuid.uuid4().hex}", b"ltbench"
        try:
            self.put(name, content)
            try:
                found = self.get(name)
            finally:
                self.remove(name)
        except UserError as error:
            return str(error)
        except Exception as error:
            return f"{self}: cannot be used: {self.reason(error)}"
        return None if found == content else f"{self}: gives back other bytes than it was given"

    def names(self) -> list[str]:
        """What lies directly under it; none if there is nothing."""
        system, root = self.open()
        system.invalidate_cache()
        try:
            return sorted(PurePosixPath(found).name for found in system.ls(root, detail=False))
        except FileNotFoundError:
            return []

    def get(self, name: str) -> bytes:
        """The content of a file. Raises OSError, or what the network raises."""
        system, root = self.open()
        return bytes(system.cat_file(f"{root}/{name}"))

    def put(self, name: str, content: bytes) -> None:
        """Raises OSError if it is not there in full afterwards."""
        system, root = self.open()
        try:
            system.pipe_file(f"{root}/{name}", content)
        except FileNotFoundError:
            if self.uri.partition(":")[0] in _OBJECT_STORES:
                raise
            system.makedirs(root, exist_ok=True)
            system.pipe_file(f"{root}/{name}", content)
        system.invalidate_cache()
        size = system.size(f"{root}/{name}")
        if size != len(content):
            raise OSError(errno.EIO, f"{size} of {len(content)} bytes arrived")

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        system, root = self.open()
        system.invalidate_cache()
        return bool(system.exists(f"{root}/{name}"))

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        system, root = self.open()
        with suppress(FileNotFoundError):
            system.rm_file(f"{root}/{name}")

    def clear(self) -> None:
        """Remove all that lies under it; what cannot be removed stays."""
        with suppress(Exception):
            system, root = self.open()
            system.invalidate_cache()
            system.rm(root, recursive=True)


class RemoteFiles:
    """The last two checkpoints of a trial under a URI: the counterpart of `checkpoint.Files`. They are sent in the
    background, one at a time: training does not wait for the network, and a checkpoint that is due while the one before
    is still on its way is left out."""

    def __init__(self, place: Remote, pack: Callable[[Any], bytes], unpack: Callable[[bytes], Any]) -> None:
        self.place, self._pack, self._unpack = place, pack, unpack
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._sending: Future[None] | None = None
        self._sent = list[str]()

    def problem(self) -> str | None:
        """Why nothing can be kept here, as far as that is known without asking the network."""
        try:
            self.place.open()
        except UserError as error:
            return str(error)
        return None

    def newest_first(self) -> list[PurePosixPath]:
        """The checkpoints there are. Raises what the network raises."""
        names = [name for name in self.place.names() if name.endswith(".ckpt") and name[:-5].isdigit()]
        return [PurePosixPath(name) for name in sorted(names, reverse=True)]

    def read(self, file: PurePosixPath) -> dict[str, Any]:
        """The content of a file. Raises what the network raises, or ValueError if it is damaged."""
        found: dict[str, Any] = self._unpack(patiently(lambda: self.place.get(file.name)))
        return found

    def write(self, content: dict[str, Any], last: bool = False) -> None:
        """Send a checkpoint. Raises what kept the one before from arriving, and with `last`, this one."""
        if self._sending is not None and not self._sending.done() and not last:
            return
        payload, before = self._pack(content), self._sending
        self._sending = self._pool.submit(self._send, payload)
        try:
            if before is not None:
                self._arrived(before)
        finally:
            if last:
                self.settle()

    def settle(self) -> None:
        """Nothing is on its way any more; raises what kept it from arriving."""
        if self._sending is not None:
            sending, self._sending = self._sending, None
            self._arrived(sending)

    def _arrived(self, sending: Future[None]) -> None:
        try:
            sending.result(SEND_SECONDS)
        except TookTooLong as error:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), str(self.place)) from error
        except Exception as error:
            raise OSError(errno.EIO, self.place.reason(error), str(self.place)) from error

    def _send(self, payload: bytes) -> None:
        there = [file.name for file in self.newest_first()]
        names = sorted({*there, *self._sent}, reverse=True)  # a listing may lag behind
        name = f"{int(names[0][:-5]) + 1 if names else 1:08d}.ckpt"
        self._sent = [name, *self._sent][:2]
        self.place.put(name, payload)
        for old in names[1:]:
            self.place.remove(old)

    def remove(self, file: PurePosixPath) -> None:
        """Remove one of them."""
        self.place.remove(file.name)

    def clear(self) -> None:
        """Remove all of them; what cannot be removed stays."""
        self.place.clear()
