"""What `ltbench verify` found, kept beside a suite's records, for the boards that are made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ltbench.errors import UserError
from ltbench.spec import KEY
from ltbench.spec.validation import is_number, is_text
from ltbench.system.files import read_patiently, write_atomically

FILE = "verified.json"
NEAR = 1e-9
"""Metrics that come back from MLflow are those of the record to this many points."""


@dataclass(frozen=True)
class Mark:
    """One trial that ran again.

    Attributes:
        verdict: identical, agrees, differs or failed. holds: the record is confirmed.
        machine: where it ran again. when: the day, as 2026-01-31.
        metrics: those of the record at that time: of a record that has others today, the mark says nothing.
    """

    verdict: str
    holds: bool
    machine: str
    when: str
    metrics: Mapping[str, float | None]

    def is_of(self, metrics: Mapping[str, float | None]) -> bool:
        """Whether the mark is of a result with these metrics."""
        common = [n for n in self.metrics.keys() & metrics.keys() if None not in (self.metrics[n], metrics[n])]
        pairs = [(self.metrics[name], metrics[name]) for name in common]
        return bool(pairs) and all(abs(a - b) < NEAR for a, b in pairs if a is not None and b is not None)


def read_marks(records: Path) -> dict[str, Mark]:
    """The marks beside a folder of records, by key; none where the file is not there, or no more what was written."""
    file = records.parent / FILE
    try:
        data = json.loads(read_patiently(file).decode("utf-8"))
        return {key: Mark(**mark) for key, mark in data["trials"].items() if KEY.fullmatch(key) and _sound(mark)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _sound(mark: Any) -> bool:
    texts = all(is_text(mark[name]) for name in ("verdict", "machine", "when"))
    return texts and type(mark["holds"]) is bool and all(v is None or is_number(v) for v in mark["metrics"].values())


def write_marks(records: Path, marks: Mapping[str, Mark]) -> Path:
    """Add marks to those beside a folder of records; a newer one replaces that of the same trial.

    Raises:
        UserError: it cannot be written.
    """
    file = records.parent / FILE
    everything = {**read_marks(records), **marks}
    data = {"schema": 1, "trials": {key: asdict(everything[key]) for key in sorted(everything)}}
    try:
        write_atomically(file, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from error
    return file
