"""The methods: one file each, and the file's name is the method's name. Copy `_template.py` to add one."""

import sys
import types
from importlib import import_module
from typing import Any


class _Methods(types.ModuleType):
    """This package, called, lists the methods: `ltbench.methods()` is the door's function of the same name."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return import_module("ltbench.frames.catalog").methods(*arguments, **named)


sys.modules[__name__].__class__ = _Methods
