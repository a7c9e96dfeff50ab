"""What a storm must have left: every trial once, as it is when nothing happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ltbench.results.journal import Journal
from ltbench.spec import Record, TrialSpec
from ltbench.tracking import mlflow_store
from ltbench.training.site import Site
from ltbench.training.trial import run_trial


def undisturbed(trials: Sequence[TrialSpec], site: Site) -> dict[str, Record]:
    """The records of the trials, run here one by one; by key."""
    return {spec.key: run_trial(spec, site) for spec in trials}


def differences(name: str, expected: Mapping[str, Record], journal: Journal) -> Iterator[str]:
    """What is lost, too much or unequal among the records of a side."""
    records = journal.records()
    yield from (f"{name}: {key} is not in the journal" for key in expected.keys() - records.keys())
    yield from (f"{name}: {key} is in the journal but not in the plan" for key in records.keys() - expected.keys())
    for key in expected.keys() & records.keys():
        stored = replace(records[key], predictions=journal.predictions(key))
        if stored.numbers() != expected[key].numbers():
            yield f"{name}: {key}: other numbers than undisturbed ({stored.status}: {stored.error})"
        elif stored.predictions != expected[key].predictions:
            yield f"{name}: {key}: other predictions than undisturbed"


def in_mlflow(uri: str, keys: set[str]) -> Iterator[str]:
    """Keys that the tracking server does not have exactly once."""
    found = [result.key for result in mlflow_store.read(uri, "storm")[0]]
    yield from (f"{key} is in MLflow {found.count(key)} times" for key in {*found} if found.count(key) > 1)
    yield from (f"{key} is not in MLflow" for key in keys - {*found})
