"""The journal: a crash at any moment leaves the old record or the new one; a damaged file is named, not believed."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench.errors import UserError
from ltbench.results import journal as records_module
from ltbench.results.journal import Journal, Unreadable, read_record
from ltbench.spec import Cell, Record, Result, TrialSpec
from ltbench.system.files import write_atomically
from ltbench.tracking import mlflow_runs

SPEC = TrialSpec(
    suite="s", cell=Cell(dataset="digits", kind="digits", imbalance=20.0, manifest="m"), label="ce", method="ce",
    hyperparameters={}, code="c", recipe_name="r", recipe={"epochs": 1.0}, seed=0,
)  # fmt: skip
OLD = Record(spec=SPEC, status="failed", error="boom")
NEW = Record(
    spec=SPEC,
    status="ok",
    metrics={"accuracy": 100.0 / 3, "few": None},
    per_class={"recall": [50.0, 0.1 + 0.2]},
    curves={"train/loss": [[1.0, 0.5]]},
    environment={"host": "Rechner ü", "seconds": 1.5, "class_names": ["null", "eins"]},
    predictions=b"PK\x03\x04 not really",
)
FILE = f"{SPEC.key}.json"
Break = Callable[[str], None]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "records")


def files_in(journal: Journal) -> set[str]:
    return {f.name for f in journal.folder.iterdir()} if journal.folder.exists() else set()


# -- round trips -------------------------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_written(journal: Journal) -> None:
    journal.write(NEW)
    assert journal.read(NEW.key) == NEW
    assert journal.records() == {NEW.key: NEW}


def test_an_undefined_metric_comes_back_as_none(journal: Journal) -> None:
    journal.write(NEW)
    assert journal.records()[NEW.key].metrics["few"] is None


def test_predictions_lie_beside_the_record(journal: Journal) -> None:
    journal.write(NEW)
    assert journal.predictions(NEW.key) == NEW.predictions
    assert files_in(journal) == {FILE, f"{NEW.key}.npz"}


def test_a_record_without_predictions_leaves_no_file_for_them(journal: Journal) -> None:
    journal.write(OLD)
    assert journal.predictions(OLD.key) is None
    assert files_in(journal) == {FILE}


def test_a_key_that_is_not_there_is_none(journal: Journal) -> None:
    assert journal.read("0" * 12) is None
    assert list(journal) == []


def test_a_newer_record_replaces_an_older_one_of_the_same_trial(journal: Journal) -> None:
    journal.write(OLD)
    journal.write(NEW)
    assert [r.status for r in journal.records().values()] == ["ok"]


@given(
    metrics=st.dictionaries(
        st.text(max_size=5), st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=4
    )
)
def test_any_finite_metrics_come_back_bit_by_bit(
    metrics: dict[str, float | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    journal = Journal(tmp_path_factory.mktemp("any", numbered=True))
    journal.write(replace(NEW, metrics=metrics))
    assert journal.records()[NEW.key].metrics == metrics


def test_a_metric_that_is_not_a_number_is_never_written(journal: Journal) -> None:
    with pytest.raises(ValueError, match="JSON"):
        journal.write(replace(NEW, metrics={"accuracy": float("nan")}))
    assert FILE not in files_in(journal)


def test_a_record_file_can_be_read_by_others(journal: Journal) -> None:
    """mkstemp makes files for one's own eyes; a journal on shared storage is for a team."""
    assert journal.write(NEW).stat().st_mode & 0o777 == 0o644


# -- crashes -----------------------------------------------------------------------------------------------------------


def no_space(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., Any]], None]:
    """`breaks("os.replace", no_space)`: from now on that call of the journal fails."""

    def arm(where: str, how: Callable[..., Any]) -> None:
        module, name = where.split(".")
        monkeypatch.setattr(getattr(records_module, module), name, how)

    return arm


STEPS = ["os.replace", "os.fsync", "os.chmod", "os.fdopen", "tempfile.mkstemp"]


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_leaves_the_old_record_and_no_scratch_file(
    step: str, journal: Journal, breaks: Callable[..., None]
) -> None:
    journal.write(OLD)
    breaks(step, no_space)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); make room"):
        journal.write(replace(NEW, predictions=None))
    assert journal.read(OLD.key) == OLD
    assert files_in(journal) == {FILE}


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_leaves_nothing_where_nothing_was(step: str, journal: Journal, breaks: Callable[..., None]) -> None:
    breaks(step, no_space)
    with pytest.raises(UserError, match=SPEC.key):
        journal.write(NEW)
    assert files_in(journal) == set()


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupt_while_writing_leaves_the_old_record_and_goes_through(
    step: str, journal: Journal, breaks: Callable[..., None]
) -> None:
    journal.write(OLD)
    breaks(step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        journal.write(NEW)
    assert journal.read(OLD.key) == OLD
    assert files_in(journal) == {FILE}


def test_a_write_that_stops_half_way_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.json"
    write_atomically(file, b"old")
    fdopen = os.fdopen

    def limited(handle: int, mode: str) -> Any:
        stream = fdopen(handle, mode, buffering=0)
        real = stream.write

        class Half:
            def __enter__(self) -> Half:
                return self

            def __exit__(self, *_: object) -> None:
                stream.close()

            def write(self, content: bytes) -> int:
                real(content[: len(content) // 2])
                return int(no_space())

        return Half()

    monkeypatch.setattr(os, "fdopen", limited)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, b"new and longer")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def noted(calls: list[str], name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, which also writes its name down."""

    def call(*arguments: Any) -> Any:
        calls.append(name)
        return real(*arguments)

    return call


def test_the_contents_are_on_the_disk_before_they_get_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(calls, name, getattr(os, name)))
    write_atomically(tmp_path / "x.json", b"text")
    assert calls == ["fsync", "replace", "fsync"], "the file, its name, the folder"


def test_a_folder_that_cannot_be_made_is_an_error_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"choose another --results"):
        Journal(tmp_path / "taken").write(NEW)


def test_a_record_is_never_seen_without_its_predictions(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions first: whoever finds the record finds them too."""
    names: list[str] = []
    real = os.replace

    def note(source: str, target: Path) -> None:
        names.append(target.suffix)
        real(source, target)

    monkeypatch.setattr(os, "replace", note)
    journal.write(NEW)
    assert names == [".npz", ".json"]


def test_a_scratch_file_of_a_killed_process_is_no_record(journal: Journal) -> None:
    journal.write(NEW)
    (journal.folder / f".{FILE}-abc123").write_text("{")
    assert [type(r) for r in journal] == [Record]


# -- damaged and foreign files -----------------------------------------------------------------------------------------

GOOD = NEW.to_json()


def with_key(spec: dict[str, Any]) -> bytes:
    """A record of that spec, as another program might write it: it claims no key."""
    return json.dumps({**GOOD, "spec": {k: v for k, v in spec.items() if k != "key"}}).encode()


FOREIGN: dict[str, bytes] = {
    "empty": b"",
    "truncated": json.dumps(GOOD).encode()[:-40],
    "not_text": b"\xff\xfe\x00",
    "words": b"hello",
    "null": b"null",
    "list": b"[]",
    "number": b"5",
    "no_schema": json.dumps({k: v for k, v in GOOD.items() if k != "schema"}).encode(),
    "later_schema": json.dumps({**GOOD, "schema": 2}).encode(),
    "no_spec": json.dumps({k: v for k, v in GOOD.items() if k != "spec"}).encode(),
    "no_status": json.dumps({k: v for k, v in GOOD.items() if k != "status"}).encode(),
    "unknown_field": json.dumps({**GOOD, "colour": "red"}).encode(),
    "spec_is_a_list": json.dumps({**GOOD, "spec": []}).encode(),
    "spec_is_null": json.dumps({**GOOD, "spec": None}).encode(),
    "cell_is_a_text": json.dumps({**GOOD, "spec": {**GOOD["spec"], "cell": "x"}}).encode(),
    "values_are_a_number": json.dumps({**GOOD, "spec": {**GOOD["spec"], "hyperparameters": 5}}).encode(),
    "not_a_number": json.dumps({**GOOD, "spec": {**GOOD["spec"], "recipe": {"lr": float("nan")}}}).encode(),
    "edited": json.dumps({**GOOD, "spec": {**GOOD["spec"], "seed": 9}}).encode(),
    "deep": b"[" * 100_000,
    "unknown_status": json.dumps({**GOOD, "status": "perhaps"}).encode(),
    "metrics_are_null": json.dumps({**GOOD, "metrics": None}).encode(),
    "metrics_are_a_list": json.dumps({**GOOD, "metrics": [1.0]}).encode(),
    "metric_is_a_text": json.dumps({**GOOD, "metrics": {"few": "high"}}).encode(),
    "metric_is_not_a_number": json.dumps({**GOOD, "metrics": {"few": float("nan")}}).encode(),
    "fact_is_infinite": json.dumps({**GOOD, "environment": {"load": [float("inf")]}}).encode(),
    "fact_is_too_large": json.dumps({**GOOD, "environment": {"x": 5.25}}).replace("5.25", "1e999").encode(),
    "seconds_are_a_text": json.dumps({**GOOD, "environment": {"seconds": "5"}}).encode(),
    "columns_of_two_lengths": json.dumps({**GOOD, "per_class": {"recall": [1.0], "n": [1, 2]}}).encode(),
    "curve_without_epochs": json.dumps({**GOOD, "curves": {"train/loss": [1.0]}}).encode(),
    "error_is_a_list": json.dumps({**GOOD, "error": ["boom"]}).encode(),
    "seed_is_negative": with_key({**GOOD["spec"], "seed": -1}),
    "seed_is_true": with_key({**GOOD["spec"], "seed": True}),
    "shots_are_texts": with_key({**GOOD["spec"], "shots": {"many": "a", "few": "b"}}),
    "seed_is_a_text": with_key({**GOOD["spec"], "seed": "zero"}),
    "imbalance_is_a_text": with_key({**GOOD["spec"], "cell": {**GOOD["spec"]["cell"], "imbalance": "much"}}),
    "label_is_a_number": with_key({**GOOD["spec"], "label": 5}),
}


@pytest.mark.parametrize("damage", FOREIGN)
def test_a_damaged_file_is_unreadable_with_its_name_and_a_reason(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(FOREIGN[damage])
    found = read_record(file)
    assert isinstance(found, Unreadable)
    assert found.file == file
    assert found.reason.strip()


@pytest.mark.parametrize("damage", FOREIGN)
def test_a_trial_whose_record_is_damaged_counts_as_not_run(damage: str, journal: Journal) -> None:
    journal.folder.mkdir()
    (journal.folder / FILE).write_bytes(FOREIGN[damage])
    assert journal.read(SPEC.key) is None


@pytest.mark.parametrize("damage", FOREIGN)
def test_a_damaged_file_is_kept_aside_when_its_trial_ran_again(damage: str, journal: Journal) -> None:
    journal.folder.mkdir()
    for _ in range(2):
        (journal.folder / FILE).write_bytes(FOREIGN[damage])
        (journal.folder / FILE).with_suffix(".npz").write_bytes(b"old")
        journal.write(NEW)
    assert journal.read(NEW.key) == NEW
    assert journal.predictions(NEW.key) == NEW.predictions
    for name in (f"{FILE}.damaged", f"{FILE}.damaged2"):
        assert (journal.folder / name).read_bytes() == FOREIGN[damage]
    assert (journal.folder / f"{NEW.key}.npz.damaged").read_bytes() == b"old"
    assert list(journal.records()) == [NEW.key]


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "", "ABCDEF012345", "0123456789ab/../x"])
def test_a_key_that_is_none_names_no_file(key: str, journal: Journal, tmp_path: Path) -> None:
    journal.folder.mkdir()
    for name in ("outside.npz", "outside.json"):
        (tmp_path / name).write_text("secret")
    assert journal.predictions(key) is None
    assert journal.read(key) is None


def test_a_record_under_the_name_of_another_trial_is_not_taken_for_it(journal: Journal) -> None:
    file = journal.write(NEW)
    file.rename(journal.folder / f"{'0' * 12}.json")
    assert journal.read("0" * 12) is None


def test_a_damaged_record_does_not_hide_the_others(journal: Journal) -> None:
    journal.write(NEW)
    (journal.folder / "0.json").write_text("{")
    assert list(journal.records()) == [NEW.key]
    assert [type(r) for r in journal] == [Unreadable, Record]


@given(length=st.integers(1, len(json.dumps(GOOD)) - 2))
def test_a_record_cut_off_anywhere_is_unreadable(length: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("cut", numbered=True) / "x.json"
    file.write_text(json.dumps(GOOD)[:length])
    assert isinstance(read_record(file), Unreadable)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["../x", "ok", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def holders(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of nested data."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, child in list(items) for found in [(node, key), *holders(child)]]


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_record_with_any_value_anywhere_is_refused_or_makes_sense(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is accepted can be written again, ranked, sent to MLflow and read back from there, and names nothing
    outside its folder."""
    changed = json.loads(json.dumps(GOOD))
    del changed["spec"]["key"]
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(holders(changed)))
        if data.draw(st.integers(0, 3)):
            holder[key] = data.draw(values)
        elif isinstance(holder, dict):
            holder[data.draw(st.text(max_size=5))] = holder.pop(key)
        else:
            del holder[key]
    try:
        record = Record.from_json(changed)
    except UserError:
        return
    journal = Journal(tmp_path_factory.mktemp("any", numbered=True) / "records")
    journal.write(record)
    assert journal.read(record.key) == record
    tags = mlflow_runs.tags_of(record, "d")
    assert replace(mlflow_runs.result_of(tags, {}, record.spec.suite), metrics={}) == replace(
        Result.of(record), metrics={}
    )
    assert all(isinstance(value, str) for value in (*tags.values(), *mlflow_runs.params_of(record).values()))
    assert all(math.isfinite(point.value) for point in mlflow_runs.metrics_of(record))
    assert mlflow_runs.Times.of(record).started <= mlflow_runs.Times.of(record).ended
    spec = record.spec
    for name in (spec.suite, spec.label, spec.method, spec.recipe_name, spec.cell.dataset, record.key):
        assert (journal.folder / name).resolve().parent == journal.folder.resolve()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(content=st.binary(max_size=60) | values.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_a_record_or_unreadable(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "0123456789ab.json"
    file.write_bytes(content)
    assert isinstance(read_record(file), Unreadable)


def test_a_record_that_vanishes_is_unreadable_with_its_name(tmp_path: Path) -> None:
    found = read_record(tmp_path / "gone.json")
    assert isinstance(found, Unreadable)
    assert "gone.json" in found.reason
