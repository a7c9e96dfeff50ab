"""A suite's data sets as cells: which images train, are held out, and test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ltbench.data.longtail import manifest, select
from ltbench.data.sources.kinds import open_source
from ltbench.data.sources.source import Source
from ltbench.errors import UserError
from ltbench.spec import Cell
from ltbench.suite import DatasetEntry, Suite


class SuiteData:
    """A suite's data sets. Each is opened when it is first asked for.

    Args:
        folder: where data sets and caches lie.
    """

    def __init__(self, suite: Suite, folder: Path) -> None:
        self._suite, self._folder = suite, folder
        self._entries = {entry.name: entry for entry in suite.datasets}
        self.sources: dict[str, Source] = {}

    @property
    def names(self) -> list[str]:
        """All data sets of the suite, opened or not."""
        return list(self._entries)

    def source(self, name: str) -> Source:
        """The source of a data set.

        Raises:
            UserError: the data are not there, or cannot be used.
        """
        if name not in self.sources:
            entry = self._entries[name]
            source = open_source(entry.kind or entry.name, self._folder, entry.path, entry.model_extra)
            source.facts()
            self.sources[name] = source
        return self.sources[name]

    def cells(self, names: list[str]) -> list[Cell]:
        """The cells of some data sets: one for every imbalance factor.

        Raises:
            UserError: unusable data, or an imbalance factor that the data cannot give.
        """
        holdout = self._suite.protocol.holdout_per_class
        return [cell for name in names for cell in self._cells_of(self._entries[name], holdout)]

    def cells_of_search(self) -> list[Cell]:
        """The cells of all data sets with the hold-out of the suite's search: one setting serves them all.

        Raises:
            UserError: as `cells`, or there are too few images to hold out.
        """
        search = self._suite.protocol.search
        if search is None:
            return []
        with_holdout = (self._cells_of(entry, search.holdout_per_class, "protocol.search: ")
                        for entry in self._suite.datasets)  # fmt: skip
        return [cell for cells in with_holdout for cell in cells]

    def _cells_of(self, entry: DatasetEntry, holdout: int, place: str = "") -> Iterator[Cell]:
        source = self.source(entry.name)
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
