"""Where a board's numbers come from, as far as that is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is known of the numbers that a board was made of.

    Attributes:
        file: a file of scores made elsewhere, by name: how they were trained is not known. Empty: ltbench's records.
        journal: the folder of records that completes what MLflow has; empty where all came from one place.
        only_there: keys of the trials that the journal alone has.
        stale: row -> why its results are not what today's code would give.
    """

    file: str = ""
    journal: str = ""
    only_there: frozenset[str] = frozenset()
    stale: Mapping[str, str] = field(default_factory=dict)

    @property
    def elsewhere(self) -> bool:
        """The numbers were made by something else than ltbench."""
        return bool(self.file)

    def places(self, keys: Iterable[str]) -> dict[str, int]:
        """Where these trials were found -> how many; nothing where all came from one place."""
        found = Counter("journal" if key in self.only_there else "MLflow" for key in keys)
        return {"MLflow": found["MLflow"], self.journal: found["journal"]} if found["journal"] else {}


LTBENCH = Origin()
"""Records of ltbench, all from one place."""
