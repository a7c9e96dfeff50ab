"""Full and read-only disks, damaged files, a clock that goes back: named, nothing half-written, and it goes on."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench import cli
from ltbench.errors import UserError
from ltbench.results.folders import Folders
from ltbench.results.journal import Journal
from ltbench.spec import Cell, Record, TrialSpec
from ltbench.system.uris import default_uri
from ltbench.tracking import mlflow_board, mlflow_client, mlflow_store
from ltbench.tracking.aggregates import Aggregate
from ltbench.tracking.delivery import Tracker, deliver
from ltbench.tracking.ledger import Ledger
from ltbench.tracking.mlflow_runs import Times
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.sampling import sampled
from tests.tracking.made import PATIENT

SPEC = TrialSpec(
    suite="test", cell=Cell(dataset="digits", kind="digits", imbalance=20.0, manifest="m"), label="ce", method="ce",
    hyperparameters={}, code="c", recipe_name="r", recipe={"epochs": 1.0}, seed=0,
)  # fmt: skip
RECORD = Record(spec=SPEC, status="ok", metrics={"accuracy": 50.0}, predictions=b"x" * 20_000)
Run = Callable[..., tuple[int, str]]


class Disk:
    """A file system of its own, small enough to be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True,
                       capture_output=True)  # fmt: skip

    def fill(self, leave: int = 0) -> None:
        """Until only `leave` bytes, in whole pages, are left."""
        with contextlib.suppress(OSError), (self.folder / "fill").open("wb", buffering=0) as stream:
            while True:
                stream.write(b"x" * 4096)
        with (self.folder / "fill").open("r+b") as stream:
            stream.truncate(max(0, (self.folder / "fill").stat().st_size - leave))

    def make_room(self) -> None:
        (self.folder / "fill").unlink()

    def scratch(self) -> list[str]:
        """Files that someone left half-written."""
        return [str(f) for f in self.folder.rglob(".*-*")]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    made.folder.mkdir()
    try:
        made.mount("size=256k")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting takes rights that this user does not have")
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", str(made.folder)], check=True)


@pytest.fixture
def ltbench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], data_root: Path, tmp_path: Path) -> Run:
    """`ltbench(results)`: two trials of a tenth of a second; exit code and stderr."""
    monkeypatch.setenv("LTBENCH_DATA", str(data_root))

    def run(results: Path, *more: str) -> tuple[int, str]:
        small = ["recipes.scratch.epochs=0.2", "recipes.scratch.backbone=mlp", "datasets.0.imbalance=[20]"]
        arguments = ["run", "quickstart", "--inline", "--only", "ce", "--seeds", "0,1", "--results", str(results)]
        store = ["--tracking-uri", default_uri(tmp_path)]
        sets = [word for value in small for word in ("--set", value)]
        monkeypatch.setattr(sys, "argv", ["ltbench", *arguments, *sets, *(more or store)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        told = capfd.readouterr().err
        assert "Traceback" not in told
        return code, told

    return run


# -- full --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [0, 4096, 8192, 20_480, 24_576])
@pytest.mark.parametrize("before", [False, True], ids=["first", "replacing"])
def test_a_record_is_on_a_full_disk_whole_or_not_at_all(before: bool, leave: int, disk: Disk) -> None:
    journal = Journal(disk.folder / "test" / "records")
    old = replace(RECORD, status="failed", metrics={}, error="boom", predictions=b"old")
    other = replace(old, spec=replace(SPEC, seed=9))
    for record in (other, old) if before else (other,):
        journal.write(record)
    disk.fill(leave)
    told = ""
    try:
        journal.write(RECORD)
    except UserError as error:
        told = str(error)
    if told:
        assert f"{RECORD.key} cannot be written (No space left on device); make room" in told
        assert journal.read(RECORD.key) == (old if before else None)
        assert journal.predictions(RECORD.key) == (b"old" if before else None)
    else:
        assert leave > 20_000
    assert journal.read(other.key) == other
    assert disk.scratch() == []
    disk.make_room()
    journal.write(RECORD)
    assert (journal.read(RECORD.key), journal.predictions(RECORD.key)) == (RECORD, RECORD.predictions)


def test_a_ledger_on_a_full_disk_keeps_whole_lines_and_says_so(disk: Disk) -> None:
    file = disk.folder / "mlflow-sent.jsonl"
    ledger = Ledger(file, "http://h")
    for seed in range(40):
        ledger.add(replace(RECORD, spec=replace(SPEC, seed=seed)))
    disk.fill()
    for seed in range(40, 140):
        ledger.add(replace(RECORD, spec=replace(SPEC, seed=seed)))
    assert "No space left on device" in str(ledger.trouble)
    assert all(ledger.has(replace(RECORD, spec=replace(SPEC, seed=seed))) for seed in range(140)), "not sent twice"
    for line in file.read_text().splitlines():
        assert json.loads(line)["store"]
    disk.make_room()
    again = Ledger(file, "http://h")
    again.add(RECORD)
    assert (again.trouble, again.has(RECORD)) == (None, True)


@pytest.mark.slow
def test_records_sent_while_the_ledger_cannot_be_written_arrive_and_the_command_says_so(
    disk: Disk, tmp_path: Path
) -> None:
    folders = Folders(disk.folder, "test")
    folders.journal.write(RECORD)
    disk.fill()
    tracker = Tracker(default_uri(tmp_path), "test", folders.journal, patience=PATIENT)
    tracker.deliver_backlog()
    with pytest.raises(UserError, match=r"mlflow-sent\.jsonl: cannot be written \(No space left"):
        tracker.close()
    disk.make_room()
    assert deliver(default_uri(tmp_path), "test", folders.journal) == (0, 1, 0)
    assert [r.key for r in mlflow_store._results(_runs(tmp_path), "test")] == [RECORD.key]


def _runs(folder: Path) -> list[object]:
    client = mlflow_client.client_of(default_uri(folder))
    return list(mlflow_client.runs_of(client, client.get_experiment_by_name("test").experiment_id))


@pytest.mark.slow
def test_a_command_on_a_full_disk_ends_with_code_2_and_goes_on_when_there_is_room(disk: Disk, ltbench: Run) -> None:
    folders = Folders(disk.folder, "quickstart")
    folders.suite_folder.mkdir()
    disk.fill()
    code, told = ltbench(disk.folder)
    assert code == 2
    assert "run.lock: cannot be written (No space left on device); make room" in told
    assert not folders.plan_file.exists()
    disk.make_room()
    disk.fill(leave=24_576)  # room for the plan, not for all records
    code, told = ltbench(disk.folder)
    assert code == 2, told
    assert "No space left on device" in told
    assert disk.scratch() == []
    disk.make_room()
    code, told = ltbench(disk.folder)
    assert code == 0, told
    assert len(folders.journal.records()) == 2


# -- read-only, damaged ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_read_only_folder_of_results_is_code_2_and_can_still_be_read(disk: Disk, ltbench: Run) -> None:
    assert ltbench(disk.folder)[0] == 0
    disk.mount("remount,ro,size=256k")
    code, told = ltbench(disk.folder)
    assert code == 2
    assert "Read-only file system" in told


@pytest.mark.slow
@sampled("damage", ["cut off", "empty", "another version"], ["cut off"])
def test_a_damaged_record_is_named_kept_aside_and_its_trial_runs_again(
    damage: str, tmp_path: Path, ltbench: Run
) -> None:
    results = tmp_path / "results"
    assert ltbench(results)[0] == 0
    journal = Folders(results, "quickstart").journal
    key, record = next(iter(journal.records().items()))
    file = journal.folder / f"{key}.json"
    text = file.read_text()
    bad = {"cut off": text[:-30], "empty": "", "another version": text.replace('"schema": 1', '"schema": 2')}[damage]
    file.write_text(bad)
    code, told = ltbench(results)
    assert code == 0, told
    assert f"{file}: left out:" in told
    assert file.with_name(f"{file.name}.damaged").read_text() == bad
    again = journal.read(key)
    assert again is not None
    assert again.numbers() == record.numbers()
    assert "left out" not in ltbench(results)[1], "once is enough"


# -- the clock ---------------------------------------------------------------------------------------------------------


class Backwards:
    """A clock that is set back an hour every time someone looks."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        self.now -= 3600.0
        return self.now


def test_no_time_in_a_record_is_negative_when_the_clock_goes_back(
    make_spec: Callable[..., TrialSpec], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", Backwards())
    record = run_trial(make_spec("ce", recipe={"epochs": 0.5}), site)
    assert record.status == "ok"
    times = {k: v for k, v in record.environment.items() if k == "started" or "second" in k}
    assert len(times) >= 4
    assert all(value > 0 for value in times.values()), times


@pytest.mark.parametrize(
    "environment",
    [{}, {"started": -5.0, "seconds": -3.0}, {"started": "now", "seconds": None}, {"started": 1e300, "seconds": 1e300}],
)
def test_a_run_in_mlflow_never_ends_before_it_began(environment: dict[str, object]) -> None:
    times = Times.of(replace(RECORD, environment=environment))
    assert 0 <= times.started <= times.ended < 2**63


@pytest.mark.slow
def test_what_is_in_mlflow_has_no_negative_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Folders(tmp_path, "test").journal
    journal.write(replace(RECORD, environment={"started": time.time(), "seconds": 5.0}))
    monkeypatch.setattr(time, "time", Backwards())
    assert deliver(default_uri(tmp_path), "test", journal).sent == 1
    mlflow_board.put_board(default_uri(tmp_path), "test", "v", [Aggregate("ce", {}, {"mean": 1.0})], {})
    client = mlflow_client.client_of(default_uri(tmp_path))
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments)
    assert len(runs) == 3
    assert all(run.info.end_time >= run.info.start_time for run in runs)
