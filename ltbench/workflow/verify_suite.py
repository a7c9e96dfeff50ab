"""`ltbench verify`, without a terminal: some finished trials of a suite run again, here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ltbench.checks.verify import Check, verify
from ltbench.errors import UserError
from ltbench.training.site import checked_device
from ltbench.workflow.find_results import journal_of
from ltbench.workflow.prepare import Request, prepare


@dataclass(frozen=True)
class Verification:
    """What came of it.

    Attributes:
        checks: one for each trial that ran again. finished: how many could have. primary: the metric compared.
    """

    checks: Sequence[Check]
    finished: int
    primary: str

    @property
    def holds(self) -> bool:
        """Every record that was tried holds."""
        return all(check.holds for check in self.checks)


def verify_suite(
    request: Request, source: Path | None = None, trials: int = 3, draw: int = 0, device: str | None = None
) -> Verification:
    """Run some finished trials of a suite again, and compare them with their records.

    Args:
        source: a suite's folder of results, or of records; None: in the request's results.
        trials: how many run again.
        draw: which ones: another number picks others.
        device: cpu or cuda; None: the best there is.

    Raises:
        UserError: the suite cannot be planned, or there is no finished trial of it as it is.
    """
    device = checked_device(device)
    prepared = prepare(request)
    plan = prepared.plan
    journal, _ = journal_of(request.results, prepared.suite.suite, source)
    records = journal.records()
    keys = {spec.key for spec in plan.trials}
    finished = sum(record.status == "ok" for key, record in records.items() if key in keys)
    if not finished:
        raise UserError(f"{journal.folder}: holds no finished trial of this suite as it is ({len(records)} records of "
                        f"others): give the suite, --set and --methods that they were run with")  # fmt: skip
    primary = str(plan.protocol["primary"])
    checks = verify(
        records,
        plan.trials,
        replace(prepared.site(plan, None), device=device),
        primary,
        trials,
        draw,
        tell=request.tell,
        prepare=lambda name: prepared.inputs.sources[name].prepare(),
    )
    return Verification(checks, finished, primary)
