"""Exported trials, run by several processes that share a folder of records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ltbench.execution import exported
from ltbench.execution.exported import run_files
from ltbench.spec import Record, TrialSpec
from ltbench.training.site import Site


def test_a_process_that_is_done_does_not_take_the_checkpoints_of_another(
    make_spec: Callable[..., TrialSpec], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one to leave takes the empty folder away; a trial that begins later has one all the same."""
    files = []
    for seed in (0, 1):
        spec = make_spec("ce", seed=seed, recipe={"epochs": 1.0})
        files.append(tmp_path / f"{spec.key}.json")
        files[-1].write_text(json.dumps({**spec.to_json(), "paths": {}}))
    plain = exported.run_trial

    def another_ends(*given: Any) -> Record:
        record = plain(*given)
        (tmp_path / "out" / "checkpoints").rmdir()
        return record

    monkeypatch.setattr(exported, "run_trial", another_ends)
    records = run_files(files, tmp_path / "out", site)
    assert [record.status for record in records] == ["ok", "ok"]
    assert not any("checkpoint_messages" in record.environment for record in records)
