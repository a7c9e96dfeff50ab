"""What is kept of a plan: its form on the disk is that of earlier versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ltbench.spec import Expectation
from ltbench.spec.validation import is_number

KEPT = Path(__file__).parents[2] / "results" / "reference" / "quickstart" / "plan.json"


def test_a_recorded_plan_is_read_and_written_byte_for_byte() -> None:
    text = KEPT.read_text(encoding="utf-8")
    assert json.dumps(Expectation.from_json(json.loads(text)).to_json(), indent=1) == text


def test_parts_that_an_earlier_version_did_not_write_stay_absent() -> None:
    data = json.loads(KEPT.read_text(encoding="utf-8"))
    for name in ("kinds", "as_published", "recipes", "methods"):
        del data[name]
    assert Expectation.from_json(data).to_json() == data


@pytest.mark.parametrize("key", ["seeds", "primary", "report", "reference"])
def test_a_protocol_that_lacks_what_a_board_needs_is_refused(key: str) -> None:
    protocol = {"seeds": [0], "primary": "accuracy", "report": ["few"], "reference": "ce"}
    data = {"suite": "s", "question": "", "protocol": protocol, "rows": {}, "cells": [], "skips": []}
    assert Expectation.from_json(data).protocol == protocol
    del protocol[key]
    with pytest.raises(ValueError, match="its `protocol` is not what ltbench writes"):
        Expectation.from_json(data)


@pytest.mark.parametrize("number", [10**400, -(10**400)])
def test_a_number_too_large_to_compute_with_is_none(number: int) -> None:
    assert not is_number(number)
