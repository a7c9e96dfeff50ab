"""Where a board's numbers come from, as far as that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What is known of the numbers that a board was made of.

    Attributes:
        file: a file of scores made elsewhere, by name: how they were trained is not known. Empty: ltbench's records.
        places: where the trials were found -> how many; empty where all came from one place.
        stale: row -> why its results are not what today's code would give.
    """

    file: str = ""
    places: Mapping[str, int] = field(default_factory=dict)
    stale: Mapping[str, str] = field(default_factory=dict)

    @property
    def elsewhere(self) -> bool:
        """The numbers were made by something else than ltbench."""
        return bool(self.file)


LTBENCH = Origin()
"""Records of ltbench, all from one place."""
