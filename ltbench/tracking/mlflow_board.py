"""A leaderboard in MLflow: a summary among the suite's trials, and with a report an experiment of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

# First: it sets what MLflow reads when it is imported.
from ltbench.tracking.mlflow_client import client_of, experiment_of, runs_of

# isort: split
from mlflow.entities import LifecycleStage, Metric, Run
from mlflow.tracking import MlflowClient

from ltbench.system.uris import sqlite_file
from ltbench.tracking.aggregates import ORDER, Aggregate, Summary
from ltbench.tracking.mlflow_page import GROUP, VIEW, Order, view_tag
from ltbench.tracking.mlflow_runs import KIND
from ltbench.tracking.sqlite_making import alone

SUMMARY = "ltbench.summary"
"""The tag of an experiment that says of which numbers its summary is."""


def _end(client: MlflowClient, run: Run) -> None:
    """End a run now, or at its start if the clock was set back since."""
    client.set_terminated(run.info.run_id, end_time=max(int(1000 * time.time()), run.info.start_time))


def put_board(uri: str, suite: str, digest: str, runs: Sequence[Aggregate], files: Mapping[str, Path]) -> str:
    """A leaderboard's numbers and its report, in an experiment of their own beside the suite's, so that they do not
    disturb comparing trials. What an earlier call put there is replaced; the same numbers are not sent twice.

    Args:
        files: path among the artifacts -> file.

    Returns:
        The experiment's name.
    """
    client, name = client_of(uri), f"{suite} leaderboard"
    there = client.get_experiment_by_name(name)
    # Restoring brings back every run that was ever in it, those that were replaced as well.
    restored = there is not None and there.lifecycle_stage == LifecycleStage.DELETED
    location = experiment_of(client, uri, name)
    before = list(runs_of(client, location))
    reports = [r for r in before if r.data.tags.get(KIND) == "report" and r.info.status == "FINISHED"]
    if not restored and any(r.data.tags.get("ltbench.data") == digest for r in reports):
        return name
    shared = {"suite": suite, "ltbench.data": digest}
    for run in runs:
        _put(client, location, run, {**shared, KIND: "aggregate"})
    made = client.create_run(
        location, run_name="report", tags={**shared, KIND: "report", "mlflow.source.name": "ltbench"}
    )
    for place, file in files.items():
        folder = str(Path(place).parent)
        client.log_artifact(made.info.run_id, str(file), None if folder == "." else folder)
    _end(client, made)
    for old in before:
        client.delete_run(old.info.run_id)
    return name


def put_summary(uri: str, suite: str, digest: str, summary: Summary) -> str | None:
    """A board's numbers among the trials of its suite, as runs of their own that lead the trials' groups, and the view
    of MLflow's page that shows them. What an earlier call put there is replaced; the same numbers are not sent twice.
    Trials keep their runs: those without the tag of their group are given it.

    Returns:
        The experiment's id; None where the store has no such suite.
    """
    client = client_of(uri)
    experiment = client.get_experiment_by_name(suite)
    if experiment is None or experiment.lifecycle_stage == LifecycleStage.DELETED:
        return None
    place, file = str(experiment.experiment_id), sqlite_file(uri)
    with nullcontext() if file is None else alone(file):
        _name_groups(client, place, summary)
        before = list(runs_of(client, place, f"tags.`{KIND}` = 'summary'"))
        if experiment.tags.get(SUMMARY) == digest and len(before) == len(summary.runs):
            return place
        for run in summary.runs:
            _put(client, place, run, {"suite": suite, "ltbench.data": digest, KIND: "summary"})
        for old in before:
            client.delete_run(old.info.run_id)
        groups = dict.fromkeys(run.tags[GROUP] for run in summary.runs)
        client.set_experiment_tag(place, VIEW, view_tag(summary.columns, Order(ORDER, True), summary.charts, groups))
        client.set_experiment_tag(place, SUMMARY, digest)
    return place


def _name_groups(client: MlflowClient, experiment: str, summary: Summary) -> None:
    """Trials of earlier versions of ltbench have no tag of their group, and a board tells recipes apart that a single
    trial knows nothing of."""
    names = ("ltbench.recipe_id", "method", "dataset", "imbalance", "ltbench.manifest")
    for run in runs_of(client, experiment, f"tags.`{KIND}` = 'trial'"):
        wanted = summary.groups.get(tuple(run.data.tags.get(name, "") for name in names))
        if wanted is not None and run.data.tags.get(GROUP) != wanted:
            client.set_tag(run.info.run_id, GROUP, wanted)


def _put(client: MlflowClient, experiment: str, run: Aggregate, tags: Mapping[str, str]) -> None:
    told = {**run.tags, **tags, "mlflow.source.name": "ltbench"}
    made = client.create_run(experiment, run_name=run.name, tags=told)
    metrics = [Metric(name, value, made.info.start_time, 0) for name, value in run.metrics.items()]
    client.log_batch(made.info.run_id, metrics=metrics)
    _end(client, made)
