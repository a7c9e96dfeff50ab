"""`ltbench diff A B`: two folders of results, two stores, or one of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ltbench.errors import UserError
from ltbench.ranking.views.moved import Moves, Side, moves
from ltbench.results.folders import last_used, referenced
from ltbench.results.journal import Journal, Unreadable
from ltbench.spec import Expectation, Record, Result, TrialSpec
from ltbench.system.uris import shown_uri
from ltbench.workflow.find_results import find_results, journal_in
from ltbench.workflow.tell import Tell, tell_nobody, warner

_NOWHERE = Path("no folder of results")


@dataclass(frozen=True)
class Found:
    """One side: its results, its plan, how it is shown, and the suite that was chosen among several."""

    side: Side
    plan: Expectation | None
    name: str
    suite: str | None = None


@dataclass(frozen=True)
class Diff:
    """The comparison, and what A and B are."""

    moves: Moves
    a: str
    b: str


def diff(
    a: str,
    b: str,
    suite: str | None = None,
    primary: str | None = None,
    rope: float | None = None,
    tell: Tell = tell_nobody,
) -> Diff:
    """Compare two sets of results cell by cell.

    Args:
        a, b: a suite's folder of results, a folder of records, a folder of results with suites in it, or the URI of an
            MLflow store.
        suite: which suite, where there are several; None: A's last used, and the same of B.
        primary: the metric; None: that of A's plan.
        rope: differences below it are practically none; None: that of A's plan, or the metric's.
        tell: told which files are left out.

    Raises:
        UserError: nothing there, or nothing in common.
    """
    one = side_of(a, suite, tell)
    other = side_of(b, suite, tell, one.suite)
    plan = one.plan or other.plan
    protocol = plan.protocol if plan is not None else {}
    metric = primary or protocol.get("primary")
    if rope is None and metric == protocol.get("primary"):
        rope = protocol.get("rope")
    return Diff(moves(one.side, other.side, metric, rope), one.name, other.name)


def side_of(place: str, suite: str | None, tell: Tell, like: str | None = None) -> Found:
    """The results at a place. Of a plan kept with them, those that belong to it.

    Args:
        suite: the suite to look at; None: the last used. like: the one to prefer to that, where it is there.
    """
    specs: dict[str, TrialSpec] = {}
    chosen = None
    if "://" in place:
        found = find_results(suite, _NOWHERE, place, None, tell)
        results, plan, name = found.results, found.expectation, shown_uri(place)
    else:
        whole = referenced(Path(place).expanduser())
        if not whole.is_dir():
            raise UserError(f"{place}: no such folder of results, and no store's URI")
        folder = _folder(whole, suite or like, tell)
        chosen = folder.name if folder != whole else None
        journal, plan = journal_in(folder)
        records = _readable(journal, tell)
        if suite is not None:
            records = [r for r in records if r.spec.suite == suite]
        results, specs, name = [Result.of(r) for r in records], {r.key: r.spec for r in records}, str(journal.folder)
    if not any(r.status == "ok" for r in results):
        raise UserError(f"{place}: holds no finished trial" + (f" of {suite}" if suite else ""))
    if plan is not None:
        of_plan = [r for r in results if r.label in plan.rows and plan.rows[r.label].variant == r.variant]
        results = of_plan or results
    shown = f"{name} ({sum(r.status == 'ok' for r in results)} finished trials)"
    return Found(Side(tuple(results), specs), plan, shown, chosen)


def _folder(folder: Path, suite: str | None, tell: Tell) -> Path:
    """The suite's folder below a folder of results; else the folder itself."""
    if (folder / "records").is_dir() or not folder.is_dir():
        return folder
    there = last_used(folder)
    if suite is not None and suite in there:
        return folder / suite
    if len(there) > 1:
        tell(f"{folder}: {len(there)} suites are there ({', '.join(there)}); showing the last used")
    return folder / there[0] if there else folder


def _readable(journal: Journal, tell: Tell) -> list[Record]:
    records = []
    for record in journal:
        if isinstance(record, Unreadable):
            warner(tell)(f"{record.file}: left out: {record.reason}")
        else:
            records.append(record)
    return records
