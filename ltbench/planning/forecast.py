"""How long trials will take: from the records of earlier ones on the same device, or from a few measured steps."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ltbench.spec import Record, TrialSpec

WARM_UP, MEASURED = 3, 10
"""Steps that are taken before, and at least while, a row is measured."""
SECONDS = 0.5
"""How long a row is measured at least."""


@dataclass(frozen=True)
class Device:
    """What a trial would run on."""

    name: str
    threads: int


class Size(NamedTuple):
    """Images of a cell."""

    train: int
    test: int


class Pace(NamedTuple):
    """Seconds per training image and per test image, and of a trial's start; where they are from."""

    per_image: float
    per_test_image: float
    start: float
    basis: str


@dataclass(frozen=True)
class Line:
    """The trials of one row on one cell that are to run. seconds: of one of them; None: nothing is known."""

    label: str
    cell: str
    trials: int
    seconds: float | None
    at_once: int
    basis: str


Known = Mapping[tuple[str, ...], Pace]
Measure = Callable[[TrialSpec], Pace | None]


def forecast(
    to_run: Sequence[TrialSpec],
    sizes: Mapping[str, Size],
    records: Iterable[Record],
    device: Device,
    at_once: Mapping[str, int],
    measure: Measure = lambda spec: None,
    trainers: Mapping[str, TrialSpec] | None = None,
) -> list[Line]:
    """Row by row, how long the trials take.

    Args:
        sizes: by a cell's manifest. records: earlier ones; those from other devices, with another number of threads,
            and those that were taken up half-way or whose training was another's are not used.
        at_once: by a row's label, how many of its trials run side by side.
        measure: the pace of a row of which nothing is known; asked once for every method, recipe and data set.
        trainers: key of a trial that only tests -> the one whose training it takes over (sharing.py).
    """
    known, measured = paces(records, device), dict[tuple[str, ...], Pace | None]()
    groups: dict[tuple[str, str], list[TrialSpec]] = {}
    for spec in to_run:
        groups.setdefault((spec.row, spec.cell.label), []).append(spec)
    lines = []
    for (label, cell), specs in groups.items():
        spec = specs[0]
        names = _names(spec)
        pace = next((known[name] for name in names[:2] if name in known), None)
        if pace is None:
            if names[1] not in measured:
                measured[names[1]] = measure(spec)
            pace = measured[names[1]] or known.get(names[2])
        size, taken = sizes[spec.cell.manifest], [by.row for s in specs if (by := (trainers or {}).get(s.key))]
        seconds, basis = None, ""
        if pace is not None:
            own, test = (seconds_of(pace, epochs, size) for epochs in (spec.recipe["epochs"], 0.0))
            seconds = (own * (len(specs) - len(taken)) + test * len(taken)) / len(specs)
            basis = pace.basis
        if taken:
            whom = ", ".join(dict.fromkeys(taken))
            basis += f"{', ' if basis else ''}{len(taken)} trained with {whom}"
        lines.append(Line(label, cell, len(specs), seconds, max(1, at_once.get(label, 1)), basis))
    return lines


def seconds_of(pace: Pace, epochs: float, size: Size) -> float:
    return pace.start + pace.per_image * epochs * size.train + pace.per_test_image * size.test


def paces(records: Iterable[Record], device: Device) -> Known:
    """Medians of what the records say: of the same row on the same images, of the same method and recipe on the data
    set, and of all methods of the recipe on the data set, in this order."""
    found: dict[tuple[str, ...], list[tuple[float, float, float]]] = {}
    for record in records:
        here = record.environment.get("device") == device.name and record.environment.get("threads") == device.threads
        if record.status != "ok" or not here or record.environment.keys() & {"trained_by"}:
            continue
        if record.environment.get("resumed"):
            continue
        rates = _rates(record)
        for name in _names(record.spec) if rates else ():
            found.setdefault(name, []).append(rates)  # type: ignore[arg-type]
    known = {}
    for name, all_rates in found.items():
        n = len(all_rates)
        what = {"row": "trials of this row", "method": "trials of this method on this data set",
                "recipe": "trials of other methods on this data set"}[name[0]]  # fmt: skip
        train, test, start = (statistics.median(rates) for rates in zip(*all_rates, strict=True))
        known[name] = Pace(train, test, start, f"{n} earlier {what if n > 1 else what.replace('trials', 'trial')}")
    return known


def _names(spec: TrialSpec) -> list[tuple[str, ...]]:
    """A trial's row, method and recipe; the number of epochs is left out, as the pace does not depend on it."""
    recipe = repr(sorted((k, repr(v)) for k, v in spec.recipe.items() if k not in ("epochs", "optimizer", "schedule")))
    method = repr([spec.method, sorted(spec.hyperparameters.items())])
    data = repr([spec.cell.kind, spec.cell.dataset, sorted(spec.cell.data_options.items())])
    return [("row", method, recipe, spec.cell.manifest, spec.curves), ("method", spec.method, recipe, data),
            ("recipe", recipe, data)]  # fmt: skip


def _rates(record: Record) -> tuple[float, float, float] | None:
    trained, tested = (sum(record.per_class.get(name, [])) for name in ("train_images", "test_images"))
    facts = [record.environment.get(name) for name in ("seconds", "train_seconds", "test_seconds")]
    images = record.spec.recipe["epochs"] * trained
    if not images or not tested or not all(isinstance(fact, int | float) for fact in facts):
        return None
    whole, train, test = (float(fact) for fact in facts if fact is not None)
    return train / images, test / tested, max(0.0, whole - train - test)


class Total(NamedTuple):
    """What the known lines add up to: hours of all trials one after the other, and by the clock with those that run
    side by side; how many trials nothing is known of."""

    trial_hours: float
    wall_hours: float
    unknown: int


def total(lines: Sequence[Line]) -> Total:
    known = [(line, line.seconds) for line in lines if line.seconds is not None]
    worked = sum(seconds * line.trials for line, seconds in known)
    wall = sum(seconds * line.trials / line.at_once for line, seconds in known)
    longest = max((seconds for _, seconds in known), default=0.0)
    unknown = sum(line.trials for line in lines if line.seconds is None)
    return Total(worked / 3600, max(wall, longest) / 3600, unknown)


def as_pace(steps: Sequence[float], batch_size: int) -> Pace:
    """The pace that times of steps give: their mean, and for a test image a third of a training image, as it is only
    sent forward."""
    each = statistics.fmean(steps) / batch_size
    return Pace(each, each / 3, 0.0, f"{len(steps)} steps measured now")


def pace_of(record: Record) -> Pace | None:
    """The pace of a trial that ran to its end."""
    rates = _rates(record)
    return None if rates is None else Pace(*rates, basis="the whole trial, measured now")
