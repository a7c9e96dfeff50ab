"""Records on their way to MLflow: in the background, each exactly once, and never in the way of a trial.

MLflow comes after the journal and never holds it up: a thread sends, tries again while the command runs, and what could
not be sent by its end is sent by the next command.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ltbench.results.journal import Journal, Unreadable
from ltbench.spec import Expectation, Record
from ltbench.system.uris import default_uri, shown_uri, sqlite_file, without_secrets
from ltbench.tracking.ledger import PLAN, Ledger

if TYPE_CHECKING:
    from ltbench.tracking.mlflow_store import Put, Store

__all__ = ["Delivered", "Patience", "Tracker", "default_uri", "deliver", "shown_uri"]
Warn = Callable[[str], None]


class Patience(NamedTuple):
    """Seconds: pauses between tries double from `first` to `longest`; at the end of a command, a store that takes
    records is waited for until it has taken none for `stall`, one that failed last for `failing`, and none longer than
    `end` in all."""

    first: float = 1.0
    longest: float = 60.0
    stall: float = 30.0
    failing: float = 5.0
    end: float = 120.0


_PATIENCE = Patience()


class Tracker:
    """Sends the records of one suite to MLflow, in the background, each exactly once.

    What waits is remembered by key alone, and read from the journal when its turn comes: a store that is away for days
    costs no memory.

    Args:
        uri: MLflow's tracking URI. suite: the experiment's name.
        journal: where the records lie; its folder's neighbour `mlflow-sent.jsonl` remembers what was delivered where.
        expectation: `Plan.expectation()`, kept with the experiment for whoever makes a leaderboard from it.
        warn: told, once, when the store takes no record.
    """

    def __init__(
        self,
        uri: str,
        suite: str,
        journal: Journal,
        expectation: Expectation | None = None,
        warn: Warn = print,
        patience: Patience = _PATIENCE,
    ) -> None:
        self._way = _Way(uri, suite, journal, expectation, warn)
        self._warn, self._patience = warn, patience
        self._changed = threading.Condition()
        self._waiting: dict[str, None] = {}
        self._sending: str | None = None
        self._failures = 0
        self._closing = self._stopped = self._told = False
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def send(self, record: Record) -> None:
        """Queue a record of the journal; returns at once."""
        self._queue([record.key])

    def deliver_backlog(self) -> int:
        """Queue every record of the journal that this store does not have yet, and the plan if it is another than the
        store's; returns the number of records."""
        waiting = [r.key for r in readable(self._way.journal, self._warn) if not self._way.ledger.has(r)]
        self._queue([*([PLAN] if self._way.stale_plan else []), *waiting])
        return len(waiting)

    @property
    def waiting(self) -> int:
        """How many records are still to be sent."""
        return sum(key != PLAN for key in self._waiting) + (self._sending not in (None, PLAN))

    def close(self) -> int:
        """Wait a bounded while for what is queued; returns how many records the store still lacks.

        Raises:
            UserError: what was sent could not be written down.
        """
        patience, began = self._patience, time.monotonic()
        with self._changed:
            self._closing, self._moved = True, began
            self._changed.notify_all()
        while self._thread.is_alive() and time.monotonic() < began + patience.end:
            if time.monotonic() > self._moved + (patience.failing if self._failures else patience.stall):
                break
            self._thread.join(0.05)
        with self._changed:
            self._stopped = True
            lacking, slow = self.waiting, bool(self._waiting) or self._sending is not None
        if slow and not self._told:
            self._tell("it is slow or does not answer")
        if self._way.ledger.trouble is not None:
            raise self._way.ledger.trouble
        return lacking

    def _queue(self, keys: list[str]) -> None:
        with self._changed:
            self._waiting.update(dict.fromkeys(keys))
            self._changed.notify_all()

    def _work(self) -> None:
        while (key := self._next()) is not None:
            try:
                self._way.send(key)
            except Exception as error:  # whatever MLflow raises, training goes on
                self._failed(key, error)
            else:
                if self._way.made_anew():
                    self.deliver_backlog()
                with self._changed:
                    self._sending, self._failures, self._moved = None, 0, time.monotonic()

    def _next(self) -> str | None:
        """The key whose turn it is; None when nothing more is to be sent."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            # In the end every record has one more try, but a store that fails twice in a row is left alone.
            if not self._waiting or self._stopped or (self._closing and self._failures >= 2):
                return None
            self._sending = next(iter(self._waiting))
            del self._waiting[self._sending]
            return self._sending

    def _failed(self, key: str, error: Exception) -> None:
        """To the end of the queue, where it holds up no other, and a pause."""
        with self._changed:
            self._failures += 1
            self._sending = None
            self._waiting[key] = None
            stopped = self._stopped
        if not self._told and not stopped:
            self._tell(f"{type(error).__name__}: {_first_line(error, self._way.uri)}")
        pause = min(self._patience.longest, self._patience.first * 2 ** min(self._failures - 1, 20))
        with self._changed:
            self._changed.wait_for(lambda: self._closing, timeout=pause)

    def _tell(self, reason: str) -> None:
        self._told = True
        self._warn(
            f"MLflow at {shown_uri(self._way.uri)} took no record ({reason}); the records are safe in "
            f"{self._way.journal.folder}; it is asked again while this command runs, and the next command (or "
            f"`ltbench sync`) sends what is left"
        )


class Delivered(NamedTuple):
    """What became of the records of a suite: sent now, in the store before, not sent."""

    sent: int
    before: int
    left: int


def deliver(
    uri: str, suite: str, journal: Journal, expectation: Expectation | None = None, warn: Warn = print
) -> Delivered:
    """Send every record that the store itself lacks, whatever the ledger says, now and in this thread; a store that
    fails twice in a row is left alone."""
    way = _Way(uri, suite, journal, expectation, warn)
    keys = [r.key for r in readable(journal, warn)]
    sent = before = left = failures = 0
    for key in keys:
        if failures == 2:
            left = len(keys) - sent - before
            break
        try:
            new = way.send(key, ask=True)
        except Exception as error:  # whatever MLflow raises
            failures, left = failures + 1, left + 1
            warn(f"MLflow at {shown_uri(uri)} did not take {key} ({type(error).__name__}: {_first_line(error, uri)})")
        else:
            failures, sent, before = 0, sent + new, before + (not new)
    if way.ledger.trouble is not None:
        raise way.ledger.trouble
    return Delivered(sent, before, left)


def readable(journal: Journal, warn: Warn) -> Iterator[Record]:
    """The records of a journal; what is none is named."""
    for record in journal:
        if isinstance(record, Unreadable):
            kept = f"; its trial runs again, and then this file is kept as {record.file.name}.damaged"
            warn(f"{record.file}: left out: {record.reason}{kept if record.damaged else ''}")
        else:
            yield record


class _Way:
    """From a journal to a store: opened at the first record, and anew until that succeeds."""

    def __init__(self, uri: str, suite: str, journal: Journal, expectation: Expectation | None, warn: Warn) -> None:
        self.uri, self.journal = uri, journal
        self.ledger = Ledger(journal.folder.parent / "mlflow-sent.jsonl", uri)
        self._suite, self._expectation, self._warn = suite, expectation, warn
        self._store: Store | None = None
        self._anew = self._shared = False

    @property
    def stale_plan(self) -> bool:
        """The store has records of this suite, and another plan, so that leaderboards made of it would be others."""
        return self._expectation is not None and self.ledger.begun and not self.ledger.has_plan(self._expectation)

    def send(self, key: str, *, ask: bool = False) -> bool:
        """Send the record of a key; whether the store lacked it. `ask`: the store, even where the ledger knows. The
        plan is sent with the first one, or by its own key."""
        record = None if key == PLAN else self.journal.read(key)
        if record is None and key != PLAN:  # removed or damaged since: nothing is left to be sent
            return False
        store = self._opened()
        if record is None:
            return False
        with self.ledger.exclusive():
            known = self.ledger.has(record)
            if known and not ask:
                return False
            done = store.put(record, self.journal, self.ledger.sent_before(key))
            if not known:
                self.ledger.add(record)
        self._tell_of(key, done, store)
        return done.value == "sent"

    def _tell_of(self, key: str, done: Put, store: Store) -> None:
        while store.notes:
            self._warn(store.notes.pop())
        if done.value == "another's" and not self._shared:
            self._shared = True
            self._warn(f"MLflow at {shown_uri(self.uri)} has the record of {key} from another results folder already; "
                       f"it is kept, as those of other trials that are there before (another --tracking-uri has room "
                       f"for both)")  # fmt: skip

    def made_anew(self) -> bool:
        """Whether the store lacks records that the ledger knew, once: it was made anew since it was last asked."""
        anew, self._anew = self._anew, False
        return anew

    def _opened(self) -> Store:
        if self._store is None:
            from ltbench.tracking.mlflow_store import (
                Store,  # seconds to import: paid in this thread, while trials start
            )

            results = self.journal.folder.parent.parent
            file = sqlite_file(self.uri)
            own = file is not None and file.absolute() == (results / "mlflow.db").absolute()
            self._store = Store(self.uri, self._suite, self._expectation, own)
            if self._store.made is not None and self.ledger.begun:
                self._anew = True
                self._warn(f"MLflow's store {shown_uri(self.uri)} was made anew ({self._store.made}), and is sent all "
                           f"records again")  # fmt: skip
            if self._store.made is not None:
                with self.ledger.exclusive():
                    self.ledger.forget()
                for other in results.glob("*/mlflow-sent.jsonl") if own else ():
                    if other.parent != self.journal.folder.parent:
                        Ledger(other, self.uri).forget()
            if self._expectation is not None and not self.ledger.has_plan(self._expectation):
                with self.ledger.exclusive():
                    self.ledger.add_plan(self._expectation)
        return self._store


def _first_line(error: Exception, uri: str) -> str:
    return without_secrets((str(error).strip() or "no reason given").splitlines()[0], uri)[:200]
