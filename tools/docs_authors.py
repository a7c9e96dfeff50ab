"""The reference page for authors of methods: what `ltbench.api` and `ltbench.parts` offer, from their docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import Any

from ltbench import api, parts
from tools.docs_reference import docstring


def authors() -> dict[str, str]:
    """Page -> its Markdown."""
    lines = [
        "# What a method is made of",
        "",
        "This page is made from the code. [Write a method](../methods.md) shows how its pieces go together.",
        "",
    ]
    for title, module in (("ltbench.api", api), ("ltbench.parts", parts)):
        for name in module.__all__:
            lines += [f"## {title}.{name}", "", *_described(getattr(module, name)), ""]
    return {"reference/authors.md": "\n".join(lines)}


def _described(thing: Any) -> Iterator[str]:
    """A function or a class: its signature, its docstring, and the methods that have one."""
    if not inspect.isclass(thing) or not is_dataclass(thing):
        yield from ["```python", f"{thing.__name__}{_signature(thing)}", "```", ""]
    else:
        yield from ["Fields: " + ", ".join(f"`{field.name}`" for field in fields(thing)) + ".", ""]
    yield from docstring(inspect.getdoc(thing) or "")
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            text = inspect.getdoc(member.func if isinstance(member, cached_property) else member)
            if (
                not name.startswith("_")
                and text
                and (inspect.isfunction(member) or isinstance(member, cached_property))
            ):
                yield from ["", f"**`{name}{_signature(member)}`**", "", *docstring(text)]


def _signature(thing: Any) -> str:
    """`(self, x, now)`, without types: the docstring says what is what."""
    if isinstance(thing, cached_property):
        return ""
    found = inspect.signature(thing)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values() if p.name != "self"]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))
