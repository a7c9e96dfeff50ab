"""The command's own output: closed, full, cut off by `| head`, or of an encoding without our signs."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import typer

from ltbench.errors import harmless

CANNOT_WRITE = 74
"""Exit code where the output cannot be written, as sysexits.h has it for errors of input and output."""
_PLAIN = {"±": "+-", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u00d7": "x", "…": "...", "→": "->"}
"""Of the signs that ltbench prints (dashes, minus, times among them), what stands for them in ASCII."""


class OutputFailed(OSError):
    """Standard output cannot be written."""


class _Output(io.FileIO):
    """Standard output, whose errors are told apart from those of other files."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputFailed(error.errno, error.strerror) from error


@contextmanager
def careful_output() -> Iterator[None]:
    """While a command runs: output that fails ends it with one line and exit code 74, or, where nobody reads any more
    (`| head`), without a word and with that of a program that SIGPIPE ends, 141."""
    _open_what_is_closed()
    codecs.register_error("ltbench.plain", _in_plain_characters)
    ours = sys.stdout is sys.__stdout__ and sys.stdout is not None
    if ours:
        sys.stdout = _renewed(sys.stdout)
    try:
        try:
            yield
        finally:
            if ours:
                sys.stdout.flush()
    except OutputFailed as error:
        _let_go()
        if error.errno in (errno.EPIPE, errno.ESHUTDOWN):
            sys.exit(128 + 13)
        say(f"error: the output cannot be written ({error.strerror}); make room, or write it elsewhere with --out")
        sys.exit(CANNOT_WRITE)


def say(text: str) -> None:
    """Lines for a person, on stderr; what came from outside steers no terminal."""
    with suppress(OSError):  # what nobody can be told stops no command
        typer.echo(harmless(text), err=True)


@contextmanager
def waiting(message: str) -> Iterator[Callable[[str], None]]:
    """On a terminal, a line on stderr from the first moment on; what is told takes its place. Elsewhere, nothing more
    than what is told."""
    there = [sys.stderr is not None and sys.stderr.isatty()]

    def clear() -> None:
        if there[0]:
            there[0] = False
            with suppress(OSError, ValueError):
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()

    def told(line: str) -> None:
        clear()
        say(line)

    if there[0]:
        with suppress(OSError, ValueError):
            sys.stderr.write(harmless(message))
            sys.stderr.flush()
    try:
        yield told
    finally:
        clear()


def _open_what_is_closed() -> None:
    """A file that is opened later must not become the standard output of this process and its children."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process


def _renewed(stream: TextIO) -> TextIO:
    """The same stream, whose errors are `OutputFailed`, and which replaces the characters that its encoding lacks."""
    stream.flush()
    unbuffered = bool(getattr(stream, "write_through", False))
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="ltbench.plain" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.isatty() or unbuffered,
        write_through=unbuffered,
    )


def _let_go() -> None:
    """What is left in the buffers goes nowhere: else Python tries, and complains, once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    with suppress(OSError):
        sys.stdout.flush()


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in text), error.end
