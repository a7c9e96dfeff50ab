"""`ltbench sync`: what a store lacks of the journals, delivered by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ltbench.errors import UserError, did_you_mean
from ltbench.results.folders import read_plan
from ltbench.spec import SAFE_NAME
from ltbench.tracking.delivery import Delivered, deliver
from ltbench.workflow.find_results import suite_name
from ltbench.workflow.prepare import folders_of, tracking_store, warn


def sync(suite: str | None, results: Path, uri: str | None) -> Iterator[tuple[str, Delivered]]:
    """Deliver the records of one suite, or of all under a folder; suite by suite, what became of them.

    Raises:
        UserError: no such suite, or nothing there.
    """
    there = sorted(
        p.parent.name for p in results.glob("*/records") if p.is_dir() and SAFE_NAME.fullmatch(p.parent.name)
    )
    if not there:
        raise UserError(f"--results {results}: holds no records; run a suite first: ltbench run quickstart")
    name = suite_name(suite) if suite is not None else None
    if name is not None and name not in there:
        raise UserError(f"no records of {name!r} under {results}. {did_you_mean(name, there)}")
    for each in there if name is None else [name]:
        folders = folders_of(results, each)
        plan = read_plan(folders.plan_file)
        yield each, deliver(tracking_store(uri, results), each, folders.journal, plan, warn)
