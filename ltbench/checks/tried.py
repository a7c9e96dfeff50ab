"""What a check tried, one thing after the other: what came of it, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Tried:
    """One thing that was tried.

    Attributes:
        what: in words. problems: how many were found; None: it came to no end. seconds: how long it took.
        note: what is to be said where there is no problem; empty: nothing.
    """

    what: str
    problems: int | None = None
    seconds: float = 0.0
    note: str = ""

    @property
    def result(self) -> str:
        """In a word or two."""
        if self.problems is None:
            return "fails"
        return f"{self.problems} problem{'s' * (self.problems > 1)}" if self.problems else self.note or "ok"


class Trials:
    """Collects problems, and what they came of.

    Args:
        tell: told what is tried now.

    Attributes:
        problems: as sentences.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.problems: list[str] = []
        self._tell = tell
        self._tried: list[Tried] = []

    @property
    def tried(self) -> tuple[Tried, ...]:
        """Everything so far, in its order."""
        return tuple(self._tried)

    @contextmanager
    def of(self, what: str, *, at_once: bool = False) -> Iterator[Tried]:
        """Around one thing that is tried; what is added to `problems` meanwhile is its.

        Args:
            at_once: it takes no time, so nobody is told that it begins.
        """
        if not at_once:
            self._tell(what)
        tried, before, began = Tried(what), len(self.problems), time.perf_counter()
        self._tried.append(tried)
        try:
            yield tried
            tried.problems = len(self.problems) - before
        finally:
            tried.seconds = time.perf_counter() - began
