"""What no schema can see in a suite: names that must be safe, different from each other, or known. Each check gives all
that it finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ltbench.data.sources.kinds import source_kinds
from ltbench.errors import UserError, did_you_mean
from ltbench.metric_names import METRICS
from ltbench.spec import SAFE_NAME, search_suite
from ltbench.suite.places import KeyPath, SuiteData
from ltbench.suite.protocol import Protocol
from ltbench.suite.schema import DatasetEntry, Suite


def check_names(source: SuiteData, suite: Suite) -> Iterator[UserError]:
    """What pydantic cannot see: names that must be safe, unique, or known."""
    yield from _check_safe(source, ("suite",), suite.suite)
    seen: dict[str, int] = {}
    for i, entry in enumerate(suite.datasets):
        yield from _check_safe(source, ("datasets", i, "name"), entry.name)
        if entry.name in seen:
            yield source.error(("datasets", i, "name"), f"{entry.name!r} names two data sets; give each its own name")
        seen[entry.name] = i
        yield from _check_dataset(source, i, entry)
    yield from _check_draws(source, suite.datasets)
    yield from _check_tested_on(source, suite.datasets)
    for group, entries in suite.methods.items():
        yield from _check_safe(source, ("methods", group), group)
        if group not in suite.recipes:
            yield source.error(
                ("methods", group), f"there is no recipe {group!r}. {did_you_mean(group, suite.recipes)}"
            )
        yield from _check_labels(source, ("methods", group), [e.label for e in entries])
        for i, row in enumerate(entries):
            row.found_at(f"{source.place(('methods', group, i))}: methods.{group}.{i}")
    labels = [e.label for entries in suite.methods.values() for e in entries if isinstance(e.label, str)]
    under = {label: sum(label in [e.label for e in entries] for entries in suite.methods.values()) for label in labels}
    for twice in (label for label, recipes in under.items() if recipes > 1):
        yield source.error(("methods",), f"{twice!r} stands under two recipes; give one another name with `as:`")
    yield from _check_protocol(source, suite.protocol, labels)
    yield from _check_search(source, suite)
    rows = {*labels, *(e.method for entries in suite.methods.values() for e in entries)}
    for name in suite.resources.methods:
        if name not in rows:
            hint = did_you_mean(name, rows)
            yield source.error(("resources", "methods", name), f"{name!r} is not among the methods. {hint}")


def _check_labels(source: SuiteData, path: KeyPath, labels: list[str]) -> Iterator[UserError]:
    for i, label in enumerate(labels):
        if not isinstance(label, str):
            yield source.error((*path, i), f"a row's name must be a text, got {label!r}")
            continue
        yield from _check_safe(source, (*path, i), label)
        if label in labels[:i]:
            yield source.error((*path, i), f"{label!r} is listed twice; give one row another name with `as:`")


def _check_safe(source: SuiteData, path: KeyPath, name: str) -> Iterator[UserError]:
    if not SAFE_NAME.fullmatch(name):
        yield source.error(path, f"{name!r} is not a usable name: letters, digits, '_', '-', '.' and '+', at most 80, "
                                 f"starting with a letter or digit")  # fmt: skip


def _check_dataset(source: SuiteData, i: int, entry: DatasetEntry) -> Iterator[UserError]:
    kinds, kind, path = source_kinds(), entry.kind or entry.name, ("datasets", i)
    if kind not in kinds:
        where = (*path, "kind" if entry.kind else "name")
        hint = "" if entry.kind else " Give `kind:` to use a name of your own."
        yield source.error(where, f"unknown data set {kind!r}. {did_you_mean(kind, kinds)}{hint}")
        return
    for option in entry.model_extra or {}:
        allowed = [*DatasetEntry.model_fields, *kinds[kind].options, *kinds[kind].places]
        if option not in allowed:
            yield source.error((*path, option), f"unknown key. {did_you_mean(option, allowed)}")
    for place in kinds[kind].places:
        value = (entry.model_extra or {}).get(place, "")
        if not isinstance(value, str):
            yield source.error((*path, place), f"must be {kinds[kind].places[place]}, got {value!r}")
    if kinds[kind].needs_path != bool(entry.path) and not kinds[kind].may_have_path:
        cure = f"add `path:`, {kinds[kind].path_is}" if not entry.path else "remove `path:`"
        yield source.error(path, f"data set {kind!r}: {cure}")
    if entry.profile == "native" and entry.imbalance is not None:
        yield source.error((*path, "imbalance"), "has no effect with `profile: native`; remove one of the two")
    if entry.profile != "native" and entry.imbalance is None:
        yield source.error(path, "`imbalance:` is missing, for example [10, 50, 100]; or say `profile: native`")
    if entry.imbalance and len(set(entry.imbalance)) < len(entry.imbalance):
        yield source.error((*path, "imbalance"), f"lists a value twice: {entry.imbalance}")


def _check_tested_on(source: SuiteData, entries: Sequence[DatasetEntry]) -> Iterator[UserError]:
    """Numbers on val lists and on test sets are not put into one table, so they are not made by one suite."""
    kinds = source_kinds()
    chosen = {i: (entry.model_extra or {}).get("tested_on", "test") for i, entry in enumerate(entries)
              if (kind := kinds.get(entry.kind or entry.name)) is not None and "tested_on" in kind.options}  # fmt: skip
    if {"test", "val"} <= {str(value) for value in chosen.values()}:
        i = next(i for i, value in chosen.items() if value == "val")
        yield source.error(
            ("datasets", i, "tested_on"),
            "another data set of this suite is tested on its test set; a table has numbers of the one or of the other: "
            "make two suites",
        )


def _check_search(source: SuiteData, suite: Suite) -> Iterator[UserError]:
    search = suite.protocol.search
    for group, entries in suite.methods.items():
        for i, row in enumerate(entries):
            path: KeyPath = ("methods", group, i)
            if row.search is not None and search is None:
                yield source.error(path, f"{row.label!r} has a `search:`, but there is no `protocol.search:` that says "
                                         f"how; add it, for example {{trials: 8, holdout_per_class: 10}}")  # fmt: skip
            both = sorted(set(row.search or ()) & set(row.hyperparameters))
            if both:
                yield source.error(path, f"{row.label!r} has a value and a range for {both[0]}; keep one of the two")
    if search is None:
        return
    if search.select not in METRICS:
        hint = did_you_mean(search.select, METRICS)
        yield source.error(("protocol", "search", "select"), f"unknown metric {search.select!r}. {hint}")
    for group, entries in suite.methods.items():
        for i, row in enumerate(entries):  # the trials of a search are numbered
            if not SAFE_NAME.fullmatch(f"{row.label}+{search.trials}"):
                cure = "give it a shorter one with `as:`"
                yield source.error(
                    ("methods", group, i),
                    f"{row.label!r} is too long a name for a row of a suite with a search; {cure}",
                )
    if not SAFE_NAME.fullmatch(search_suite(suite.suite)):
        yield source.error(("suite",), f"{suite.suite!r} is too long a name for a suite with a search")


def _check_protocol(source: SuiteData, protocol: Protocol, labels: list[str]) -> Iterator[UserError]:
    where: KeyPath = ("protocol", "final", "seeds")
    if len(set(protocol.final.all_seeds)) < len(protocol.final.all_seeds):
        yield source.error(where, f"lists a seed twice: {protocol.final.seeds}")
    for key, names in ((("primary",), [protocol.primary]), (("final", "report"), protocol.final.report)):
        for name in names:
            if name not in METRICS:
                yield source.error(("protocol", *key), f"unknown metric {name!r}. {did_you_mean(name, METRICS)}")
    if protocol.reference is not None and protocol.reference not in labels:
        hint = did_you_mean(protocol.reference, labels)
        yield source.error(("protocol", "reference"), f"{protocol.reference!r} is not among the methods. {hint}")
    if len(set(protocol.final.report)) < len(protocol.final.report):
        yield source.error(("protocol", "final", "report"), f"lists a metric twice: {protocol.final.report}")
    if protocol.curves == "holdout" and not protocol.holdout_per_class:
        yield source.error(("protocol", "curves"), "`holdout` needs `holdout_per_class:` of at least 1")
    if protocol.shots.few > protocol.shots.many:
        yield source.error(("protocol", "shots"), "`few` must not be above `many`")


def _check_draws(source: SuiteData, datasets: Sequence[DatasetEntry]) -> Iterator[UserError]:
    """Every draw is another one, and has a name that no other data set has."""
    names = [entry.name for entry in datasets]
    for i, entry in enumerate(datasets):
        if entry.subset_seeds is not None and entry.class_orders is not None:
            yield source.error(("datasets", i, "class_orders"), "is given beside `subset_seeds`; vary one of the two")
            continue
        several = "subset_seeds" if entry.subset_seeds is not None else "class_orders"
        seeds, place = entry.subset_seeds or entry.class_orders, ("datasets", i, several)
        if seeds is None:
            continue
        if len(set(seeds)) < len(seeds):
            yield source.error(place, "names a seed twice; each draw is another one")
            continue
        if several.removesuffix("s") in entry.model_fields_set:
            yield source.error(place, f"stands in place of `{several.removesuffix('s')}`; remove one of the two")
            continue
        if entry.profile == "native":
            yield source.error(place, "needs a profile: a data set that is taken as it is has nothing to draw")
        for draw in entry.draws()[1:]:
            if draw.name in names:
                yield source.error(place, f"makes a data set {draw.name!r}, and there is one; rename it")
