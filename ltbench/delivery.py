"""Records on their way to MLflow: in the background, each exactly once, and never in the way of a trial.

MLflow comes after the journal and never holds it up: a thread sends, and what could not be sent is sent by the next
command, once per key.
"""

from __future__ import annotations

import hashlib
import json
import queue
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from ltbench.records import Journal
from ltbench.spec import Record, canonical

if TYPE_CHECKING:
    from ltbench.track import Store


def default_uri(results: Path) -> str:
    """The store of a results folder: a sqlite file of its own, by absolute path."""
    return f"sqlite:///{(results / 'mlflow.db').absolute()}"


def shown_uri(uri: str) -> str:
    """A tracking URI without the password or token it may carry."""
    parts = urlsplit(uri)
    if parts.username or parts.password:
        host = parts.hostname or ""
        netloc = f"***@{host}" + (f":{parts.port}" if parts.port else "")
        return urlunsplit(parts._replace(netloc=netloc))
    return uri


class Tracker:
    """Sends the records of one suite to MLflow, in the background, each exactly once.

    Args:
        uri: MLflow's tracking URI. suite: the experiment's name.
        journal: where the records lie; its folder's neighbour `mlflow-sent.jsonl` remembers what was delivered where.
        expectation: `Plan.expectation()`, kept with the experiment for whoever makes a leaderboard from it.
        warn: told, once, when the store cannot be reached.
    """

    def __init__(
        self,
        uri: str,
        suite: str,
        journal: Journal,
        expectation: Mapping[str, Any] | None = None,
        warn: Callable[[str], None] = print,
    ) -> None:
        self._uri, self._suite, self._journal, self._expectation, self._warn = uri, suite, journal, expectation, warn
        self._ledger = Ledger(journal.folder.parent / "mlflow-sent.jsonl", uri)
        self._queue: queue.Queue[Record | None] = queue.Queue()
        self._down = False
        self._store: Store | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def send(self, record: Record) -> None:
        """Queue a record; returns at once."""
        self._queue.put(record)

    def deliver_backlog(self) -> int:
        """Queue every record of the journal that this store does not have yet; returns their number."""
        waiting = [r for r in self._journal.records().values() if not self._ledger.has(r)]
        for record in waiting:
            self.send(record)
        return len(waiting)

    def close(self) -> int:
        """Wait until the queue is empty; returns how many records the store still lacks."""
        self._queue.put(None)
        self._thread.join()
        return sum(not self._ledger.has(r) for r in self._journal.records().values()) if self._down else 0

    def _work(self) -> None:
        while (record := self._queue.get()) is not None:
            if self._down:
                continue
            try:
                if self._store is None:
                    from ltbench.track import Store  # seconds to import: paid in this thread, while trials start

                    self._store = Store(self._uri, self._suite, self._expectation)
                self._store.put(record, self._journal)
                self._ledger.add(record)
            except Exception as error:  # whatever MLflow raises, training goes on
                self._down = True
                reason = re.sub(r"//[^/@\s]+@", "//***@", str(error).strip().splitlines()[0][:200])
                self._warn(f"MLflow at {shown_uri(self._uri)} took no record ({type(error).__name__}: {reason}); the "
                           f"records are safe in {self._journal.folder} and the next command sends them")  # fmt: skip


class Ledger:
    """Which record was delivered to which store: one line of JSON each, appended."""

    def __init__(self, file: Path, uri: str) -> None:
        self._file = file
        self._store = hashlib.sha256(uri.encode()).hexdigest()[:12]
        self._sent: set[tuple[str, str]] = set()
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                entry = json.loads(line)
                if entry["store"] == self._store:
                    self._sent.add((entry["key"], entry["digest"]))
            except (ValueError, KeyError, TypeError):
                continue  # a line cut off by a crash: its record is found in the store and not sent twice

    def has(self, record: Record) -> bool:
        return (record.key, record_digest(record)) in self._sent

    def add(self, record: Record) -> None:
        entry = {"store": self._store, "key": record.key, "digest": record_digest(record)}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")
        self._sent.add((entry["key"], entry["digest"]))


def record_digest(record: Record) -> str:
    """Changes when a record's contents do, so that one that was brought up to date is sent again."""
    return hashlib.sha256(canonical(record.to_json()).encode()).hexdigest()[:12]
