"""A suite's data sets as cells: which images train, are held out, and test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ltbench.data.longtail import manifest, select
from ltbench.data.sources.kinds import open_source
from ltbench.data.sources.source import Source
from ltbench.errors import Problems, UserError
from ltbench.spec import Cell
from ltbench.suite import DatasetEntry


def open_sources(entries: Iterable[DatasetEntry], folder: Path) -> dict[str, Source]:
    """Data set -> its source, with what is known of its images read.

    Args:
        folder: where data sets and caches lie.

    Raises:
        UserError: the data are not there, or cannot be used.
    """
    sources, problems = {}, Problems()
    for entry in entries:
        with problems.kept():
            source = open_source(entry.kind or entry.name, folder, entry.path, entry.model_extra)
            source.facts()
            sources[entry.name] = source
    problems.raise_all()
    return sources


def cells_of(
    entries: Iterable[DatasetEntry], sources: Mapping[str, Source], holdout: int, place: str = ""
) -> list[Cell]:
    """The cells of some data sets: one for every imbalance factor.

    Args:
        sources: the data sets, by name.
        holdout: how many training images of each class are held out.
        place: what stands before an error's text.

    Raises:
        UserError: an imbalance factor or a hold-out that the data cannot give.
    """
    return [cell for entry in entries for cell in _cells_of(entry, sources[entry.name], holdout, place)]


def _cells_of(entry: DatasetEntry, source: Source, holdout: int, place: str) -> Iterator[Cell]:
    facts = source.facts()
    factors: list[float | None] = [*entry.imbalance] if entry.imbalance else [None]
    for imbalance in factors:
        try:
            train, held = select(
                facts.train_counts,
                imbalance=imbalance,
                profile=entry.profile,
                subset_seed=entry.subset_seed,
                order=str(entry.class_order),
                holdout_per_class=holdout,
            )
        except UserError as error:
            raise UserError(f"{place}data set {entry.name!r}: {error}") from error
        yield Cell(
            dataset=entry.name,
            kind=source.kind,
            imbalance=imbalance,
            profile=entry.profile,
            subset_seed=entry.subset_seed,
            class_order=str(entry.class_order),
            holdout_per_class=holdout,
            options=source.chosen,
            manifest=manifest(facts.fingerprint, source.chosen, train, held),
        )
