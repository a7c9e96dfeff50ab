"""What is kept of a plan: its form on the disk is that of earlier versions."""

from __future__ import annotations

import json
from pathlib import Path

from ltbench.spec import Expectation

KEPT = Path(__file__).parents[2] / "results" / "reference" / "quickstart" / "plan.json"


def test_a_recorded_plan_is_read_and_written_byte_for_byte() -> None:
    text = KEPT.read_text(encoding="utf-8")
    assert json.dumps(Expectation.from_json(json.loads(text)).to_json(), indent=1) == text


def test_parts_that_an_earlier_version_did_not_write_stay_absent() -> None:
    data = json.loads(KEPT.read_text(encoding="utf-8"))
    for name in ("kinds", "as_published", "recipes", "methods"):
        del data[name]
    assert Expectation.from_json(data).to_json() == data
