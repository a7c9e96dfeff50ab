"""A suite's plain data with the place of every key: merged with what it extends, and overridden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltbench.errors import UserError, clipped, is_unicode

KeyPath = tuple[str | int, ...]
_LIKE = 0.75
"""`--set` makes what is not there, unless something like it (difflib's ratio) is."""


class Place(NamedTuple):
    """Where a value was written: a file and a line, or, where there is no file, what else it comes from."""

    file: Path | None
    line: int
    other: str = "--set"

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.file else self.other


GIVEN = Place(None, 0, "the suite")
"""The place of values that were handed over as a mapping."""
Overrides = Sequence[str] | Mapping[str, Any]
"""`KEY.PATH=VALUE` as on the command line, or key path -> value."""


class SuiteData(NamedTuple):
    """A suite's plain data, and where each key came from."""

    data: dict[str, Any]
    places: dict[KeyPath, Place]
    file: Path | None

    def place(self, path: KeyPath) -> Place:
        """The place of a key, or of the nearest one above it that was written."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(self.file, 1) if self.file else GIVEN

    def error(self, path: KeyPath, message: str) -> UserError:
        """A UserError with the file, the line and the key path."""
        key = dotted(path)
        return UserError(f"{self.place(path)}: {key + ': ' if key else ''}{message}")


def dotted(path: KeyPath) -> str:
    """A key's path in a message."""
    return clipped(".".join(map(str, path)), 160)


def plain(value: Any, path: KeyPath) -> Any:
    """A copy that is made of mappings, lists and single values, as YAML gives them; paths become texts, numpy's numbers
    and arrays Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner, (*path, str(key))) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, (*path, i)) for i, inner in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist(), path)
    if (value is None or isinstance(value, str | int | float)) and (not isinstance(value, str) or is_unicode(value)):
        return value
    where = ".".join(map(str, path))
    raise UserError(f"{GIVEN}: {where}: expected plain values, lists and mappings, got a {type(value).__name__}")


def merge(
    below: dict[str, Any],
    above: dict[str, Any],
    places: dict[KeyPath, Place],
    new: dict[KeyPath, Place],
    path: KeyPath = (),
) -> dict[str, Any]:
    """`above` over `below`; `places` (of below) learns where the winning keys stand. A key that is null in `above` is
    taken back."""
    merged = dict(below)
    for key, value in above.items():
        here = (*path, key)
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value, places, new, here)
        elif value is None and key in merged:
            del merged[key]
            _forget(places, here)
        else:
            merged[key] = value
            _forget(places, here)
            places.update({p: place for p, place in new.items() if p[: len(here)] == here})
    return merged


def _forget(places: dict[KeyPath, Place], path: KeyPath) -> None:
    """What stood at and below a key was replaced: its lines are no longer where its value is from."""
    for below in [p for p in places if p[: len(path)] == path]:
        del places[below]


def put(suite: SuiteData, key: str, value: Any, said: str) -> None:
    """Put a value in its place. `said` is what the user wrote, for messages."""
    path: KeyPath = tuple(int(p) if p.isascii() and p.isdecimal() else p for p in key.split("."))
    target: Any = suite.data
    for depth, step in enumerate(path[:-1]):
        if isinstance(target, dict):
            if str(step) not in target and (near := get_close_matches(str(step), target, n=1, cutoff=_LIKE)):
                where = ".".join(map(str, path[: depth + 1]))
                raise UserError(f"{said}: {where} is not there. Did you mean {near[0]!r}?")
            target = target.setdefault(str(step), {})
        elif isinstance(target, list) and isinstance(step, int) and step < len(target):
            target = target[step]
        else:
            raise UserError(f"{said}: {'.'.join(map(str, path[: depth + 1]))} is not there")
    last = path[-1]
    if isinstance(target, dict):
        target[str(last)] = value
    elif isinstance(target, list) and isinstance(last, int) and last < len(target):
        target[last] = value
    else:
        raise UserError(f"{said}: {'.'.join(map(str, path[:-1]))} has no entry {last!r}")
    _forget(suite.places, path)
    suite.places[path] = Place(None, 0)
