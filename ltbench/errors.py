"""The one exception that means "the user can mend this": one message, no traceback, exit code 2."""

from __future__ import annotations

import difflib
import math
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_STEERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_STEERS_BUT_LINES = re.compile(_STEERS.pattern.replace("\\x00-\\x1f", "\\x00-\\x09\\x0b-\\x1f"))
"""What could steer a terminal, or turn its text around."""
_LINES_OF_CUDA = 6
_NEAR = 0.7
"""From this likeness on (difflib's), a known name is taken for what was meant."""


class UserError(Exception):
    """Bad input. The message names the place, the cause and the cure."""


class NotWritten(UserError, OSError):
    """A file could not be written: no space, no permission. An OSError as well, for whoever can do without the file."""

    def __init__(self, error: OSError, file: Path) -> None:
        OSError.__init__(self, error.errno, error.strerror, str(file))

    def __str__(self) -> str:
        return f"{self.filename}: cannot be written ({self.strerror}); make room, or choose another place"


class UserErrors(UserError):
    """Several problems at once, each with its place, cause and cure.

    Args:
        problems: those that were found; one alone is told as it is.
    """

    def __init__(self, problems: Sequence[UserError]) -> None:
        self.problems = tuple(problems)
        one = len(problems) == 1
        super().__init__(str(problems[0]) if one else "\n  ".join([f"{len(problems)} problems:", *map(str, problems)]))


class Problems:
    """Collects what is wrong, so that the user is told all of it at once."""

    def __init__(self) -> None:
        self.found: list[UserError] = []

    def add(self, error: UserError) -> None:
        """One more; what several problems were told as is taken apart."""
        for each in error.problems if isinstance(error, UserErrors) else (error,):
            if str(each) not in map(str, self.found):
                self.found.append(each)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """A UserError in here is kept for later."""
        try:
            yield
        except UserError as error:
            self.add(error)

    def raise_all(self) -> None:
        """Raise what was found, all of it in one message; nothing, where nothing was."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise UserErrors(self.found)


def harmless(text: str, *, lines: bool = True) -> str:
    """A text from outside as a terminal may have it: control characters become `?`, bytes of a file's name that are no
    UTF-8 become `\\xe9`.

    Args:
        lines: line breaks stay.
    """
    shown = (_STEERS_BUT_LINES if lines else _STEERS).sub("?", text)
    return shown.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_unicode(text: str) -> bool:
    """Whether a text can be written down: JSON and YAML let half a character (`\\ud800`) pass."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def clipped(value: object, most: int = 80) -> str:
    """A value from outside in a message: harmless, in one line, and not all of it where it is long.

    Args:
        most: characters.
    """
    text = harmless(str(value)[: most + 1], lines=False)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def on_a_screen(message: str, most: int = 2000) -> str:
    """A message that is no longer than a screen: words without end and what is beyond `most` characters are cut."""
    short = re.sub(r"\S{400,}", lambda word: f"{word[0][:80]}... ({len(word[0]):,} characters)", message)
    return short if len(short) <= most else f"{short[:most]} ... ({len(short) - most:,} more characters)"


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put a place (a key of the suite, an option) before the message of a UserError from below."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def place_of(error: BaseException, files: Iterable[Path]) -> str:
    """` (vs.py, line 18)`: the innermost line of these files that an exception came through; nothing where it came
    through none of them."""
    known = {str(file) for file in files}
    lines = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__) if f.filename in known]
    return f" ({Path(lines[-1][0]).name}, line {lines[-1][1]})" if lines else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that helps with a misspelt name: the nearest known one, or those that are equally near; all that are
    known, where none is near or the nearest is far."""
    names = sorted(set(known))
    if not names:
        return "There are none."
    everything = f"Known: {', '.join(names)}."
    name = name[:200]  # the comparison takes the square of its length
    found = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if not found:
        return everything
    ratios = [difflib.SequenceMatcher(None, other, name).ratio() for other in found]
    near = [other for other, ratio in zip(found, ratios, strict=True) if ratio == ratios[0]]
    return f"Did you mean {' or '.join(map(repr, near))}?" + ("" if ratios[0] >= _NEAR else f" {everything}")


def exponent_hint(value: object, *, whole: bool = False) -> str:
    """YAML 1.1 reads 1e-5 as a text: for a text that means a number, a sentence with the spelling that works; else
    nothing.

    Args:
        whole: a whole number is wanted.
    """
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if not math.isfinite(number) or (whole and number != int(number)):
        return ""
    if re.fullmatch(r"[-+]?0[0-9]+", value.strip()):
        return f" YAML reads {value.strip()}, with its leading zero, as a text; write {int(value)}."
    if re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?", value.strip()):
        return f" Write {value.strip()} without quotes."
    text = str(int(number)) if whole else repr(number)
    mantissa, e, exponent = text.partition("e")
    if e:
        text = f"{mantissa}{'' if '.' in mantissa else '.0'}e{exponent}"
    return f" YAML reads {value} as a text; write {text}."


def last_line(text: str | None) -> str:
    """The last line of an error that says something: of a traceback, the exception. (CUDA's say how to search for the
    cause in lines of their own behind it.)"""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    of_cuda = [line for line in lines[-_LINES_OF_CUDA:] if "CUDA error: " in line]
    return (of_cuda or lines or ["no reason given"])[-1]


def reason_of(text: str | None, method: str) -> str:
    """The last line of an error and, where its traceback went through the method's file, the innermost line there:
    `ValueError: no such thing (vs.py, line 18)`."""
    places = re.findall(rf'File "(?:[^"]*[/\\])?({re.escape(method)}\.py)", line (\d+)', text or "")
    return last_line(text) + (f" ({places[-1][0]}, line {places[-1][1]})" if places else "")
