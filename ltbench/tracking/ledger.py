"""Which record, and which plan, was delivered to which store: one line of JSON each, appended, shared by all commands
on a suite."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ltbench.errors import NotWritten
from ltbench.spec import Expectation, Record, canonical
from ltbench.system.uris import shown_uri

PLAN, ANEW = "plan", "anew"
"""Stand where the keys of records stand; no record has such a key. What stands before `anew` was sent to a store that
is gone."""


class Ledger:
    """The lines of one store in a file. It saves asking the store; what it lacks is found there and not sent twice.

    Attributes:
        trouble: why a line could not be written, if one could not; it is remembered in this process all the same.
    """

    def __init__(self, file: Path, uri: str) -> None:
        self._file = file
        # Without the secrets of the URI: a hash of a password is a way to try passwords.
        self._store = hashlib.sha256(shown_uri(uri).encode()).hexdigest()[:12]
        self._sent: dict[str, set[str]] = {}
        self._plan: str | None = None
        self._read_to = 0
        self.trouble: NotWritten | None = None
        self._catch_up()

    def has(self, record: Record) -> bool:
        """Whether the store has this very record."""
        return record_digest(record) in self.sent_before(record.key)

    def sent_before(self, key: str) -> Collection[str]:
        """Digests of the records of a key that were delivered from here."""
        return self._sent.get(key, ())

    def add(self, record: Record) -> None:
        """Remember a delivery. Never half a line, whatever goes wrong."""
        self._add(record.key, record_digest(record))

    @property
    def begun(self) -> bool:
        """The store was given a record."""
        return bool(self._sent)

    def has_plan(self, expectation: Expectation) -> bool:
        """Whether it is the last plan that was delivered: an earlier one has been overwritten since."""
        return self._plan == plan_digest(expectation)

    def add_plan(self, expectation: Expectation) -> None:
        """Note that the store has this plan."""
        self._add(PLAN, plan_digest(expectation))

    def forget(self) -> None:
        """The store was made anew: what it was given before it does not have."""
        if self.begun or self._plan is not None:
            self._add(ANEW, "")

    def _add(self, key: str, digest: str) -> None:
        self._note(key, digest)
        try:
            self._append(json.dumps({"store": self._store, "key": key, "digest": digest}))
        except OSError as error:
            self.trouble = NotWritten(error, self._file)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """While one command sends a record, no other sends the same; what others sent meanwhile is known inside."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._file, os.O_RDONLY | os.O_CREAT, 0o666)
        except OSError:  # read-only or full: then at least this process is served
            yield
            return
        try:
            with suppress(OSError):  # a network file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._catch_up()
            yield
        finally:
            os.close(lock)

    def _catch_up(self) -> None:
        """Read the lines that are new in the file."""
        with suppress(OSError), self._file.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size < self._read_to:  # begun anew by someone
                self._read_to = 0
            stream.seek(self._read_to)
            for line in stream:
                if line.endswith(b"\n"):
                    self._read_to += len(line)
                self._take(line)

    def _take(self, line: bytes) -> None:
        with suppress(
            ValueError, KeyError, TypeError, RecursionError
        ):  # cut off by a crash: its record is found in the store
            entry = json.loads(line)
            if entry["store"] == self._store:
                self._note(entry["key"], entry["digest"])

    def _note(self, key: str, digest: str) -> None:
        if key == PLAN:
            self._plan = digest
        elif key == ANEW:
            self._sent, self._plan = {}, None
        else:
            self._sent.setdefault(key, set()).add(digest)

    def _append(self, line: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab+", buffering=0) as stream:
            before = stream.seek(0, os.SEEK_END)
            torn = before > 0 and os.pread(stream.fileno(), 1, before - 1) != b"\n"
            whole = f"{chr(10) * torn}{line}\n".encode()
            try:
                if stream.write(whole) < len(whole):
                    raise OSError(28, os.strerror(28))
            except OSError:
                with suppress(OSError):
                    stream.truncate(before)
                raise


def record_digest(record: Record) -> str:
    """Changes when a record's contents do, so that one that was brought up to date is sent again."""
    return hashlib.sha256(canonical(record.to_json()).encode()).hexdigest()[:12]


def plan_digest(expectation: Expectation) -> str:
    """What tells one plan from another."""
    return hashlib.sha256(canonical(expectation.to_json()).encode()).hexdigest()[:12]
