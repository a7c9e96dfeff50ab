"""Opening an MLflow store: its client, its experiments and runs. Only this file, `mlflow_store`
and `mlflow_board` import mlflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
# MLflow would repeat a request that made a run but whose answer was lost, and so make a second; `delivery` tries again.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
# It prints the address of every run, with the password in it.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
# It reports what it is used for; whoever wants that says MLFLOW_DISABLE_TELEMETRY=false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _upgrade_db, create_sqlalchemy_engine
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient

from ltbench.system.uris import sqlite_file
from ltbench.tracking.sqlite_making import Tools, alone, make_ready


def client_of(uri: str) -> MlflowClient:
    """A client of a store, which is made if need be."""
    return opened(uri)[0]


def opened(uri: str, own: bool = False) -> tuple[MlflowClient, str | None]:
    """A client, and why the records are to be sent again, if they are: the store was made just now.

    Args:
        own: the store may be set aside where it is of no use, and made anew.
    """
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    file, made = sqlite_file(uri), None
    if file is None:
        return MlflowClient(tracking_uri=uri), None
    file.parent.mkdir(parents=True, exist_ok=True)
    with alone(file):
        made = make_ready(file, Tools(_use, _upgrade, _forget), own)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
        return client, made


def _use(file: Path) -> None:
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments(max_results=1)


def _upgrade(file: Path) -> None:
    engine = create_sqlalchemy_engine(f"sqlite:///{file}")
    try:
        _upgrade_db(engine)
    finally:
        engine.dispose()


def _forget(file: Path) -> None:
    """MLflow keeps connections by address, and they would go on with a file that was renamed."""
    engine = SqlAlchemyStore._engine_map.pop(f"sqlite:///{file}", None)
    if engine is not None:
        engine.dispose()


def experiment_of(client: MlflowClient, uri: str, name: str) -> str:
    """The experiment of that name, made if need be. The artifacts of a store in a sqlite file lie beside it."""
    found = client.get_experiment_by_name(name)
    if found is None:
        file = sqlite_file(uri)
        location = None if file is None else (file.absolute().parent / name.replace(" ", "-") / "artifacts").as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another command was quicker
            if found is None:
                raise
    if found.lifecycle_stage == LifecycleStage.DELETED:
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def runs_of(client: MlflowClient, experiment: str, wanted: str = "") -> Iterable[Run]:
    """The runs of an experiment, or those that a filter of MLflow's lets through."""
    token: str | None = None
    while True:
        page = client.search_runs([experiment], wanted, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
