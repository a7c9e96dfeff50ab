"""What the TAB key offers: suites, methods, metrics. It imports little: a shell waits for the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import typer

from ltbench.system.shipped import method_names, shipped_folder

Completion = list[tuple[str, str]]
"""What may stand there, and a word about it."""


def suites(ctx: typer.Context, incomplete: str) -> Completion:
    """Suites that come with ltbench, and the suite files that a path leads to."""
    return [*shipped_suites(ctx, incomplete), *_beginning(incomplete, _suite_files(incomplete))]


def suites_run(ctx: typer.Context, incomplete: str) -> Completion:
    """Suites that have run, then all others."""
    results = Path(ctx.params.get("results") or "results")
    run = [(folder.parent.name, f"in {results}") for folder in sorted(results.glob("*/records"))]
    known = {name for name, _ in run}
    return [*_beginning(incomplete, run), *(other for other in suites(ctx, incomplete) if other[0] not in known)]


def shipped_suites(ctx: typer.Context, incomplete: str) -> Completion:
    """Suites that come with ltbench."""
    files = sorted(shipped_folder("suites").glob("*.yaml"))
    return _beginning(incomplete, ((file.stem, "comes with ltbench") for file in files))


def methods(ctx: typer.Context, incomplete: str) -> Completion:
    """Methods that come with ltbench, and those in the folder that `--methods` names."""
    own = ctx.params.get("methods")
    files = sorted(Path(own).glob("[!_]*.py")) if own else []
    return _beginning(incomplete, ((name, "") for name in [*method_names(), *(file.stem for file in files)]))


def metrics(ctx: typer.Context, incomplete: str) -> Completion:
    """Metrics that a board can rank by or show."""
    from ltbench.metric_names import COSTS, DERIVED, METRICS

    return _beginning(incomplete, ((name, m.title) for name, m in {**METRICS, **DERIVED, **COSTS}.items()))


def listed(of_one: Callable[[typer.Context, str], Completion]) -> Callable[[typer.Context, str], Completion]:
    """The same for a list with commas: what stands before the last comma stays."""

    def of_list(ctx: typer.Context, incomplete: str) -> Completion:
        before, comma, last = incomplete.rpartition(",")
        there = set(before.split(","))
        return [(f"{before}{comma}{name}", words) for name, words in of_one(ctx, last) if name not in there]

    return of_list


def _beginning(incomplete: str, found: Iterable[tuple[str, str]]) -> Completion:
    return [(name, words) for name, words in found if name.startswith(incomplete)]


def _suite_files(incomplete: str) -> Iterator[tuple[str, str]]:
    """Suite files, and, once there is a slash, folders."""
    head, slash, _ = incomplete.rpartition("/")
    try:
        for place in sorted(Path(f"{head}{slash}").iterdir()):
            if place.suffix in (".yaml", ".yml"):
                yield f"{head}{slash}{place.name}", "a file"
            elif slash and place.is_dir():
                yield f"{head}{slash}{place.name}/", "a folder"
    except OSError:
        return
