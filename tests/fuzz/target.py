"""What a target of the fuzzer is, and how one is run."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ltbench.errors import UserError
from ltbench.system.process import memory_of

MOST_SECONDS, MOST_BYTES = 10.0, 4 << 30
"""Of a processor, and of memory."""
Try = Callable[[random.Random], None]
"""Reads one input. Raises UserError where it is refused; an AssertionError where something nonsensical is accepted."""
Target = Callable[[Path], Try]
"""Made once, with a folder of its own."""


@dataclass
class Outcome:
    """What came of the inputs of a target. faults: number of an input -> what was wrong."""

    name: str
    inputs: int = 0
    accepted: int = 0
    slowest: float = 0.0
    memory: int = 0
    faults: dict[int, str] = field(default_factory=dict)

    def line(self) -> str:
        """One line of a table."""
        return (f"{self.name:<12} {self.inputs:>8,} inputs {self.accepted:>8,} accepted {len(self.faults):>4} faults  "
                f"slowest {self.slowest:6.2f} s  memory {self.memory / 2**20:6.0f} MB")  # fmt: skip


class TooLong(BaseException):
    """An input took more than its time; no `except Exception` holds it up."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def over(number: int, frame: FrameType | None) -> NoReturn:
        raise TooLong

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run(name: str, target: Target, folder: Path, numbers: Iterable[int], until: float = float("inf")) -> Outcome:
    """Read inputs until there are no more of them, or the clock (`time.monotonic`) says so."""
    outcome, one = Outcome(name), target(folder)
    for number in numbers:
        if time.monotonic() > until:
            break
        outcome.inputs += 1
        began = time.process_time()
        try:
            with _at_most(MOST_SECONDS):
                one(random.Random(f"{name} {number}"))
            outcome.accepted += 1
        except UserError as refused:
            if not str(refused).strip() or len(str(refused)) > 20_000:
                outcome.faults[number] = f"the message is empty or without end: {str(refused)[:200]!r}"
        except TooLong:
            outcome.faults[number] = f"took more than {MOST_SECONDS:.0f} s"
        except Exception:
            outcome.faults[number] = traceback.format_exc()
        outcome.slowest = max(outcome.slowest, time.process_time() - began)
        if number % 16 == 0:
            outcome.memory = max(outcome.memory, memory_of(os.getpid()))
            if outcome.memory > MOST_BYTES:
                outcome.faults[number] = f"{outcome.memory / 2**30:.1f} GB of memory"
                break
    return outcome
