"""How long trials will take: from the records of earlier ones on the same device, or from a few measured steps."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ltbench.spec import Record, TrialSpec
from ltbench.spec.validation import is_number

WARM_UP, MEASURED = 3, 10
"""Steps that are taken before, and at least while, a row is measured."""
WARM_UP_ON_GPU = 20
"""There the third step is recorded, and compared after 0, 1, 2, 4, 8 and 16 replays (training/graph/passes.py)."""
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
    """Seconds per example that is trained on and per test image, and of a trial's start; where they are from."""

    per_image: float
    per_test_image: float
    start: float
    basis: str


@dataclass(frozen=True)
class Line:
    """The trials of one row on one cell that are to run. seconds: of one of them; None: nothing is known. at_once: how
    many of the row run side by side. basis: where the seconds are from, in words."""

    label: str
    cell: str
    trials: int
    seconds: float | None
    at_once: int
    basis: str


class Basis(StrEnum):
    """Which earlier trials a pace is from."""

    ROW = "trials of this row"
    METHOD = "trials of this method on this data set"
    RECIPE = "trials of other methods on this data set"


class PaceKey(NamedTuple):
    """Trials that share a key share a pace. identity: what they have in common."""

    basis: Basis
    identity: tuple[str, ...]


Known = Mapping[PaceKey, Pace]
Measure = Callable[[TrialSpec], Pace | None]


def forecast(
    to_run: Sequence[TrialSpec],
    sizes: Mapping[str, Size],
    records: Iterable[Record],
    device: Device,
    at_once: Mapping[str, int],
    measure: Measure = lambda spec: None,
    trainers: Mapping[str, TrialSpec] | None = None,
    each: Callable[[TrialSpec], float] = lambda spec: 1.0,
) -> list[Line]:
    """Row by row, how long the trials take.

    Args:
        sizes: by a cell's manifest. records: earlier ones; those from other devices, with another number of threads,
            and those that were taken up half-way or whose training was another's are not used.
        at_once: by a row's label, how many of its trials run side by side.
        measure: the pace of a row of which nothing is known; asked once for every method, recipe and data set.
        trainers: key of a trial -> the one whose training it takes over (sharing.py).
        each: images that a row reads for an example; asked where every row gets as many images (`budget: images`), so
            that one that reads two trains on half the examples.
    """
    known, measured = paces(records, device), dict[PaceKey, Pace | None]()
    groups: dict[tuple[str, str], list[TrialSpec]] = {}
    for spec in to_run:
        groups.setdefault((spec.row, spec.cell.label), []).append(spec)
    lines = []
    for (label, cell), specs in groups.items():
        pace = _pace(specs[0], known, measured, measure)
        shared = [trainers[spec.key].row for spec in specs if trainers and spec.key in trainers]
        seconds, basis = None, ""
        if pace is not None:
            size, epochs = sizes[specs[0].cell.manifest], specs[0].recipe["epochs"]
            epochs /= each(specs[0]) if specs[0].recipe.get("budget") == "images" else 1.0
            whole, tested = seconds_of(pace, epochs, size), seconds_of(pace, 0.0, size)
            seconds = (whole * (len(specs) - len(shared)) + tested * len(shared)) / len(specs)
            basis = pace.basis
        if shared:
            whom = ", ".join(dict.fromkeys(shared))
            basis += f"{', ' if basis else ''}{len(shared)} trained with {whom}"
        lines.append(Line(label, cell, len(specs), seconds, max(1, at_once.get(label, 1)), basis))
    return lines


def _pace(spec: TrialSpec, known: Known, measured: dict[PaceKey, Pace | None], measure: Measure) -> Pace | None:
    """Of earlier trials of the row or the method; else as measured now; else of other methods."""
    row, method, recipe = _keys(spec)
    for key in (row, method):
        if key in known:
            return known[key]
    if method not in measured:
        measured[method] = measure(spec)
    return measured[method] or known.get(recipe)


def seconds_of(pace: Pace, epochs: float, size: Size) -> float:
    """How long a trial takes that trains for so many epochs, an example for every training image, and tests once."""
    return pace.start + pace.per_image * epochs * size.train + pace.per_test_image * size.test


def paces(records: Iterable[Record], device: Device) -> Known:
    """Medians of what the records say, by row, by method and by recipe."""
    earlier: dict[PaceKey, list[Pace]] = {}
    for record in records:
        facts = record.environment
        here = facts.get("device") == device.name and facts.get("threads") == device.threads
        whole = here and record.status == "ok" and "trained_by" not in facts and not facts.get("resumed")
        if whole and (pace := pace_of(record)) is not None:
            for key in _keys(record.spec):
                earlier.setdefault(key, []).append(pace)
    return {key: _median(paces, key.basis) for key, paces in earlier.items()}


def _median(paces: Sequence[Pace], basis: Basis) -> Pace:
    n = len(paces)
    return Pace(
        statistics.median(pace.per_image for pace in paces),
        statistics.median(pace.per_test_image for pace in paces),
        statistics.median(pace.start for pace in paces),
        f"{n} earlier {basis.value if n > 1 else basis.value.replace('trials', 'trial')}",
    )


def _keys(spec: TrialSpec) -> tuple[PaceKey, PaceKey, PaceKey]:
    """The same row on the same images, the same method and recipe on the data set, and the recipe on the data set,
    whatever the method. Epochs and budget are left out, as the pace of an example does not depend on them."""
    known = {k: v for k, v in spec.recipe.items() if k not in ("epochs", "budget", "optimizer", "schedule")}
    recipe = repr(sorted((k, repr(v)) for k, v in known.items()))
    method = repr([spec.method, sorted(spec.hyperparameters.items())])
    data = repr([spec.cell.kind, spec.cell.dataset, sorted(spec.cell.data_options.items())])
    row = (method, recipe, spec.cell.manifest, spec.curves)
    return (
        PaceKey(Basis.ROW, row),
        PaceKey(Basis.METHOD, (spec.method, recipe, data)),
        PaceKey(Basis.RECIPE, (recipe, data)),
    )


class Total(NamedTuple):
    """What the known lines add up to: hours of all trials one after the other, and by the clock with those that run
    side by side; how many trials nothing is known of."""

    trial_hours: float
    wall_hours: float
    unknown: int


def total(lines: Sequence[Line]) -> Total:
    """Add the lines up; the clock cannot be shorter than the longest trial."""
    known = [(line, line.seconds) for line in lines if line.seconds is not None]
    worked = sum(seconds * line.trials for line, seconds in known)
    wall = sum(seconds * line.trials / line.at_once for line, seconds in known)
    longest = max((seconds for _, seconds in known), default=0.0)
    unknown = sum(line.trials for line in lines if line.seconds is None)
    return Total(worked / 3600, max(wall, longest) / 3600, unknown)


def as_pace(steps: Sequence[float], batch_size: int) -> Pace:
    """The pace that steps of so many seconds give: their mean, and for a test image a third of a training image, as it
    is only sent forward."""
    each = statistics.fmean(steps) / batch_size
    return Pace(each, each / 3, 0.0, f"{len(steps)} steps measured now")


def pace_of(record: Record) -> Pace | None:
    """The pace of a trial that ran to its end; None where its record lacks times or images."""
    trained, tested = (sum(record.per_class.get(name, [])) for name in ("train_images", "test_images"))
    facts = record.environment
    seconds = [facts.get(name) for name in ("seconds", "train_seconds", "test_seconds")]
    each = facts.get("images_per_example") if record.spec.recipe.get("budget") == "images" else 1.0
    if not is_number(each) or not each:
        return None  # an earlier version's record, which does not say how many examples it trained on
    images = record.spec.recipe["epochs"] * trained / each
    if not images or not tested or not all(isinstance(second, int | float) for second in seconds):
        return None
    whole, train, test = (float(second) for second in seconds if second is not None)
    return Pace(train / images, test / tested, max(0.0, whole - train - test), "the whole trial, measured now")
