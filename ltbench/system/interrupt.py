"""Ctrl-C, SIGTERM and a closed terminal (SIGHUP): the first asks the running trials to stop, the second ends the
process at once."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

GRACE_SECONDS = 30.0
"""How long running trials have to take their checkpoints."""
ECHO_SECONDS = 0.2
"""A second signal within this time is the same one, passed on by a wrapper (make, uv, a shell script) as well."""


class Interrupted(BaseException):
    """The process was asked to stop where there is nothing to wait for. `code`: 130 for SIGINT, 143 for
    SIGTERM, 129 for SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class Interrupt:
    """What became of the signals of this process. As a context manager, it catches them; otherwise it is never asked.

    Attributes:
        asked: the first signal came while trials ran, and they are to stop.
        at_once: called, each guarded, before the process ends at the second signal.
    """

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self.grace = grace
        self.at_once: list[Callable[[], object]] = []
        self._before: dict[int, Any] = {}
        self._gentle = False
        self._number: int | None = None
        self._when = 0.0

    @property
    def asked(self) -> bool:
        """The first signal came: running trials are to stop."""
        return self._number is not None

    @property
    def code(self) -> int:
        """The exit code of a process that was stopped by the signal that came."""
        return 128 + (self._number or 0)

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
            # What a shell set to be ignored (Ctrl-C, for a job in the background; hangups, by nohup) stays so.
            self._before = {n: handler for n, handler in handlers.items() if handler != signal.SIG_IGN}
            self.take_back()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def take_back(self) -> None:
        """Catch the signals again, where a library has put a handler of its own in the place."""
        for number in self._before:
            signal.signal(number, self._caught)

    @contextmanager
    def deaf_to_hangups(self) -> Iterator[None]:
        """A hangup is ignored in here, and by the processes that are started in here for as long as they live."""
        if signal.SIGHUP not in self._before:
            yield
            return
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, self._caught)

    @contextmanager
    def gently(self) -> Iterator[None]:
        """In here, the first signal sets `asked` and whoever runs the trials sees to it; elsewhere it raises
        Interrupted. Who has not come to an end some seconds after the grace is ended."""
        self._gentle = True
        try:
            yield
        finally:
            self._gentle = False

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _speak_to_nobody()
        if self._number is not None:
            # A shell that ends passes its hangup on, beside the one of the terminal: never a second wish.
            if number != signal.SIGHUP and time.monotonic() - self._when > ECHO_SECONDS:
                self._leave()
            return
        self._number, self._when = number, time.monotonic()
        if not self._gentle:
            raise Interrupted(number)
        _say(f"stopping: running trials take a checkpoint (at most {self.grace:.0f} s); once more stops at once")
        backstop = threading.Timer(self.grace + 15.0, self._end_what_hangs)
        backstop.daemon = True
        backstop.start()

    def leave(self, last_words: str, code: int) -> None:
        """End the process now, whatever its threads wait for."""
        for last in self.at_once:
            with suppress(Exception):
                last()
        _say(last_words)
        os._exit(code)

    def _end_what_hangs(self) -> None:
        if self._gentle:
            self._leave()

    def _leave(self) -> None:
        self.leave("stopped at once; what was finished is recorded, and the same command continues", self.code)


def _speak_to_nobody() -> None:
    """The terminal is gone, or what the output was piped into: what is still written must not fail. A file stays."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        with suppress(OSError):
            if not stat.S_ISREG(os.fstat(stream).st_mode):
                os.dup2(nowhere, stream)
    os.close(nowhere)


def _say(text: str) -> None:
    """Past every buffer and lock: a signal may come in the middle of a print."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())
