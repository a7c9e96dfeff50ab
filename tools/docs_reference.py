"""The reference pages of the site, made from the code: keys of a suite, commands, methods, functions of the package."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import typer
from pydantic import BaseModel

import ltbench
from ltbench.cli import app
from ltbench.registry import Registry
from ltbench.suite import protocol, recipe, schema, search
from ltbench.suite.strict import LARGEST
from tools import formulas

Json = Mapping[str, Any]

BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
SECTIONS = ("Args:", "Attributes:", "Returns:", "Raises:", "Examples:")
LISTS = ("Args:", "Attributes:", "Raises:")


def pages() -> dict[str, str]:
    """Page -> its Markdown."""
    return {
        "reference/suite.md": suite_keys(),
        "reference/commands.md": commands(),
        "reference/methods.md": methods(),
        "reference/python.md": functions(),
    }


# The keys of a suite


def suite_keys() -> str:
    """Every key of the schema: type, default, allowed values, meaning."""
    described = schema.Suite.model_json_schema()
    parts: Json = described["$defs"]
    lines = [
        "# Suite keys",
        "",
        "This page is made from the schema that checks a suite. A key that is not here is refused. "
        "[Write a suite](../suites.md) explains how keys work together, and has the short forms of rows and of single "
        "recipes.",
        "",
        *_keys("Suite", described),
    ]
    for name in _in_order(described, parts):
        lines += [f"## {name}", "", *_keys(name, parts[name])]
    return "\n".join(lines)


def _in_order(described: Json, parts: Json) -> list[str]:
    """The names of the parts as one meets them, from the suite downward."""
    found: list[str] = []
    waiting = [described]
    while waiting:
        for name in re.findall(r"#/\$defs/(\w+)", str(waiting.pop(0)["properties"])):
            if name not in found:
                found.append(name)
                waiting.append(parts[name])
    return found


def _keys(name: str, described: Json) -> Iterator[str]:
    if name != "Suite":
        yield from [" ".join(described.get("description", "").split()), ""]
    meanings = meanings_of(
        next(getattr(part, name) for part in (schema, protocol, recipe, search) if hasattr(part, name))
    )
    required = described.get("required", [])
    yield from ["| key | type and allowed values | default | meaning |", "|---|---|---|---|"]
    for key, value in described["properties"].items():
        default = "required" if key in required else _default(value)
        meaning = meanings.get(key) or ("Says that it is this one." if "const" in value or key == "name" else "")
        yield f"| `{key}` | {type_of(value)} | {default} | {_cell(meaning)} |"
    yield ""


def _default(value: Json) -> str:
    default = value.get("default")
    if default in (None, "", {}):
        return "none"
    if isinstance(default, dict):
        return f"`name: {default['name']}`" if "name" in default else "the defaults of its keys"
    if isinstance(default, list):
        return ", ".join(f"`{item}`" for item in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def type_of(value: Json) -> str:
    """A JSON schema's type in words, with the allowed values and links to the parts it is made of."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    for several in ("anyOf", "oneOf"):
        if several in value:
            return " or ".join(type_of(one) for one in value[several] if one.get("type") != "null")
    kind = value.get("type")
    if kind == "array":
        return f"list ({type_of(value['items'])})"
    if kind == "object":
        inside = value.get("additionalProperties")
        return f"name → {type_of(inside)}" if isinstance(inside, dict) else "name → value"
    # The bound that every number has, far beyond any use, would only distract.
    bounds = [f"{sign} {value[bound]:g}" for bound, sign in BOUNDS.items() if value.get(bound, LARGEST) != LARGEST]
    return ", ".join([TYPES.get(str(kind), "any"), *bounds])


def meanings_of(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the text below it in the source, of the class and its bases."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if cls.__module__.startswith("ltbench."):
            body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
            assert isinstance(body, ast.ClassDef)
            for field, text in zip(body.body, body.body[1:], strict=False):
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(text, ast.Expr)
                    and isinstance(text.value, ast.Constant)
                ):
                    found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return {getattr(model.model_fields.get(name), "alias", None) or name: meaning for name, meaning in found.items()}


# Commands


def commands() -> str:
    """Every command with its arguments and options."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    lines = ["# Commands", "", "This page is made from the commands. `ltbench COMMAND --help` says the same.", ""]
    for name, command in sorted(group.commands.items()):
        lines += [f"## ltbench {name}", "", " ".join((command.help or "").split()), ""]
        lines += ["```", _usage(name, command.params), "```", ""]
        if rows := [_option(p) for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]:
            lines += ["| option | default | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _usage(name: str, params: Sequence[Any]) -> str:
    words = [_argument(p) for p in params if p.param_type_name == "argument"]
    return " ".join(["ltbench", name, *(w if p else f"[{w}]" for w, p in words), "[OPTIONS]"])


def _argument(param: Any) -> tuple[str, bool]:
    """What it is called, and whether it must be there."""
    return (param.metavar or str(param.name).upper()).strip("[]"), bool(param.required)


def _option(param: Any) -> str:
    if param.param_type_name == "argument":
        called = f"`{_argument(param)[0]}`"
    else:
        called = ", ".join(f"`{o}`" for o in [*param.opts, *param.secondary_opts])
    default = param.default
    shown = (
        "required"
        if param.required
        else ""
        if default in (None, False, [], ()) or callable(default)
        else f"`{default}`"
    )
    more = f" (or `{param.envvar}`)" if param.envvar else ""
    return f"| {called} | {'on' if default is True else shown} | {_cell(param.help or '')}{more} |"


# Methods


def methods() -> str:
    """Every method that comes with ltbench."""
    table, computed = ltbench.methods(), formulas.formulas()
    lines = [
        "# Methods",
        "",
        "This page is made from the methods that come with ltbench. `ltbench methods NAME` says the same on the "
        "screen, also for a method of yours. A suite's row is the name, or `{NAME: {hyper-parameter: value}}`.",
        "",
        f"What letters mean: {formulas.inline_markdown(formulas.LETTERS)}",
        "",
    ]
    for name, method in table.iterrows():
        needs = ", ".join(f"`{need}`" for need in method["needs"]) or "nothing"
        lines += [f"## {name}", "", method["summary"], "", *formulas.as_markdown(computed[str(name)])]
        lines += [f"* Paper: {method['paper']}", f"* Needs: {needs}", ""]
        declared = ltbench.methods(str(name))
        if len(declared):
            lines += ["| hyper-parameter | default | allowed | searched | meaning |", "|---|---|---|---|---|"]
            lines += [_hyperparameter(str(key), row) for key, row in declared.iterrows()] + [""]
        lines += _code(str(name))
    return "\n".join(lines)


def _code(method: str) -> list[str]:
    """What a method computes, as it stands in its class: the formula of a loss is a line of `loss`."""
    source = textwrap.dedent(inspect.getsource(Registry().get(method))).rstrip()
    return ['<details markdown="1" data-search-exclude><summary>Its code</summary>', "", "```python",
            *source.splitlines(), "```", "", "</details>", ""]  # fmt: skip


def _hyperparameter(key: str, row: Any) -> str:
    allowed, searched = _cell(row["allowed"] or "any"), _cell(row["search"] or "not")
    return f"| `{key}` | `{row['default']}` | {allowed} | {searched} | {_cell(row['meaning'])} |"


# Functions


def functions() -> str:
    """The functions of the package: signature and docstring."""
    lines = [
        "# Functions",
        "",
        "This page is made from the docstrings of the package. [From Python](../python.md) shows what the functions "
        "return.",
        "",
    ]
    for name in ltbench.__all__:
        function = getattr(ltbench, name)
        function = getattr(function, "__wrapped__", function)
        lines += [f"## ltbench.{name}", "", "```python", _signature(name, function), "```", ""]
        lines += [*docstring(inspect.getdoc(function) or ""), ""]
    return "\n".join(lines)


def _signature(name: str, function: Any) -> str:
    parameters = inspect.signature(function).parameters.values()
    shown, starred = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        default = parameter.default
        value = "" if default is parameter.empty else f"={getattr(default, '__name__', None) or repr(default)}"
        shown.append(parameter.name + value)
    return f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in shown) + ")"


def docstring(text: str) -> Iterator[str]:
    """A docstring in Google's form as Markdown."""
    section = ""
    for line in text.split("\n"):
        if line.strip() in SECTIONS and not line.startswith(" "):
            section = line.strip()
            yield from (["**Examples**", "", "```python"] if section == "Examples:" else [f"**{section[:-1]}**", ""])
        elif section == "Examples:":
            yield line[4:]
        elif section in LISTS and re.match(r"    \S", line):
            name, _, meaning = line.strip().partition(": ")
            yield f"* `{name}`: {meaning}"
        elif section in LISTS and line.strip():
            yield f"    {line.strip()}"
        else:
            yield line.strip() if section else line
    if section == "Examples:":
        yield "```"


def _cell(text: str) -> str:
    """In a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")
