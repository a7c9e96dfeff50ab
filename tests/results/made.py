"""Records, whole and damaged, for the tests of journals and records."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

from ltbench.spec import Cell, Record, TrialSpec

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


def no_space(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
