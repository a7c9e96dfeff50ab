"""`ltbench import`: records made elsewhere, into the journals and into MLflow."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ltbench.errors import UserError
from ltbench.workflow.prepare import folders_of, tracking_store, warn

if TYPE_CHECKING:
    pass
from ltbench.results.folders import read_plan


def take_over(folder: Path, results: Path, uri: str | None) -> dict[str, int]:
    """Records made elsewhere into the journals of their suites and into MLflow: suite -> how many are new. A finished
    record replaces one that failed, nothing else is overwritten."""
    from dataclasses import replace

    from ltbench.results.journal import Journal, Unreadable
    from ltbench.system.lock import SuiteLock
    from ltbench.tracking.delivery import Tracker

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    source, taken = Journal(folder), dict[str, int]()
    with ExitStack() as locks:
        for record in source:
            if isinstance(record, Unreadable):
                warn(f"{record.file}: left out: {record.reason}")
                continue
            suite = record.spec.suite
            if suite not in taken:
                locks.enter_context(SuiteLock(folders_of(results, suite).suite_folder, warn))
            journal = folders_of(results, suite).journal
            known = journal.read(record.key)
            new = known is None or (known.status == "failed" and record.status == "ok")
            if new:
                journal.write(replace(record, predictions=source.predictions(record.key)))
            taken[suite] = taken.get(suite, 0) + new
        if not taken:
            raise UserError(f"{folder}: holds no records")
        for suite in taken:
            folders = folders_of(results, suite)
            tracker = Tracker(tracking_store(uri, results), suite, folders.journal, read_plan(folders.plan_file), warn)
            tracker.deliver_backlog()
            tracker.close()
    return taken
