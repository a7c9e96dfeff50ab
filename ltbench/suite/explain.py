"""What pydantic found wrong with a suite, as one sentence a person can act on."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from ltbench.errors import UserError, clipped, did_you_mean, exponent_hint
from ltbench.suite.places import KeyPath, SuiteData
from ltbench.suite.protocol import Final, Protocol, Shots, UntilResolved
from ltbench.suite.recipe import Adam, Constant, Cosine, Multistep, Recipe, Sgd
from ltbench.suite.schema import (
    DatasetEntry,
    Names,
    PerMethod,
    PerTrial,
    Resources,
    Suite,
    TextBundled,
    TextFile,
    TextOfDataset,
    TextOfTower,
    TextOpenClip,
    TextSentence,
)

WRONG: dict[str, Any] = {}
"""Stands for a method's entry that is none, and was told already."""


def explain(source: SuiteData, error: ValidationError) -> list[UserError]:
    """pydantic's complaints as sentences with place, cause and cure, in the order of the file. Of a value, one; of a
    key that was misspelt, not also that the right one is missing."""
    complaints = [(_written_path(source, complaint["loc"]), complaint) for complaint in error.errors()]
    misspelt = _misspelt(complaints)
    told: dict[KeyPath, UserError] = {}
    for path, complaint in sorted(
        complaints, key=lambda c: (source.place(c[0]).line, c[1]["type"] != "extra_forbidden")
    ):
        if path not in misspelt and path not in told and not _is_told(source, path):
            told[path] = source.error(path, _sentence(source, path, complaint))
    return list(told.values())


def _misspelt(complaints: Sequence[tuple[KeyPath, Any]]) -> dict[KeyPath, KeyPath]:
    """Keys that are missing -> the unknown key that is meant for each."""
    extra = [path for path, complaint in complaints if complaint["type"] == "extra_forbidden"]
    found = {}
    for path in [path for path, complaint in complaints if complaint["type"] == "missing" and path]:
        beside = {str(other[-1]): other for other in extra if other[:-1] == path[:-1]}
        if near := get_close_matches(str(path[-1]), beside, n=1, cutoff=0.6):
            found[path] = beside[near[0]]
    return found


def _is_told(source: SuiteData, path: KeyPath) -> bool:
    """Whether it is a method's entry that was found to be none before."""
    return path[:1] == ("methods",) and len(path) > 3 and _at(source.data, path[:3]) is WRONG


def _at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = data[step]
    return data


def rest_of(source: SuiteData, error: ValidationError) -> Suite | None:
    """The suite without what pydantic complains of, so that further checks can look at the rest; None where that
    leaves no suite, or would move the entries of a list."""
    data = deepcopy(source.data)
    complaints = [(_written_path(source, complaint["loc"]), complaint) for complaint in error.errors()]
    for right, wrong in _misspelt(complaints).items():
        holder = _at(data, right[:-1])
        holder[right[-1]] = holder[wrong[-1]]
    for path in {path for path, complaint in complaints if complaint["type"] != "missing"}:
        holder = _at(data, path[:-1])
        if not path or not isinstance(holder, dict):
            return None
        holder.pop(path[-1], None)
    try:
        return Suite.model_validate(data)
    except ValidationError:
        return None


def _written_path(source: SuiteData, loc: tuple[int | str, ...]) -> KeyPath:
    """pydantic's location without the tags it puts in for unions."""
    path: list[int | str] = []
    target: Any = source.data
    for i, step in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(target, dict) and (step in target or last):
            path.append(step)
            target = target.get(step)
        elif isinstance(target, list) and isinstance(step, int) and step < len(target):
            path.append(step)
            target = target[step]
    return tuple(path)


def _sentence(source: SuiteData, path: KeyPath, complaint: Any) -> str:
    kind, given, context = complaint["type"], complaint.get("input"), complaint.get("ctx", {})
    if kind == "extra_forbidden":
        inherited = source.place(path).file not in (None, source.file)
        cure = f" It is inherited: `{clipped(path[-1])}: null` takes it back." if inherited else ""
        return f"unknown key. {did_you_mean(str(path[-1]), _known_keys(source, path))}{cure}"
    if kind == "missing":
        return "is missing"
    if kind == "union_tag_not_found":
        return f"needs `{str(context['discriminator']).strip(chr(39))}:`"
    if kind == "union_tag_invalid":
        tag = str(context["tag"])
        known = [t.strip("' ") for t in str(context["expected_tags"]).split(",")]
        return f"unknown {str(context['discriminator']).strip(chr(39))} {_shown(tag)}. {did_you_mean(tag, known)}"
    if kind == "literal_error" and isinstance(given, str):
        return f"{_shown(given)} is not one of {context['expected']}"
    if kind in ("float_type", "int_type") and isinstance(given, str):
        return f"expected a number, got the text {_shown(given)}.{exponent_hint(given, whole=kind == 'int_type')}"
    if kind == "too_short":
        least = context["min_length"]
        return "must not be empty" if least == 1 else f"must have {least} values, got {_shown(given)}"
    if kind == "value_error":
        return str(complaint["msg"]).removeprefix("Value error, ")
    expected = str(complaint["msg"]).replace("Input should be ", "must be ").replace("a valid ", "a ")
    words = {"dictionary": "mapping", "string": "text", "integer": "whole number", "boolean": "true or false"}
    for technical, plain in words.items():
        expected = expected.replace(technical, plain)
    return f"{expected}, got {_shown(given)}"


def _shown(given: object) -> str:
    """What was given, in Python's spelling, cut where it is long."""
    return clipped(_briefly(given), 160)


def _briefly(given: object) -> str:
    try:
        return repr(given)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"


def _known_keys(source: SuiteData, path: KeyPath) -> list[str]:
    """The keys allowed where an unknown one was found, from the model that stands there."""
    model: Any = Suite
    by_name: dict[str, Any] = {
        "recipes": Recipe, "protocol": Protocol, "final": Final, "shots": Shots, "resources": Resources,
        "per_trial": PerTrial, "datasets": DatasetEntry, "names": Names, "seeds": UntilResolved,
    }  # fmt: skip
    for step in path[:-1]:
        if step in by_name:
            model = by_name[str(step)]
    if path[:2] == ("resources", "methods") and len(path) > 3:
        model = PerMethod
    if path[-2:-1] in (("optimizer",), ("schedule",), ("text",)):
        holder: Any = source.data
        for step in path[:-1]:
            holder = holder[step]
        tag = holder.get("name") or holder.get("encoder")
        choices = (Sgd, Adam, Multistep, Cosine, Constant)
        texts = (TextBundled, TextFile, TextOfDataset, TextOfTower, TextOpenClip, TextSentence)
        for choice in (*choices, *texts):
            literal = choice.model_fields["encoder" if choice in texts else "name"].annotation
            if tag in getattr(literal, "__args__", ()):
                model = choice
    return [given.alias or name for name, given in model.model_fields.items()]
