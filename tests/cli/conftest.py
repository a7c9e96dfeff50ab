"""Records for the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltbench.results.journal import Journal
from ltbench.spec import Record
from tests.cli.made import Make


@pytest.fixture
def records(tmp_path: Path, make_spec: Make) -> Path:
    """A folder of made-up records: two methods, three seeds."""
    journal = Journal(tmp_path / "made" / "records")
    for method, mean in (("ce", 50.0), ("mixup", 60.0)):
        for seed in range(3):
            value = mean + 0.1 * seed * (1 if method == "ce" else -1)
            metrics = {"accuracy": value, "balanced_accuracy": value, "many": value, "medium": value, "few": None,
                       "worst_class": value}  # fmt: skip
            journal.write(Record(spec=make_spec(method, seed=seed), status="ok", metrics=metrics))
    return journal.folder
