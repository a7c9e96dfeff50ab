"""Runs where MLflow is not installed: the records stay in the journal, and a line says how MLflow gets them later."""

from __future__ import annotations

from ltbench.results.journal import Journal
from ltbench.spec import Expectation, Record
from ltbench.system.extras import cure, lacking
from ltbench.tracking.delivery import Tracker, Warn


class Untracked:
    """Stands where a `Tracker` would, and sends nothing."""

    def send(self, record: Record) -> None:
        """The journal has it."""

    def deliver_backlog(self) -> int:
        """Nothing is sent."""
        return 0

    def close(self) -> int:
        """Nothing waits to be sent."""
        return 0


def tracker_of(
    uri: str, suite: str, journal: Journal, expectation: Expectation | None, warn: Warn
) -> Tracker | Untracked:
    """What sends the records of a suite to MLflow, as the arguments of `Tracker` say; where MLflow is not installed,
    what sends none."""
    if not lacking("mlflow"):
        return Tracker(uri, suite, journal, expectation, warn)
    warn(f"MLflow is not installed: the records are in {journal.folder} alone. {cure('mlflow')}; then `ltbench sync` "
         f"sends them")  # fmt: skip
    return Untracked()
