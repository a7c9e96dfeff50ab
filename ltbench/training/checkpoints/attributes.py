"""What an object is made of, as far as that can change: which attributes are state, and which objects are constants."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property, partial
from types import ModuleType
from typing import Any

import numpy as np
from torch import nn
from torch.utils.hooks import RemovableHandle

_LIVING_STDLIB = ("types", "argparse", "collections")
"""Modules of the standard library whose objects carry attributes that change, such as SimpleNamespace."""
_BOOKKEEPING = set(vars(nn.Module())) - {"_parameters", "_buffers", "_modules", "training"}
"""Attributes of every module that hold hooks: code, not state."""
_STATELESS = ("object", "lock", "RLock", "ReferenceType")


def name_of(value: Any) -> str:
    """A class by its bare name: the module of a user's method has another name in every process."""
    return type(value).__qualname__


def shows_nothing(value: Any) -> bool:
    """An object without attributes and without a text of its own: it may hide anything, unless it is known not to."""
    return text_of(value) is None and name_of(value) not in _STATELESS


def text_of(value: Any) -> str | None:
    """What tells two constants apart; None where the text is the object's address."""
    text = value.__name__.rpartition(".")[2] if isinstance(value, ModuleType) else repr(value)
    return None if " at 0x" in text else text


def has_state(value: Any) -> bool:
    """Whether attributes are to be looked at: not of numbers, dates, paths and other constants of Python's own."""
    if isinstance(value, partial):
        return True
    top = type(value).__module__.partition(".")[0]
    known = top not in sys.stdlib_module_names and top != "numpy"
    return (known or top in _LIVING_STDLIB) and (hasattr(value, "__dict__") or any(_slots(value)))


def attributes_of(value: Any) -> dict[str, Any]:
    """The attributes of an object that may have changed, of a module without its bookkeeping, of an optimizer with its
    parameters first."""
    if isinstance(value, partial):
        return {"func": value.func, "args": value.args, "keywords": value.keywords}
    found = {k: v for k, v in getattr(value, "__dict__", {}).items() if not _follows(type(value), k, v)}
    found |= {name: getattr(value, name) for name in _slots(value) if hasattr(value, name)}
    if isinstance(value, RemovableHandle):
        found.pop("id", None)  # a number of this process
    if isinstance(value, nn.Module):
        found = {k: v for k, v in found.items() if k not in _BOOKKEEPING}
    return dict(sorted(found.items(), key=lambda item: item[0] == "state"))


def _follows(cls: type, name: str, held: Any) -> bool:
    """A `cached_property` whose array is read-only: nobody can have changed it, and it is made again when wanted."""
    return (
        isinstance(held, np.ndarray)
        and not held.flags.writeable
        and held.flags.owndata
        and isinstance(getattr(cls, name, None), cached_property)
    )


def _slots(value: Any) -> Iterator[str]:
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (s for s in ([slots] if isinstance(slots, str) else slots) if s not in ("__dict__", "__weakref__"))
