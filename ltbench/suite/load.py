"""From a suite's file to a checked Suite. Every message carries the file, the line and the key path."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ltbench.data.sources.kinds import source_kinds
from ltbench.errors import UserError, clipped, did_you_mean
from ltbench.metrics import METRICS
from ltbench.plugins import use
from ltbench.spec import SAFE_NAME, search_suite
from ltbench.suite.explain import explain
from ltbench.suite.places import KeyPath, Overrides, SuiteData
from ltbench.suite.protocol import Protocol
from ltbench.suite.schema import DatasetEntry, Suite
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
        UserError: anything wrong with it, as one message with file, line, key path and cure.
    """
    if isinstance(suite, Mapping):
        source = read_suite_mapping(suite, overrides)
    else:
        source = read_suite_file(find_suite(str(suite)), overrides)
    _use_plugins(source, plugins)
    _arrange(source)
    try:
        checked = Suite.model_validate(source.data)
    except ValidationError as error:
        raise explain(source, error) from error
    _check_names(source, checked)
    return checked.model_copy(update={"datasets": [draw for entry in checked.datasets for draw in entry.draws()]})


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


def _arrange(source: SuiteData) -> None:
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
                methods[group] = [_method_entry(source, ("methods", group, i), e) for i, e in enumerate(entries)]
    datasets = source.data.get("datasets")
    for i, entry in enumerate(datasets if isinstance(datasets, list) else []):
        if isinstance(entry, dict):
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


def _check_names(source: SuiteData, suite: Suite) -> None:
    """What pydantic cannot see: names that must be safe, unique, or known."""
    _check_safe(source, ("suite",), suite.suite)
    seen: dict[str, int] = {}
    for i, entry in enumerate(suite.datasets):
        _check_safe(source, ("datasets", i, "name"), entry.name)
        if entry.name in seen:
            raise source.error(("datasets", i, "name"), f"{entry.name!r} names two data sets; give each its own name")
        seen[entry.name] = i
        _check_dataset(source, i, entry)
    _check_draws(source, suite.datasets)
    _check_tested_on(source, suite.datasets)
    for group, entries in suite.methods.items():
        _check_safe(source, ("methods", group), group)
        if group not in suite.recipes:
            raise source.error(
                ("methods", group), f"there is no recipe {group!r}. {did_you_mean(group, suite.recipes)}"
            )
        _check_labels(source, ("methods", group), [e.label for e in entries])
        for i, row in enumerate(entries):
            row.found_at(f"{source.place(('methods', group, i))}: methods.{group}.{i}")
    labels = [e.label for entries in suite.methods.values() for e in entries]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise source.error(("methods",), f"{twice!r} stands under two recipes; give one another name with `as:`")
    _check_protocol(source, suite.protocol, labels)
    _check_search(source, suite)
    rows = {*labels, *(e.method for entries in suite.methods.values() for e in entries)}
    for name in suite.resources.methods:
        if name not in rows:
            hint = did_you_mean(name, rows)
            raise source.error(("resources", "methods", name), f"{name!r} is not among the methods. {hint}")


def _check_labels(source: SuiteData, path: KeyPath, labels: list[str]) -> None:
    for i, label in enumerate(labels):
        if not isinstance(label, str):
            raise source.error((*path, i), f"a row's name must be a text, got {label!r}")
        _check_safe(source, (*path, i), label)
        if label in labels[:i]:
            raise source.error((*path, i), f"{label!r} is listed twice; give one row another name with `as:`")


def _check_safe(source: SuiteData, path: KeyPath, name: str) -> None:
    if not SAFE_NAME.fullmatch(name):
        raise source.error(path, f"{name!r} is not a usable name: letters, digits, '_', '-', '.' and '+', at most 80, "
                                 f"starting with a letter or digit")  # fmt: skip


def _check_dataset(source: SuiteData, i: int, entry: DatasetEntry) -> None:
    kinds, kind, path = source_kinds(), entry.kind or entry.name, ("datasets", i)
    if kind not in kinds:
        where = (*path, "kind" if entry.kind else "name")
        hint = "" if entry.kind else " Give `kind:` to use a name of your own."
        raise source.error(where, f"unknown data set {kind!r}. {did_you_mean(kind, kinds)}{hint}")
    for option in entry.model_extra or {}:
        allowed = [*DatasetEntry.model_fields, *kinds[kind].options, *kinds[kind].places]
        if option not in allowed:
            raise source.error((*path, option), f"unknown key. {did_you_mean(option, allowed)}")
    for place in kinds[kind].places:
        value = (entry.model_extra or {}).get(place, "")
        if not isinstance(value, str):
            raise source.error((*path, place), f"must be {kinds[kind].places[place]}, got {value!r}")
    if kinds[kind].needs_path != bool(entry.path) and not kinds[kind].may_have_path:
        cure = f"add `path:`, {kinds[kind].path_is}" if not entry.path else "remove `path:`"
        raise source.error(path, f"data set {kind!r}: {cure}")
    if entry.profile == "native" and entry.imbalance is not None:
        raise source.error((*path, "imbalance"), "has no effect with `profile: native`; remove one of the two")
    if entry.profile != "native" and entry.imbalance is None:
        raise source.error(path, "`imbalance:` is missing, for example [10, 50, 100]; or say `profile: native`")
    if entry.imbalance and len(set(entry.imbalance)) < len(entry.imbalance):
        raise source.error((*path, "imbalance"), f"lists a value twice: {entry.imbalance}")


def _check_tested_on(source: SuiteData, entries: Sequence[DatasetEntry]) -> None:
    """Numbers on val lists and on test sets are not put into one table, so they are not made by one suite."""
    kinds = source_kinds()
    chosen = {i: (entry.model_extra or {}).get("tested_on", "test") for i, entry in enumerate(entries)
              if "tested_on" in kinds[entry.kind or entry.name].options}  # fmt: skip
    if {"test", "val"} <= {str(value) for value in chosen.values()}:
        i = next(i for i, value in chosen.items() if value == "val")
        raise source.error(
            ("datasets", i, "tested_on"),
            "another data set of this suite is tested on its test set; a table has numbers of the one or of the other: "
            "make two suites",
        )


def _check_search(source: SuiteData, suite: Suite) -> None:
    search = suite.protocol.search
    for group, entries in suite.methods.items():
        for i, row in enumerate(entries):
            path: KeyPath = ("methods", group, i)
            if row.search is not None and search is None:
                raise source.error(path, f"{row.label!r} has a `search:`, but there is no `protocol.search:` that says "
                                         f"how; add it, for example {{trials: 8, holdout_per_class: 10}}")  # fmt: skip
            both = sorted(set(row.search or ()) & set(row.hyperparameters))
            if both:
                raise source.error(path, f"{row.label!r} has a value and a range for {both[0]}; keep one of the two")
    if search is None:
        return
    if search.select not in METRICS:
        hint = did_you_mean(search.select, METRICS)
        raise source.error(("protocol", "search", "select"), f"unknown metric {search.select!r}. {hint}")
    for group, entries in suite.methods.items():
        for i, row in enumerate(entries):  # the trials of a search are numbered
            if not SAFE_NAME.fullmatch(f"{row.label}+{search.trials}"):
                cure = "give it a shorter one with `as:`"
                raise source.error(
                    ("methods", group, i),
                    f"{row.label!r} is too long a name for a row of a suite with a search; {cure}",
                )
    if not SAFE_NAME.fullmatch(search_suite(suite.suite)):
        raise source.error(("suite",), f"{suite.suite!r} is too long a name for a suite with a search")


def _check_protocol(source: SuiteData, protocol: Protocol, labels: list[str]) -> None:
    where: KeyPath = ("protocol", "final", "seeds")
    if len(set(protocol.final.all_seeds)) < len(protocol.final.all_seeds):
        raise source.error(where, f"lists a seed twice: {protocol.final.seeds}")
    for key, names in ((("primary",), [protocol.primary]), (("final", "report"), protocol.final.report)):
        for name in names:
            if name not in METRICS:
                raise source.error(("protocol", *key), f"unknown metric {name!r}. {did_you_mean(name, METRICS)}")
    if protocol.reference is not None and protocol.reference not in labels:
        hint = did_you_mean(protocol.reference, labels)
        raise source.error(("protocol", "reference"), f"{protocol.reference!r} is not among the methods. {hint}")
    if len(set(protocol.final.report)) < len(protocol.final.report):
        raise source.error(("protocol", "final", "report"), f"lists a metric twice: {protocol.final.report}")
    if protocol.curves == "holdout" and not protocol.holdout_per_class:
        raise source.error(("protocol", "curves"), "`holdout` needs `holdout_per_class:` of at least 1")
    if protocol.shots.few > protocol.shots.many:
        raise source.error(("protocol", "shots"), "`few` must not be above `many`")


def _check_draws(source: SuiteData, datasets: Sequence[DatasetEntry]) -> None:
    """Every draw is another one, and has a name that no other data set has."""
    names = [entry.name for entry in datasets]
    for i, entry in enumerate(datasets):
        if entry.subset_seeds is not None and entry.class_orders is not None:
            raise source.error(("datasets", i, "class_orders"), "is given beside `subset_seeds`; vary one of the two")
        several = "subset_seeds" if entry.subset_seeds is not None else "class_orders"
        seeds, place = entry.subset_seeds or entry.class_orders, ("datasets", i, several)
        if seeds is None:
            continue
        if len(set(seeds)) < len(seeds):
            raise source.error(place, "names a seed twice; each draw is another one")
        if several.removesuffix("s") in entry.model_fields_set:
            raise source.error(place, f"stands in place of `{several.removesuffix('s')}`; remove one of the two")
        if entry.profile == "native":
            raise source.error(place, "needs a profile: a data set that is taken as it is has nothing to draw")
        for draw in entry.draws()[1:]:
            if draw.name in names:
                raise source.error(place, f"makes a data set {draw.name!r}, and there is one; rename it")
