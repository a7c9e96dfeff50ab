"""A suite's results straight from MLflow's sqlite file: a leaderboard without the 2.5 seconds that MLflow takes to be
imported and to make its objects. Only for the layouts it was tested with; everything else is MLflow's to read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

from ltbench.errors import UserError
from ltbench.spec import Expectation, Result
from ltbench.system.uris import sqlite_file
from ltbench.tracking.mlflow_runs import FINISHED, KIND, PLAN, plan_of, result_of

LAYOUTS = frozenset({"dc11669786a5"})
"""Versions of MLflow's tables (its alembic revisions) that these queries were tested with: MLflow 3.17's."""
Found = TypeVar("Found")
_PATIENCE = 10.0
"""Seconds to wait for a command that is writing."""


def suites(uri: str) -> list[str] | None:
    """Names of the suites in the store, the last used first; None: ask MLflow."""
    with _opened(uri) as store:
        if store is None:
            return None
        order = "SELECT name FROM experiments AS e WHERE e.lifecycle_stage = 'active' AND EXISTS (SELECT 1 FROM " \
                "experiment_tags AS t WHERE t.experiment_id = e.experiment_id AND t.key IN (?, ?)) " \
                "ORDER BY coalesce(e.last_update_time, 0) DESC"  # fmt: skip
        return _tried(lambda: [name for (name,) in store.execute(order, (PLAN, KIND))])


def read(uri: str, suite: str) -> tuple[list[Result], Expectation | None] | None:
    """The results of a suite and the plan that was kept with them, as `track.read` gives them; None: ask MLflow, which
    also has the words for what is wrong."""
    with _opened(uri) as store:
        return None if store is None else _tried(lambda: _read(store, suite))


def _read(store: sqlite3.Connection, suite: str) -> tuple[list[Result], Expectation | None] | None:
    experiments = store.execute("SELECT experiment_id FROM experiments WHERE name = ?", (suite,)).fetchall()
    if len(experiments) != 1:
        return None
    place = experiments[0]
    wanted = (
        "WITH wanted AS (SELECT r.run_uuid, r.status, r.start_time FROM runs AS r JOIN tags AS k USING (run_uuid) "
        f"WHERE r.experiment_id = ? AND r.lifecycle_stage = 'active' AND k.key = '{KIND}' AND k.value = 'trial') "
    )
    runs = store.execute(
        wanted + "SELECT run_uuid, status FROM wanted ORDER BY start_time IS NULL, start_time DESC, run_uuid", place
    ).fetchall()
    tags = _by_run(store.execute(wanted + "SELECT run_uuid, t.key, t.value FROM tags AS t JOIN wanted USING (run_uuid)",
                                 place))  # fmt: skip
    metrics = _by_run(
        store.execute(
            wanted + "SELECT run_uuid, m.key, CASE WHEN m.is_nan THEN NULL ELSE m.value END "
            "FROM latest_metrics AS m JOIN wanted USING (run_uuid)",
            place,
        )
    )
    results = [
        result_of(tags[run], {k: float("nan") if v is None else v for k, v in metrics.get(run, {}).items()}, suite)
        for run, status in runs
        if status in FINISHED.values()
    ]
    plan = dict(store.execute("SELECT key, value FROM experiment_tags WHERE experiment_id = ?", place))
    return results, plan_of(plan)


def _by_run(rows: Iterable[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for run, key, value in rows:
        found.setdefault(run, {})[key] = value
    return found


@contextmanager
def _opened(uri: str) -> Iterator[sqlite3.Connection | None]:
    """The store, for reading alone and at one moment; None where it is none, or of another layout."""
    file = sqlite_file(uri)
    if file is None or "?" in uri or not file.is_file():
        yield None
        return
    try:
        store = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)
    except sqlite3.Error:
        yield None
        return
    with closing(store):
        yield store if _tried(lambda: _known_layout(store)) else None


def _known_layout(store: sqlite3.Connection) -> bool:
    store.execute("BEGIN")  # what follows reads one state of the store, whoever writes meanwhile
    layout = {version for (version,) in store.execute("SELECT version_num FROM alembic_version")}
    workspaces = {name for (name,) in store.execute("SELECT DISTINCT workspace FROM experiments")}
    return layout <= LAYOUTS and len(layout) == 1 and workspaces <= {"default"}


def _tried(look: Callable[[], Found]) -> Found | None:
    """What is damaged, locked or not as ltbench made it is MLflow's to report."""
    try:
        return look()
    except (sqlite3.Error, KeyError, ValueError, UserError):
        return None
