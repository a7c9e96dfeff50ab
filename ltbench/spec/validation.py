"""What the JSON of a trial and of a record must look like: whatever else a file holds is refused, not carried along."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

from ltbench.errors import is_unicode

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}")
KEY = re.compile(r"[0-9a-f]{12}")
Check = Callable[[Any], bool]
_NUMBERS = (int, float)


def is_name(value: Any) -> bool:
    """Names become names of folders and files: none leads out of its folder."""
    return type(value) is str and SAFE_NAME.fullmatch(value) is not None


def is_text(value: Any) -> bool:
    """A text that can be written down."""
    return type(value) is str and is_unicode(value)


def is_number(value: Any) -> bool:
    """True and false are no numbers, nor is infinity."""
    try:
        return type(value) in _NUMBERS and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def is_whole(value: Any) -> bool:
    """A whole number; True and False are none."""
    return type(value) is int


def is_count(value: Any) -> bool:
    """A whole number from 0 up."""
    return type(value) is int and value >= 0


def optional(check: Check) -> Check:
    """A check that lets None pass as well."""
    return lambda value: value is None or check(value)


def _one_of(*allowed: str) -> Check:
    return lambda value: type(value) is str and value in allowed


def _are_texts(values: Iterable[Any]) -> bool:
    """Whether all of them can be written down, looked at together."""
    values = list(values)
    return {str}.issuperset(map(type, values)) and is_unicode("\n".join(values))  # halves that meet make no whole


def _is_mapping(value: Any) -> bool:
    return type(value) is dict or isinstance(value, Mapping)  # what JSON gives is found out at once


def _mapping(value: Any) -> bool:
    return _is_mapping(value) and _are_texts(value)


def _lists(values: Iterable[Any]) -> bool:
    return {list}.issuperset(map(type, values))


def _shots(value: Any) -> bool:
    return _mapping(value) and set(value) == {"many", "few"} and all(map(is_count, value.values()))


def _metrics(value: Any) -> bool:
    return _mapping(value) and (
        _are_numbers(list(value.values())) or all(v is None or is_number(v) for v in value.values())
    )


def _per_class(value: Any) -> bool:
    """Columns of one length; a measure that is undefined for a class is null."""
    if not (_mapping(value) and _lists(value.values())):
        return False
    flat = list(chain.from_iterable(value.values()))
    if len({len(column) for column in value.values()}) > 1:
        return False
    return _are_numbers(flat) or all(v is None or is_number(v) for v in flat)


def _curves(value: Any) -> bool:
    """Name -> [[epoch, value], ...]. Written flat: most of what is in a record is here."""
    return _mapping(value) and all(
        type(curve) is list
        and _lists(curve)
        and {2}.issuperset(map(len, curve))
        and _are_numbers(list(chain.from_iterable(curve)))
        for curve in value.values()
    )


def _are_numbers(values: list[Any]) -> bool:
    """Whether all of them are; column by column, in C: most of a record is numbers, and a board may read 100,000."""
    if not {int, float}.issuperset(map(type, values)):
        return False
    try:
        if math.isfinite(math.fsum(values)):
            return True  # with one that is not, the sum would not be
    except (OverflowError, ValueError):  # a whole number of hundreds of digits, or infinity and its opposite
        pass
    return all(map(is_number, values))


_TIMES = ("started", "seconds", "train_seconds", "test_seconds", "shared_seconds", "first_loss")


def _environment(value: Any) -> bool:
    """Anything, but what is read back is what it should be: times are numbers, names of classes are texts."""
    if not _is_mapping(value):
        return False
    names = value.get("class_names", [])
    if type(names) is not list:
        return False
    texts, rest = [*value, *names], []
    for name, entry in value.items():
        if type(entry) is str:
            texts.append(entry)
        elif type(entry) is not int and name != "class_names":
            rest.append(entry)
    times = [value[name] for name in _TIMES if name in value]
    return _are_texts(texts) and all(map(is_number, times)) and all(map(is_plain, rest))


def is_plain(value: Any) -> bool:
    """What JSON can hold: `json` itself reads NaN and infinity, which nobody else does."""
    if type(value) is str:
        return is_unicode(value)
    if _is_mapping(value):
        return _mapping(value) and all(map(is_plain, value.values()))
    if isinstance(value, list):
        return all(map(is_plain, value))
    return type(value) is not float or math.isfinite(value)


STEP = r"step:0\.\d*[1-9]"
"""The profile of a step behind a share of the classes."""
HEAD = r"exp:[1-9]\d{0,8}"
"""The exponential profile whose largest class has a number of images."""
_PROFILE = re.compile(f"exp|step|native|{STEP}|{HEAD}")
CELL: Mapping[str, Check] = {
    "dataset": is_name,
    "kind": is_name,
    "imbalance": optional(lambda v: is_number(v) and v >= 1),
    "profile": lambda v: is_text(v) and _PROFILE.fullmatch(v) is not None,
    "subset_seed": is_count,
    "class_order": lambda v: is_text(v) or is_count(v),
    "holdout_per_class": is_count,
    "options": _mapping,
    "manifest": is_text,
}
SPEC: Mapping[str, Check] = {
    "suite": is_name,
    "label": is_name,
    "method": is_name,
    "hyperparameters": _mapping,
    "code": is_text,
    "recipe_name": is_name,
    "recipe": _mapping,
    "seed": is_count,
    "text": optional(is_text),
    "text_origin": optional(is_text),
    "test_prior": optional(is_text),
    "shots": _shots,
    "role": is_text,
    "curves": _one_of("none", "holdout", "test"),
    "numerics": is_whole,
}
RECORD: Mapping[str, Check] = {
    "status": _one_of("ok", "failed"),
    "metrics": _metrics,
    "per_class": _per_class,
    "curves": _curves,
    "environment": _environment,
    "error": optional(is_text),
}


def check(body: Mapping[str, Any], checks: Mapping[str, Check], beside: Iterable[str] = ()) -> None:
    """Raise ValueError for the first field that is not as it should be, or is not known.

    Args:
        beside: fields that others look at.
    """
    for name, value in body.items():
        if name in checks:
            if not checks[name](value):
                raise ValueError(f"its {name!r} is {_shown(value)}")
        elif name not in beside:
            raise ValueError(f"it has a field {name!r}, which this version does not know")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
