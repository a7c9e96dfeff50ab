"""`ltbench verify`, without a terminal: some finished trials of a suite run again, here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from ltbench.checks.verify import Check, machine_of, verify
from ltbench.errors import UserError
from ltbench.results.folders import referenced
from ltbench.results.verified import Mark, write_marks
from ltbench.spec import SAFE_NAME
from ltbench.suite.yaml_file import shipped
from ltbench.training.site import checked_device
from ltbench.workflow.find_results import journal_of, suite_there
from ltbench.workflow.prepare import Request, prepare
from ltbench.workflow.tell import Tell, tell_nobody


@dataclass(frozen=True)
class Verification:
    """What came of it.

    Attributes:
        checks: one for each trial that ran again. finished: how many could have. primary: the metric compared.
        marked: the file in which the verdicts are kept for the boards; None: they are not.
    """

    checks: Sequence[Check]
    finished: int
    primary: str
    marked: Path | None = None

    @property
    def holds(self) -> bool:
        """Every record that was tried holds."""
        return all(check.holds for check in self.checks)


def verify_suite(
    request: Request,
    source: Path | None = None,
    trials: int = 3,
    draw: int = 0,
    device: str | None = None,
    mark: bool = False,
) -> Verification:
    """Run some finished trials of a suite again, and compare them with their records.

    Args:
        source: a suite's folder of results, or of records; None: in the request's results.
        trials: how many run again.
        draw: which ones: another number picks others.
        device: cpu or cuda; None: the best there is.
        mark: keep the verdicts beside the records, also where these are of `source`. Those of the request's results
            always are.

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
    marked = None
    if (mark or source is None) and journal.folder.name == "records":
        marked = write_marks(journal.folder, {check.then.key: _mark(check) for check in checks})
    elif mark:
        request.warn(f"{journal.folder}: is no folder `records` of a suite's results, so no mark is left")
    return Verification(checks, finished, primary, marked)


def suite_to_verify(
    suite: str | Path | Mapping[str, Any] | None, results: Path, source: Path | None, tell: Tell = tell_nobody
) -> str | Path | Mapping[str, Any]:
    """The suite as it is given: its file, a name or its contents. Of a name that no file has, and none that comes with
    ltbench, the suite as it was run in `results`; None: the last used.

    Raises:
        UserError: nothing has been run, or what the suite was is not known.
    """
    if suite is None:
        return last_suite(results, source, tell)
    if isinstance(suite, str) and SAFE_NAME.fullmatch(suite) and not Path(suite).exists() and shipped(suite) is None:
        file = (results / suite if source is None else referenced(source)) / "suite.json"
        return file if file.is_file() else suite
    return suite


def last_suite(results: Path, source: Path | None, tell: Tell = tell_nobody) -> Path:
    """The suite that was last used, as it was run.

    Args:
        results: where runs wrote. source: a suite's folder of results instead.

    Raises:
        UserError: nothing has been run, or what the suite was is not known.
    """
    folder = results / suite_there(results, None, tell) if source is None else referenced(source)
    file = folder / "suite.json"
    if not file.is_file():
        raise UserError(f"{folder}: has no suite.json, which says what the suite was; name the suite")
    return file


def _mark(check: Check) -> Mark:
    return Mark(check.verdict.value, check.holds, machine_of(check.now), date.today().isoformat(),
                dict(check.then.metrics))  # fmt: skip
