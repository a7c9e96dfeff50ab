"""How the trials of a board were set up: recipes, hyper-parameters, data, machines, and the suite itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltbench.page.evidence import Evidence
from ltbench.page.grids import PageCell, PageLine, PageTable
from ltbench.ranking.beside import USUAL
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.formats.choices import search_notes
from ltbench.spec import Record

VERSIONS = ("ltbench", "torch", "numpy", "python")


@dataclass(frozen=True)
class Setup:
    """The set-up section of a page.

    Attributes:
        recipes: a column per recipe. rows: a line per method. searched: what was searched, in sentences.
        data: a line per column of the board. machines: a line per kind of machine and versions.
        suite: the suite's file, merged, as YAML; empty where it is not known.
    """

    recipes: PageTable
    rows: PageTable
    searched: Sequence[str]
    data: PageTable
    machines: PageTable
    suite: str


def setup_of(board: Leaderboard, records: Sequence[Record], evidence: Evidence, suite: str = "") -> Setup | None:
    """Of the trials that a board is made of; None without records.

    Args:
        suite: the suite as YAML.
    """
    used = {run.key for run in evidence.runs if run.used}
    kept = sorted((record for record in records if record.key in used), key=lambda record: record.key)
    if not kept:
        return None
    return Setup(_recipes(kept), _rows(board, kept), search_notes(board.config.get("search")),
                 _data(board, evidence), _machines(kept), suite)  # fmt: skip


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """`optimizer.lr` -> `0.05`."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    words = {"True": "yes", "False": "no", "None": "-"}
    return words.get(str(value), str(value))


def _recipes(kept: Sequence[Record]) -> PageTable:
    found = {record.spec.recipe_name: dict(_flat(record.spec.recipe)) for record in kept}
    found = dict(sorted(found.items()))
    keys = list(dict.fromkeys(key for settings in found.values() for key in settings))
    lines = [PageLine(key, [PageCell(key), *(PageCell(s.get(key, "-")) for s in found.values())]) for key in keys]
    return PageTable(["setting", *found], lines)


def _rows(board: Leaderboard, kept: Sequence[Record]) -> PageTable:
    """What each row set; a row whose cells differ names every value."""
    values: dict[str, dict[str, dict[str, None]]] = {}
    methods: dict[str, str] = {}
    for record in kept:
        methods[record.spec.label] = record.spec.method
        own = values.setdefault(record.spec.label, {})
        for key, value in _flat(record.spec.hyperparameters):
            own.setdefault(key, {})[value] = None
    order = list(dict.fromkeys(row.label for table in board.tables for row in table.rows))
    lines = []
    for label in [*order, *sorted(values.keys() - set(order))]:
        if label in values:
            said = "; ".join(f"{key} {' or '.join(found)}" for key, found in values[label].items())
            lines.append(
                PageLine(label, [PageCell(label), PageCell(methods[label]), PageCell(said or "none", tone="wrap")])
            )
    return PageTable(["row", "method", "hyper-parameters"], lines)


def _data(board: Leaderboard, evidence: Evidence) -> PageTable:
    shots = board.config.get("shots", USUAL)
    heads = ["data set", "classes", "training images", "largest class", "smallest class", "many-shot", "medium-shot",
             "few-shot"]  # fmt: skip
    lines = []
    for column in dict.fromkeys(column for table in board.tables for column in table.columns):
        if column not in evidence.classes:
            continue
        images = evidence.classes[column].train_images
        many, few = int(np.sum(images > shots["many"])), int(np.sum(images < shots["few"]))
        counts = [len(images), images.sum(), images.max(), images.min(), many, len(images) - many - few, few]
        cells = [PageCell(f"{count:,.0f}", float(count)) for count in counts]
        lines.append(PageLine(column.label, [PageCell(column.label), *cells]))
    return PageTable(heads, lines)


def _machines(kept: Sequence[Record]) -> PageTable:
    found = Counter(_machine(record.environment) for record in kept)
    lines = [
        PageLine(machine[0], [*map(PageCell, machine), PageCell(str(n), float(n))]) for machine, n in found.items()
    ]
    return PageTable(["device", "per trial", *VERSIONS, "trials"], lines)


def _machine(environment: Mapping[str, Any]) -> tuple[str, ...]:
    share, threads = environment.get("gpu_share"), environment.get("threads")
    part = f"{share:g} GPU" if share else f"{threads} CPU{'s' * (threads != 1)}" if threads else "-"
    return (str(environment.get("device", "-")), part, *(str(environment.get(name, "-")) for name in VERSIONS))
