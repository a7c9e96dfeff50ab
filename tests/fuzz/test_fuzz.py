"""2,000 inputs of `make fuzz`, always the same ones; and inputs that were accepted or ended in a traceback once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.target import run
from tests.fuzz.targets import TARGETS, share

INPUTS = 2000


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_changed_by_chance_is_read_or_refused(name: str, tmp_path: Path) -> None:
    inputs = share(list(TARGETS), INPUTS)[name]
    outcome = run(name, TARGETS[name], tmp_path, range(inputs))
    assert not outcome.faults, "\n".join(f"{name} {number}: {fault}" for number, fault in outcome.faults.items())
    assert outcome.inputs == inputs
    assert outcome.accepted > 0, "none was good enough to be looked at"
