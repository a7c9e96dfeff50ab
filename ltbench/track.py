"""Records -> MLflow runs, runs -> Results. The only file that imports mlflow; `delivery` decides what is sent when."""

from __future__ import annotations

import io
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# One quick retry: a server that is down is asked again by the next command, not for minutes by this one.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Metric, Param, Run
from mlflow.tracking import MlflowClient

from ltbench.delivery import record_digest, shown_uri
from ltbench.errors import UserError
from ltbench.metrics import METRICS, confusion
from ltbench.records import Journal
from ltbench.report.aggregates import Aggregate
from ltbench.spec import Record, Result, canonical

KIND, PLAN = "ltbench.kind", "ltbench.plan"
_CHUNK = 4800
"""Older servers refuse longer experiment tags, so a long plan is spread over several."""
_FINISHED = {"ok": "FINISHED", "failed": "FAILED"}


def _client(uri: str) -> MlflowClient:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri)


def _new_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The artifacts of a store in a sqlite file lie beside it."""
    location = None
    if uri.startswith("sqlite:///"):
        location = (Path(uri.removeprefix("sqlite:///")).parent / name.replace(" ", "-") / "artifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location))


class Store:
    """One experiment of an MLflow store."""

    def __init__(self, uri: str, suite: str, expectation: Mapping[str, Any] | None) -> None:
        self._client = _client(uri)
        self._experiment = self._open(uri, suite)
        if expectation is not None:
            self._describe(expectation)
        self._runs: dict[str, list[Run]] = {}
        for run in _trial_runs(self._client, self._experiment):
            self._runs.setdefault(run.data.tags.get("ltbench.key", ""), []).append(run)

    def _open(self, uri: str, suite: str) -> str:
        found = self._client.get_experiment_by_name(suite)
        if found is not None and found.lifecycle_stage == LifecycleStage.DELETED:
            self._client.restore_experiment(found.experiment_id)
        if found is not None:
            return str(found.experiment_id)
        return _new_experiment(self._client, uri, suite)

    def _describe(self, expectation: Mapping[str, Any]) -> None:
        note = f"{expectation['question']}\n\nMade by ltbench; rank it with `ltbench leaderboard`."
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", note)
        whole = canonical(expectation)
        chunks = [whole[i : i + _CHUNK] for i in range(0, len(whole), _CHUNK)]
        self._client.set_experiment_tag(self._experiment, PLAN, str(len(chunks)))
        for i, chunk in enumerate(chunks):
            self._client.set_experiment_tag(self._experiment, f"{PLAN}.{i}", chunk)

    def put(self, record: Record, journal: Journal) -> None:
        """Log a record as one run, unless that very record is there; anything else under its key is replaced."""
        digest = record_digest(record)
        for run in self._runs.pop(record.key, []):
            complete = run.info.status == _FINISHED[record.status]
            if complete and run.data.tags.get("ltbench.digest") == digest:
                self._runs[record.key] = [run]
                return
            self._client.delete_run(run.info.run_id)
        started = int(1000 * float(record.environment.get("started", 0.0)))
        run = self._client.create_run(
            self._experiment, run_name=record.spec.name, start_time=started, tags=_tags(record, digest)
        )
        run_id = run.info.run_id
        self._client.log_inputs(run_id, [_dataset_input(record)])
        self._client.log_batch(run_id, metrics=_metrics(record, started), params=_params(record))
        self._log_artifacts(run_id, record, journal)
        ended = started + int(1000 * float(record.environment.get("seconds", 0.0)))
        self._client.set_terminated(run_id, _FINISHED[record.status], end_time=ended)
        self._runs[record.key] = [self._client.get_run(run_id)]

    def _log_artifacts(self, run_id: str, record: Record, journal: Journal) -> None:
        self._client.log_dict(run_id, record.to_json(), "record.json")
        if record.error:
            self._client.log_text(run_id, record.error, "error.txt")
        if record.per_class:
            self._client.log_table(run_id, _per_class_table(record), "per_class.json")
        predictions = record.predictions or journal.predictions(record.key)
        if predictions is not None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "predictions.npz"
                file.write_bytes(predictions)
                self._client.log_artifact(run_id, str(file))
            self._client.log_figure(run_id, _confusion_figure(record, predictions), "confusion.png")


def _tags(record: Record, digest: str) -> dict[str, str]:
    spec = record.spec
    versions = {k: str(record.environment[k]) for k in ("ltbench", "torch", "python") if k in record.environment}
    tags = {
        KIND: "trial",
        "ltbench.key": spec.key,
        "ltbench.digest": digest,
        "ltbench.manifest": spec.cell.manifest,
        "ltbench.variant": spec.variant,
        "ltbench.recipe_id": spec.recipe_id,
        "ltbench.status": record.status,
        **{f"ltbench.version.{k}": v for k, v in versions.items()},
        "suite": spec.suite,
        "dataset": spec.cell.dataset,
        "imbalance": spec.cell.imbalance_label,
        "method": spec.label,
        "recipe": spec.recipe_name,
        "seed": str(spec.seed),
        "role": spec.role,
        "mlflow.source.name": "ltbench",
    }
    if record.environment.get("git_commit"):
        tags["mlflow.source.git.commit"] = tags["git_commit"] = str(record.environment["git_commit"])
    if record.error:
        tags["ltbench.error"] = record.error.strip()[-1000:]
    return tags


def _params(record: Record) -> list[Param]:
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
    return [Param(k, str(v)) for k, v in flat.items() if v is not None]


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _metrics(record: Record, started: int) -> list[Metric]:
    """Final test metrics once under test/..., curves by epoch, costs under usage/..., which the UI puts last"""
    metrics = [Metric(f"test/{k}", v, started, 0) for k, v in record.metrics.items() if v is not None]
    for name, points in record.curves.items():
        metrics += [Metric(name, value, started, step) for step, (_, value) in enumerate(points, start=1)]
    for name in ("seconds", "train_seconds", "images_per_second", "peak_memory_bytes"):
        if name in record.environment:
            metrics.append(Metric(f"usage/{name}", float(record.environment[name]), started, 0))
    return metrics[:1000]


def _dataset_input(record: Record) -> DatasetInput:
    cell = record.spec.cell
    images = int(sum(record.per_class.get("train_images", [])))
    dataset = Dataset(
        name=cell.label,
        digest=cell.manifest,
        source_type="ltbench",
        source=json.dumps({"kind": cell.kind, "profile": cell.profile, "subset_seed": cell.subset_seed}),
        profile=json.dumps({"training_images": images}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _per_class_table(record: Record) -> dict[str, list[Any]]:
    names = list(record.environment.get("class_names", []))
    classes = list(range(len(record.per_class["recall"])))
    return {"class": names or classes, **{k: list(v) for k, v in record.per_class.items()}}


def _confusion_figure(record: Record, predictions: bytes) -> Any:
    from ltbench.report.figures import confusion_figure

    stored = np.load(io.BytesIO(predictions), allow_pickle=False)
    n = len(record.per_class["recall"])
    matrix = confusion(stored["truth"], stored["label"], n)
    names = list(record.environment.get("class_names", map(str, range(n))))
    return confusion_figure(matrix, names, record.spec.name)


def _trial_runs(client: MlflowClient, experiment: str) -> Iterable[Run]:
    return _runs(client, experiment, f"tags.`{KIND}` = 'trial'")


def _runs(client: MlflowClient, experiment: str, wanted: str = "") -> Iterable[Run]:
    token: str | None = None
    while True:
        page = client.search_runs([experiment], wanted, max_results=5000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def put_board(uri: str, suite: str, digest: str, runs: Sequence[Aggregate], files: Mapping[str, Path]) -> str:
    """A leaderboard's numbers and its report, in an experiment of their own beside the suite's, so that they do not
    disturb comparing trials. What an earlier call put there is replaced; the same numbers are not sent twice.

    Args:
        files: path among the artifacts -> file.

    Returns:
        The experiment's name.
    """
    client, name = _client(uri), f"{suite} leaderboard"
    experiment = client.get_experiment_by_name(name)
    location = str(experiment.experiment_id) if experiment else _new_experiment(client, uri, name)
    restored = experiment is not None and experiment.lifecycle_stage == LifecycleStage.DELETED
    if restored:
        client.restore_experiment(location)  # with every run that was ever in it, those that were replaced as well
    before = list(_runs(client, location))
    reports = [r for r in before if r.data.tags.get(KIND) == "report" and r.info.status == "FINISHED"]
    if not restored and any(r.data.tags.get("ltbench.data") == digest for r in reports):
        return name
    shared = {"suite": suite, "ltbench.data": digest, "mlflow.source.name": "ltbench"}
    for run in runs:
        made = client.create_run(location, run_name=run.name, tags={**run.tags, **shared, KIND: "aggregate"})
        client.log_batch(
            made.info.run_id, metrics=[Metric(k, v, made.info.start_time, 0) for k, v in run.metrics.items()]
        )
        client.set_terminated(made.info.run_id)
    made = client.create_run(location, run_name="report", tags={**shared, KIND: "report"})
    for place, file in files.items():
        folder = str(Path(place).parent)
        client.log_artifact(made.info.run_id, str(file), None if folder == "." else folder)
    client.set_terminated(made.info.run_id)
    for old in before:
        client.delete_run(old.info.run_id)
    return name


def suites(uri: str) -> list[str]:
    """Names of the store's experiments that ltbench made, the last used first."""
    found = [e for e in _client(uri).search_experiments() if PLAN in e.tags]
    return [e.name for e in sorted(found, key=lambda e: e.last_update_time or 0, reverse=True)]


def read(uri: str, suite: str) -> tuple[list[Result], dict[str, Any] | None]:
    """The results of a suite, and the plan that was kept with them.

    Raises:
        UserError: the store cannot be reached or has no such suite.
    """
    try:
        client = _client(uri)
        experiment = client.get_experiment_by_name(suite)
        if experiment is None:
            known = ", ".join(suites(uri)) or "none"
            raise UserError(f"no suite {suite!r} in the MLflow store {shown_uri(uri)}; it has: {known}")
        results = [_result(run, suite) for run in _trial_runs(client, experiment.experiment_id)
                   if run.info.status in _FINISHED.values()]  # fmt: skip
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the MLflow store {shown_uri(uri)} cannot be read ({type(error).__name__}); `--from DIR` reads a folder "
            f"of records instead"
        ) from error
    return results, _plan(experiment.tags)


def _plan(tags: Mapping[str, str]) -> dict[str, Any] | None:
    if PLAN not in tags:
        return None
    plan: dict[str, Any] = json.loads("".join(tags[f"{PLAN}.{i}"] for i in range(int(tags[PLAN]))))
    return plan


def _result(run: Run, suite: str) -> Result:
    tags, metrics = run.data.tags, run.data.metrics
    ok = tags["ltbench.status"] == "ok"
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
        metrics={name: metrics.get(f"test/{name}") for name in METRICS} if ok else {},
        error=tags.get("ltbench.error"),
    )
