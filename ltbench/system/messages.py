"""Lines for a person from deep below, through Python's logging: a command shows them on stderr, a library says nothing
unless its user asks for it (`logging.basicConfig(level="INFO")`)."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

from ltbench.errors import harmless

LOG = logging.getLogger("ltbench")
LOG.addHandler(logging.NullHandler())


def say(line: str) -> None:
    """Tell something that a person may want to know."""
    LOG.info(line)


class _Stderr(logging.Handler):
    """Bare lines on whatever stderr is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):  # full, or closed
            print(harmless(record.getMessage()), file=sys.stderr, flush=True)


def show_on_stderr() -> None:
    """For a process that is a command, or a worker of one."""
    if not any(isinstance(handler, _Stderr) for handler in LOG.handlers):
        LOG.addHandler(_Stderr())
    LOG.setLevel(logging.INFO)
    LOG.propagate = False  # or a library that configures logging would show each line twice
