"""Records that others wrote: read, or refused with a reason; what is accepted makes sense everywhere."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench.errors import UserError
from ltbench.results.journal import Journal, Unreadable, read_record
from ltbench.spec import Record, Result
from ltbench.tracking import mlflow_runs
from tests.results.made import FOREIGN, GOOD


@pytest.mark.parametrize("damage", FOREIGN)
def test_a_damaged_file_is_unreadable_with_its_name_and_a_reason(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(FOREIGN[damage])
    found = read_record(file)
    assert isinstance(found, Unreadable)
    assert found.file == file
    assert found.reason.strip()


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
    stored = {point.name: point.value for point in mlflow_runs.metrics_of(record) if point.name.startswith("usage/")}
    assert replace(mlflow_runs.result_of(tags, stored, record.spec.suite), metrics={}) == replace(
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
