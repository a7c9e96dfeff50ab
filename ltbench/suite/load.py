"""From a suite's file to a checked Suite. Every message carries the file, the line and the key path."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ltbench.data.sources.kinds import source_kinds
from ltbench.errors import Problems, UserError, UserErrors, clipped, did_you_mean
from ltbench.plugins import use
from ltbench.suite.checks import check_names
from ltbench.suite.explain import WRONG, explain, rest_of
from ltbench.suite.places import KeyPath, Overrides, SuiteData
from ltbench.suite.schema import Suite
from ltbench.suite.yaml_file import read_suite_file, read_suite_mapping, shipped, shipped_suites


def find_suite(name: str) -> Path:
    """A suite's file: the path as given, or one of the suites that come with ltbench, by name (`quickstart`)."""
    path = Path(name).expanduser()
    try:
        if path.is_file():
            return path
    except (OSError, ValueError) as error:
        raise UserError(f"{name[:200]!r}: no such suite file ({error})") from error
    if found := shipped(name):
        return found
    raise UserError(f"{clipped(name, 200)}: no such suite file, nor a suite that comes with ltbench. "
                    f"{did_you_mean(path.stem, shipped_suites())}")  # fmt: skip


def load_suite(suite: str | Path | Mapping[str, Any], overrides: Overrides = (), plugins: Sequence[Path] = ()) -> Suite:
    """Read and check a suite. From then on the code of its folders of plugins, and of no others, is found.

    Args:
        suite: its file, the name of one that comes with ltbench, or its contents.
        overrides: what replaces its values: `KEY.PATH=VALUE`, or key path -> value.
        plugins: further folders of plugins, beside those that the suite names.

    Raises:
        UserError: what is wrong with it, all at once, each with file, line, key path and cure. `BadSuite`, where
            something is left of it that can be looked at further.
    """
    if isinstance(suite, Mapping):
        source = read_suite_mapping(suite, overrides)
    else:
        source = read_suite_file(find_suite(str(suite)), overrides)
    problems = Problems()
    _use_plugins(source, plugins)
    _arrange(source, problems)
    checked: Suite | None = None
    try:
        checked = Suite.model_validate(source.data)
    except ValidationError as error:
        for problem in explain(source, error):
            problems.add(problem)
        checked = rest_of(source, error)
    if checked is not None:
        for problem in check_names(source, checked):
            problems.add(problem)
    if problems.found:
        raise BadSuite(problems.found, checked)
    assert checked is not None
    return checked.model_copy(update={"datasets": [draw for entry in checked.datasets for draw in entry.draws()]})


class BadSuite(UserErrors):
    """A suite with one or several problems.

    Attributes:
        rest: the suite without the values that are no values, to look for further problems; None: nothing is left.
    """

    def __init__(self, problems: Sequence[UserError], rest: Suite | None) -> None:
        super().__init__(problems)
        self.rest = rest


def _use_plugins(source: SuiteData, given: Sequence[Path]) -> None:
    """Find the code of the suite's folders before anything in it is looked up."""
    named = source.data.get("plugins")
    if isinstance(named, str):
        source.data["plugins"] = named = [named]
    use(given)
    if not (isinstance(named, list) and all(isinstance(folder, str) and folder for folder in named)):
        return  # none, or something that is refused with the rest of the suite
    place = f"{source.place(('plugins',))}: plugins:"
    found = [_absolute(source, folder, ("plugins", i)) for i, folder in enumerate(named)]
    source.data["plugins"] = [str(folder) for folder in found]
    use([*given, *found], place)


def _arrange(source: SuiteData, problems: Problems) -> None:
    """Bring the short spellings of methods, imbalance and paths into the one long form."""
    methods, recipes = source.data.get("methods"), source.data.get("recipes")
    if isinstance(methods, list) and isinstance(recipes, dict) and len(recipes) == 1:
        group = next(iter(recipes))
        source.data["methods"] = methods = {group: methods}
        moved = {p: place for p, place in source.places.items() if p[:1] == ("methods",)}
        source.places.update({("methods", group, *p[1:]): place for p, place in moved.items()})
    if isinstance(methods, dict):
        for group, entries in methods.items():
            if isinstance(entries, list):
                methods[group] = [_arranged(source, ("methods", group, i), e, problems) for i, e in enumerate(entries)]
    datasets = source.data.get("datasets")
    for i, entry in enumerate(datasets if isinstance(datasets, list) else []):
        if isinstance(entry, dict):
            with problems.kept():
                _arrange_dataset(source, entry, i)
    if isinstance(source.data.get("text"), dict):
        _resolve(source, source.data["text"], ("text", "path"))
        _resolve_if_file(source, source.data["text"], ("text", "pretrained"))
    for name, recipe in recipes.items() if isinstance(recipes, dict) else ():
        if isinstance(recipe, dict):
            _resolve_if_file(source, recipe, ("recipes", name, "pretrained"))


def _arrange_dataset(source: SuiteData, entry: dict[str, Any], i: int) -> None:
    if isinstance(entry.get("imbalance"), int | float) and not isinstance(entry["imbalance"], bool):
        entry["imbalance"] = [entry["imbalance"]]
    for name in ("path", "lists", "class_names"):
        _resolve(source, entry, ("datasets", i, name))
    kind = source_kinds().get(str(entry.get("kind") or entry.get("name")))
    if kind is not None and kind.native and "profile" not in entry:
        if entry.get("imbalance") is not None:
            cure = "say `profile: exp` or `profile: step` to make it long-tailed in another way"
            raise source.error(("datasets", i, "imbalance"), f"{kind.kind} is long-tailed and taken as it is; {cure}")
        entry["profile"] = "native"


def _resolve(source: SuiteData, holder: dict[str, Any], path: KeyPath) -> None:
    """A relative path is relative to the file it is written in (on the command line: to the working directory)."""
    name = str(path[-1])
    value = holder.get(name)
    if isinstance(value, str) and value:
        holder[name] = str(_absolute(source, value, path))


def _resolve_if_file(source: SuiteData, holder: dict[str, Any], path: KeyPath) -> None:
    """`pretrained:` is a path where there is such a file, and else the tag of published weights."""
    value = holder.get("pretrained")
    if isinstance(value, str) and value and os.path.isfile(file := _absolute(source, value, path)):
        holder["pretrained"] = str(file)


def _absolute(source: SuiteData, value: str, path: KeyPath) -> Path:
    file = source.place(path).file
    base = file.parent if file else Path()
    return (base / Path(value).expanduser()).absolute()


def _arranged(source: SuiteData, path: KeyPath, entry: Any, problems: Problems) -> Any:
    """A method's entry in its long form; of one that is none, an empty one that no further check looks at."""
    with problems.kept():
        return _method_entry(source, path, entry)
    return WRONG


def _method_entry(source: SuiteData, path: KeyPath, entry: Any) -> Any:
    """`ce`, `{logit_adjustment: {tau: 2, as: la_tau2}}`, `{compose: [mixup, ldam_drw], alpha: 0.2, as: both}`, or what
    the suite.json beside results has."""
    if isinstance(entry, str):
        return {"method": entry, "label": entry}
    if isinstance(entry, dict) and {"method", "label"} <= entry.keys():
        return entry
    if isinstance(entry, dict) and "compose" in entry:
        return _composed_entry(source, path, entry)
    if isinstance(entry, dict) and len(entry) == 1:
        method, values = next(iter(entry.items()))
        if isinstance(values, dict):
            values = dict(values)
            label, search = values.pop("as", method), values.pop("search", None)
            return {"method": method, "label": label, "hyperparameters": values, "search": search}
    raise source.error(path, f"expected a method's name or `NAME: {{hyper-parameter: value}}`, got {entry!r}")


def _composed_entry(source: SuiteData, path: KeyPath, entry: dict[str, Any]) -> Any:
    values = dict(entry)
    names = values.pop("compose")
    if not (isinstance(names, list) and len(names) > 1 and all(isinstance(n, str) and n for n in names)):
        raise source.error(path, f"`compose:` takes a list of methods' names, at least two, got {names!r}")
    if len(set(names)) < len(names):
        raise source.error(path, f"`compose:` lists a method twice: {', '.join(names)}")
    method = "+".join(names)
    label, search = values.pop("as", method), values.pop("search", None)
    return {"method": method, "label": label, "hyperparameters": values, "search": search}
