"""Every public module, class and function says what it is. A method that overrides a documented one need not."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import ltbench

MODULES = ["ltbench", *sorted(m.name for m in pkgutil.walk_packages(ltbench.__path__, "ltbench."))]
UNSAID = {"ltbench.methods._template"}
"""Its docstring is for the copy that an author makes of it."""


def undocumented(module: ModuleType) -> Iterator[str]:
    """Public names of a module, and of its classes, that say nothing."""
    if not module.__doc__:
        yield module.__name__
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            # A class's own text: inspect.getdoc would take that of its base.
            if not value.__doc__ or value.__doc__.startswith(f"{value.__name__}("):
                yield f"{module.__name__}.{name}"
            yield from (f"{module.__name__}.{name}.{part}" for part in _silent_parts(value))
        elif inspect.isfunction(value) and not inspect.getdoc(value):
            yield f"{module.__name__}.{name}"


def _silent_parts(cls: type) -> Iterator[str]:
    for name, value in vars(cls).items():
        inner = value.fget if isinstance(value, property) else getattr(value, "func", getattr(value, "__func__", value))
        if (
            not inspect.isfunction(inner) or inner.__name__ == "<lambda>"
        ):  # a field's default is no function of the class
            continue
        if not name.startswith("_") and not inspect.getdoc(getattr(cls, name)):
            yield name


@pytest.mark.parametrize("name", [m for m in MODULES if m != "ltbench.__main__" and m not in UNSAID])
def test_every_public_name_says_what_it_is(name: str) -> None:
    assert list(undocumented(importlib.import_module(name))) == []


def test_a_name_that_says_nothing_is_seen() -> None:
    module = ModuleType("made", "A module.")
    exec("class Silent:\n    def work(self): ...\n\ndef silent(): ...\n", vars(module))
    for value in (module.Silent, module.silent):
        value.__module__ = "made"
    assert list(undocumented(module)) == ["made.Silent", "made.Silent.work", "made.silent"]
