"""What a record looks like as an MLflow run, and back: plain data, no MLflow in here."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ltbench.errors import UserError
from ltbench.metric_names import METRICS
from ltbench.metrics import confusion
from ltbench.spec import ELSEWHERE, KEY, SAFE_NAME, Expectation, Record, Result, canonical
from ltbench.spec.budget import NAMES as COST_NAMES
from ltbench.spec.budget import budget_of
from ltbench.spec.validation import is_number, is_text
from ltbench.tracking.aggregates import group_of
from ltbench.tracking.mlflow_page import GROUP, run_note

KIND, PLAN = "ltbench.kind", "ltbench.plan"
_CHUNK = 4800
"""Older servers refuse longer experiment tags, so a long plan is spread over several."""
_LONGEST = 6000
"""MLflow refuses longer values of parameters."""
_MOST_CELLS = 1000
"""A side of the picture of who was taken for whom, in cells: it has 800 pixels. A matrix of iNaturalist's 8,142 classes
takes gigabytes to draw."""
FINISHED = {"ok": "FINISHED", "failed": "FAILED"}


class Times(NamedTuple):
    """Start and end of a run in MLflow's milliseconds; the end is never before the start."""

    started: int
    ended: int

    @classmethod
    def of(cls, record: Record) -> Times:
        """From the clock at the start and the stopwatch: the clock may have been set back meanwhile."""
        started = int(1000 * _fact(record, "started"))
        return cls(started, started + int(1000 * _fact(record, "seconds")))


def _fact(record: Record, name: str) -> float:
    value = record.environment.get(name)
    number = isinstance(value, int | float) and math.isfinite(value)
    return max(0.0, min(float(value), 1e11)) if number and value is not None else 0.0


def tags_of(record: Record, digest: str) -> dict[str, str]:
    """What an MLflow run of a record is tagged with."""
    spec = record.spec
    versions = {k: str(record.environment[k]) for k in ("ltbench", "torch", "python") if k in record.environment}
    tags = {
        KIND: "trial",
        "ltbench.key": spec.key,
        "ltbench.digest": digest,
        "ltbench.manifest": spec.cell.manifest,
        "ltbench.dataset_kind": spec.cell.kind,
        "ltbench.variant": spec.variant,
        "ltbench.recipe_id": spec.recipe_id,
        "ltbench.status": record.status,
        **{f"ltbench.version.{k}": v for k, v in versions.items()},
        GROUP: group_of(spec.label, spec.cell.label),
        "cell": spec.cell.label,
        "suite": spec.suite,
        "dataset": spec.cell.dataset,
        "imbalance": spec.cell.imbalance_label,
        "method": spec.label,
        "recipe": spec.recipe_name,
        "seed": str(spec.seed),
        "role": spec.role,
        "mlflow.source.name": "ltbench",
        "mlflow.note.content": run_note(record),
    }
    if "pretraining" in spec.recipe:
        tags["ltbench.pretraining"] = str(spec.recipe["pretraining"])
    if spec.test_prior is not None:
        tags["ltbench.test_prior"] = spec.test_prior
    if "trained_by" in record.environment:
        tags["ltbench.trained_by"] = str(record.environment["trained_by"])
    if record.environment.get("git_commit"):
        tags["mlflow.source.git.commit"] = tags["git_commit"] = str(record.environment["git_commit"])
    if record.error:
        tags["ltbench.error"] = record.error.strip()[-1000:]
    return tags


def params_of(record: Record) -> dict[str, str]:
    """The parameters of an MLflow run of a record."""
    spec = record.spec
    flat = {
        "method": spec.method,
        **{f"method.{k}": v for k, v in spec.hyperparameters.items()},
        **{f"recipe.{k}": v for k, v in _flatten(spec.recipe)},
        "dataset": spec.cell.dataset,
        "imbalance": spec.cell.imbalance,
        "profile": spec.cell.profile,
        "subset_seed": spec.cell.subset_seed,
        "class_order": spec.cell.class_order,
        "seed": spec.seed,
        "text": spec.text_origin,
    }
    return {k: str(v)[:_LONGEST] for k, v in flat.items() if v is not None}


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class Point(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    step: int


def metrics_of(record: Record) -> list[Point]:
    """Final test metrics once under test/..., curves by epoch, costs under usage/..., which the UI puts last"""
    points = [Point(f"test/{k}", v, 0) for k, v in record.metrics.items() if v is not None]
    for name, curve in record.curves.items():
        points += [Point(name, value, step) for step, (_, value) in enumerate(curve, start=1)]
    shares = ("data_share", "step_share", "evaluation_share")
    for name in ("seconds", "train_seconds", "images_per_second", "peak_memory_bytes", *shares):
        if name in record.environment:
            points.append(Point(f"usage/{name}", _fact(record, name), 0))
    points += [
        Point(f"usage/{name}", value, 0) for name, value in budget_of(record.environment, record.spec.recipe).items()
    ]
    return points[:1000]


def per_class_table(record: Record) -> dict[str, list[Any]]:
    """The table of classes, as an artifact holds it."""
    names = list(record.environment.get("class_names", []))
    classes = list(range(len(record.per_class["recall"])))
    return {"class": names or classes, **{k: list(v) for k, v in record.per_class.items()}}


def confusion_picture(record: Record, predictions: bytes) -> Any:
    """Who was taken for whom; None where the predictions are damaged. Of more than 1,000 classes, as many neighbours in
    label order as it takes share a cell."""
    from ltbench.tracking.confusion import confusion_figure

    try:
        stored = np.load(io.BytesIO(predictions), allow_pickle=False)
        n = len(record.per_class["recall"])
        each = max(1, -(-n // _MOST_CELLS))
        matrix = confusion(stored["truth"] // each, stored["label"] // each, -(-n // each))
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile):
        return None
    names = list(record.environment.get("class_names", map(str, range(n))))
    return confusion_figure(matrix, names[::each], record.spec.name + (f", {each} classes a cell" if each > 1 else ""))


def plan_tags(expectation: Expectation) -> Iterator[tuple[str, str]]:
    """A plan as tags of an experiment."""
    whole = canonical(expectation.to_json())
    chunks = [whole[i : i + _CHUNK] for i in range(0, len(whole), _CHUNK)]
    yield PLAN, str(len(chunks))
    for i, chunk in enumerate(chunks):
        yield f"{PLAN}.{i}", chunk


def plan_of(tags: Mapping[str, str]) -> Expectation | None:
    """The inverse of `plan_tags`. Raises UserError for tags that someone changed."""
    if PLAN not in tags:
        return None
    try:
        return Expectation.from_json(json.loads("".join(tags[f"{PLAN}.{i}"] for i in range(int(tags[PLAN])))))
    except (ValueError, KeyError, RecursionError) as error:
        raise UserError(
            f"the tags {PLAN}.* of the experiment are damaged ({error}); `ltbench sync` writes them anew"
        ) from error


def as_tracked(record: Record) -> dict[str, float | None]:
    """A record's metrics as they come back from MLflow."""
    return {name: record.metrics.get(name) for name in METRICS} if record.status == "ok" else {}


def result_of(tags: Mapping[str, str], metrics: Mapping[str, float], suite: str) -> Result:
    """What a run says. Tags can be edited by anyone who reaches the store, and names in them become names of files.

    Raises:
        KeyError, ValueError: it is no run of ltbench.
    """
    if not all(map(is_text, tags.values())):
        raise ValueError("a tag of it holds half a character")
    names = ("dataset", "method", "recipe")
    if not (KEY.fullmatch(tags["ltbench.key"]) and all(SAFE_NAME.fullmatch(tags[name]) for name in names)):
        raise ValueError(f"its key {tags['ltbench.key']!r}, data set, method or recipe is no name")
    if tags["ltbench.status"] not in FINISHED:
        raise ValueError(f"its status is {tags['ltbench.status']!r}")
    if not (tags["seed"].isascii() and tags["seed"].isdecimal()):
        raise ValueError(f"its seed is {tags['seed']!r}")
    ok = tags["ltbench.status"] == "ok"
    values = {name: metrics.get(f"test/{name}") for name in METRICS} if ok else {}
    for name, value in values.items():
        if value is not None and not is_number(value):
            raise ValueError(f"its metric {name} is {value!r}")
    return Result(
        key=tags["ltbench.key"],
        suite=suite,
        dataset=tags["dataset"],
        imbalance=tags["imbalance"],
        manifest=tags["ltbench.manifest"],
        label=tags["method"],
        variant=tags["ltbench.variant"],
        recipe_name=tags["recipe"],
        recipe_id=tags["ltbench.recipe_id"],
        seed=int(tags["seed"]),
        status="ok" if ok else "failed",
        metrics=values,
        error=tags.get("ltbench.error"),
        pretraining=tags.get("ltbench.pretraining", ""),
        kind=tags.get("ltbench.dataset_kind", ""),
        test_prior=tags.get("ltbench.test_prior", ""),
        elsewhere=tags.get("role") == ELSEWHERE,
        budget={name: metrics[f"usage/{name}"] for name in COST_NAMES if is_number(metrics.get(f"usage/{name}"))},
    )
