"""How the work tells a person what goes on: by a function that is handed in. Nothing in here prints."""

from __future__ import annotations

from collections.abc import Callable

Tell = Callable[[str], None]
"""Told, line by line, what a person would like to know. A line that begins `warning: ` is a warning."""


def tell_nobody(line: str) -> None:
    """For callers who do not want to be told."""


def warner(tell: Tell) -> Tell:
    """Tells warnings."""
    return lambda message: tell(f"warning: {message}")
