"""Exported trials, run by several processes that share a folder of records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench.errors import UserError
from ltbench.execution import exported
from ltbench.execution.exported import run_files
from ltbench.spec import Record, TrialSpec
from ltbench.training.site import Site


def files_of(folder: Path, *specs: TrialSpec) -> list[Path]:
    """Trials as `ltbench plan --export` writes them."""
    files = [folder / f"{spec.key}.json" for spec in specs]
    for file, spec in zip(files, specs, strict=True):
        file.write_text(json.dumps({**spec.to_json(), "paths": {}}))
    return files


def test_a_process_that_is_done_does_not_take_the_checkpoints_of_another(
    make_spec: Callable[..., TrialSpec], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one to leave takes the empty folder away; a trial that begins later has one all the same."""
    files = files_of(tmp_path, *(make_spec("ce", seed=seed, recipe={"epochs": 1.0}) for seed in (0, 1)))
    plain = exported.run_trial

    def another_ends(*given: Any) -> Record:
        record = plain(*given)
        (tmp_path / "out" / "checkpoints").rmdir()
        return record

    monkeypatch.setattr(exported, "run_trial", another_ends)
    records = run_files(files, tmp_path / "out", site)
    assert [record.status for record in records] == ["ok", "ok"]
    assert not any("checkpoint_messages" in record.environment for record in records)


def test_trials_on_streams_have_the_records_of_the_same_one_after_the_other(
    make_spec: Callable[..., TrialSpec], site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = ("ce", "mixup", "text_guided_mixup")
    files = files_of(tmp_path, *(make_spec(method, recipe={"epochs": 1.0}) for method in methods))
    np.savez(tmp_path / "texts.npz", **site.texts)
    alone = run_files(files, tmp_path / "alone", site)
    first = run_files(files[:1], tmp_path / "together", site)
    together = run_files([*files, files[-1]], tmp_path / "together", site, streams=2)
    assert [r.metrics for r in together] == [r.metrics for r in (*alone, alone[-1])]
    assert "trials_at_once" not in first[0].environment, "it was finished before"
    assert [r.environment.get("trials_at_once") for r in together] == [None, 2, 2, 2]
    assert capsys.readouterr().out.count(": ok, balanced accuracy ") == 3 + 1 + 4
    assert not (tmp_path / "together" / "checkpoints").exists()


def test_a_fault_of_the_gpu_ends_the_process_and_the_same_command_runs_the_others(
    make_spec: Callable[..., TrialSpec], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(tmp_path, *(make_spec("ce", seed=seed, recipe={"epochs": 1.0}) for seed in (0, 1)))

    def fails(spec: TrialSpec, site: Site) -> Record:
        return Record(spec=spec, status="failed", error="CUDA error: unspecified", environment={"gpu_lost": True})

    monkeypatch.setattr(exported, "run_trial", fails)
    with pytest.raises(UserError, match="the same command runs the others"):
        run_files(files, tmp_path / "out", site)
    assert [record.status for record in run_files(files, tmp_path / "out", site)] == ["failed", "failed"]


def test_what_ran_out_of_memory_on_streams_runs_again_by_itself(
    make_spec: Callable[..., TrialSpec],
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = files_of(tmp_path, *(make_spec("ce", seed=seed, recipe={"epochs": 0.1}) for seed in (0, 1)))

    def no_room(spec: TrialSpec, site: Site, *how: Any) -> Record:
        return Record(spec=spec, status="failed", error="CUDA out of memory.", environment={"out_of_memory": True})

    monkeypatch.setattr("ltbench.execution.here.streams.run_trial", no_room)
    records = run_files(files, tmp_path / "out", site, streams=2)
    assert [record.status for record in records] == ["ok", "ok"]
    assert capsys.readouterr().out.count("the GPU's memory did not suffice; runs again by itself") == 2
