"""`ltbench import`: records made elsewhere, into the journals and into MLflow."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ltbench.errors import UserError
from ltbench.results.folders import folders_of, read_plan
from ltbench.results.journal import Journal, Unreadable
from ltbench.system.lock import SuiteLock
from ltbench.system.uris import store_uri
from ltbench.tracking.untracked import tracker_of
from ltbench.workflow.sync import summarise, whole_board
from ltbench.workflow.tell import Tell, tell_nobody, warner


def import_records(
    folder: Path, results: Path, tracking_uri: str | None = None, tell: Tell = tell_nobody
) -> dict[str, int]:
    """Take records made elsewhere into the journals of their suites and into MLflow. A finished record replaces one
    that failed; nothing else is overwritten.

    Args:
        folder: the records.
        results: where the journals lie.
        tracking_uri: MLflow's store; None: `mlflow.db` in `results`.

    Returns:
        How many records of each suite are new.

    Raises:
        UserError: no such folder, no records in it, or a journal that cannot be written.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    warn, source, new_records = warner(tell), Journal(folder), dict[str, int]()
    with ExitStack() as locks:
        for record in source:
            if isinstance(record, Unreadable):
                warn(f"{record.file}: left out: {record.reason}")
                continue
            suite = record.spec.suite
            if suite not in new_records:
                locks.enter_context(SuiteLock(folders_of(results, suite).suite_folder, warn))
            journal = folders_of(results, suite).journal
            known = journal.read(record.key)
            new = known is None or (known.status == "failed" and record.status == "ok")
            if new:
                journal.write(replace(record, predictions=source.predictions(record.key, needed=True)))
            new_records[suite] = new_records.get(suite, 0) + new
        if not new_records:
            raise UserError(f"{folder}: holds no records")
        for suite in new_records:
            folders, store = folders_of(results, suite), store_uri(tracking_uri, results)
            tracker = tracker_of(store, suite, folders.journal, read_plan(folders.plan_file), warn)
            tracker.deliver_backlog()
            if not tracker.close():
                summarise(whole_board(suite, results), store, tell)
    return new_records
