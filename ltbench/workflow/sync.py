"""`ltbench sync`: what a store lacks of the journals, delivered by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ltbench.errors import UserError, did_you_mean
from ltbench.results.folders import folders_of, read_plan, suites_in
from ltbench.system.uris import store_uri
from ltbench.tracking.delivery import Delivered, deliver
from ltbench.workflow.find_results import suite_name
from ltbench.workflow.tell import Tell, tell_nobody, warner


def sync(
    suite: str | None, results: Path, tracking_uri: str | None = None, tell: Tell = tell_nobody
) -> Iterator[tuple[str, Delivered]]:
    """Deliver the records of one suite, or of all under a folder; suite by suite, what became of them.

    Args:
        suite: its name or file; None: all.
        tracking_uri: MLflow's store; None: `mlflow.db` in `results`.

    Raises:
        UserError: no such suite, or nothing there.
    """
    there = suites_in(results)
    if not there:
        raise UserError(f"--results {results}: holds no records; run a suite first: ltbench run quickstart")
    name = suite_name(suite) if suite is not None else None
    if name is not None and name not in there:
        raise UserError(f"no records of {name!r} under {results}. {did_you_mean(name, there)}")
    for each in there if name is None else [name]:
        folders = folders_of(results, each)
        plan = read_plan(folders.plan_file)
        yield each, deliver(store_uri(tracking_uri, results), each, folders.journal, plan, warner(tell))
