"""What `Plan.expectation()` gave, read back from plan.json or from tags in MLflow: checked; others write there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ltbench.spec import SAFE_NAME

Check = Callable[[Any], bool]


def checked(found: Any) -> dict[str, Any]:
    """The expectation itself.

    Raises:
        ValueError: it is none; says which part.
    """
    if not isinstance(found, dict):
        raise ValueError("no plan of ltbench")
    for name, check in _PARTS.items():
        if name in found and not check(found[name]):
            raise ValueError(f"its `{name}` is not what ltbench writes")
    for name in ("suite", "question", "protocol", "rows", "cells", "skips"):
        if name not in found:
            raise ValueError(f"it has no `{name}`")
    return found


def _name(value: Any) -> bool:
    return isinstance(value, str) and SAFE_NAME.fullmatch(value) is not None


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _list(value: Any, check: Check) -> bool:
    return isinstance(value, list) and all(map(check, value))


def _mapping(value: Any, keys: Check, values: Check) -> bool:
    return isinstance(value, Mapping) and all(map(keys, value)) and all(map(values, value.values()))


def _texts(value: Any, length: int) -> bool:
    return _list(value, _text) and len(value) == length


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _protocol(value: Any) -> bool:
    checks: dict[str, Check] = {
        "seeds": lambda v: _list(v, _number),
        "primary": _text,
        "report": lambda v: _list(v, _text),
        "reference": _text,
        "shots": lambda v: _mapping(v, _text, _number),
        "rope": lambda v: v is None or (isinstance(v, int | float) and not isinstance(v, bool) and v >= 0),
    }
    return isinstance(value, Mapping) and "seeds" in value and all(c(value[k]) for k, c in checks.items() if k in value)


def _skip(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and _texts(value[:2], 2) and _list(value[2], _text)


def _method(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _name(value[0]) and isinstance(value[1], Mapping)


_PARTS: dict[str, Check] = {
    "suite": _name,
    "question": _text,
    "protocol": _protocol,
    "rows": lambda v: _mapping(v, _name, lambda row: _texts(row, 2)),
    "cells": lambda v: _list(v, lambda cell: _texts(cell, 3)),
    "kinds": lambda v: _mapping(v, _name, _text),
    "as_published": lambda v: _list(v, lambda cell: _texts(cell, 2)),
    "recipes": lambda v: _mapping(v, _text, lambda recipe: isinstance(recipe, Mapping)),
    "methods": lambda v: _mapping(v, _name, _method),
    "skips": lambda v: _list(v, _skip),
}
