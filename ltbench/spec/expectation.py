"""What `Plan.expectation()` gave, read back from plan.json or from tags in MLflow: checked; others write there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltbench.spec.validation import Check, is_name, is_number, is_text, is_whole


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


def _list(value: Any, check: Check) -> bool:
    return isinstance(value, list) and all(map(check, value))


def _mapping(value: Any, keys: Check, values: Check) -> bool:
    return isinstance(value, Mapping) and all(map(keys, value)) and all(map(values, value.values()))


def _texts(value: Any, length: int) -> bool:
    return _list(value, is_text) and len(value) == length


def _protocol(value: Any) -> bool:
    checks: dict[str, Check] = {
        "seeds": lambda v: _list(v, is_whole),
        "primary": is_text,
        "report": lambda v: _list(v, is_text),
        "reference": is_text,
        "shots": lambda v: _mapping(v, is_text, is_whole),
        "rope": lambda v: v is None or (is_number(v) and v >= 0),
        "search": _search,
        "tried": lambda v: _mapping(v, is_name, lambda row: _mapping(row, is_name, _values)),
    }
    return isinstance(value, Mapping) and "seeds" in value and all(c(value[k]) for k, c in checks.items() if k in value)


def _search(value: Any) -> bool:
    counts = dict.fromkeys(("trials", "seed", "holdout_per_class"), is_whole)
    return _exactly(value, {**counts, "select": is_text, "chosen": lambda v: _mapping(v, is_name, _choice)})


def _values(value: Any) -> bool:
    return _mapping(value, is_text, lambda x: isinstance(x, str | int | float))


def _choice(value: Any) -> bool:
    counts = dict.fromkeys(("setting", "settings"), is_whole)
    scores = {"score": is_number, "as_written": lambda v: v is None or is_number(v)}
    return _exactly(value, {"hyperparameters": _values, **counts, **scores})


def _exactly(value: Any, parts: Mapping[str, Check]) -> bool:
    return isinstance(value, Mapping) and value.keys() == parts.keys() and all(c(value[k]) for k, c in parts.items())


def _skip(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and _texts(value[:2], 2) and _list(value[2], is_text)


def _method(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and is_name(value[0]) and isinstance(value[1], Mapping)


_PARTS: dict[str, Check] = {
    "suite": is_name,
    "question": is_text,
    "protocol": _protocol,
    "rows": lambda v: _mapping(v, is_name, lambda row: _texts(row, 2)),
    "cells": lambda v: _list(v, lambda cell: _texts(cell, 3)),
    "kinds": lambda v: _mapping(v, is_name, is_text),
    "as_published": lambda v: _list(v, lambda cell: _texts(cell, 2)),
    "recipes": lambda v: _mapping(v, is_text, lambda recipe: isinstance(recipe, Mapping)),
    "methods": lambda v: _mapping(v, is_name, _method),
    "skips": lambda v: _list(v, _skip),
}
