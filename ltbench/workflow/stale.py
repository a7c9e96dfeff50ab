"""Whether results still hold: rows trained with other code than today's, and trials that `ltbench verify` ran again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ltbench.errors import UserError
from ltbench.fingerprints import fingerprint_of_files
from ltbench.plugins import METHODS, entries
from ltbench.ranking.selection import Again
from ltbench.results.journal import Journal
from ltbench.results.verified import read_marks
from ltbench.spec import NUMERICS, Expectation, Result, TrialSpec
from ltbench.system.extras import lacking
from ltbench.system.shipped import shipped_folder


def stale_rows(
    results: Iterable[Result], journal: Journal, expectation: Expectation | None, methods: Path | None = None
) -> dict[str, str]:
    """Row -> why its results are not what today's code would give. A row whose method is not at hand is not judged.

    One record per row is read: all trials of a row on a board have the same code.

    Args:
        expectation: the plan, which says which of a row's results are on the board.
        methods: a user's folder of methods, beside those that come with ltbench, are installed, or lie in folders of
            plugins in use.
    """
    rows = expectation.rows if expectation is not None else {}
    found: dict[str, str] = {}
    judged: set[str] = set()
    for result in results:
        if result.label in judged or (result.label in rows and rows[result.label].variant != result.variant):
            continue
        record = journal.read(result.key)
        if record is not None:
            judged.add(result.label)
            if reason := _why_stale(record.spec, methods):
                found[result.label] = reason
    return found


def run_again(results: Iterable[Result], journal: Journal) -> dict[str, Again]:
    """Key -> what came of a trial that ran again, as far as the result is still the one that was compared."""
    marks = read_marks(journal.folder)
    if not marks:
        return {}
    return {
        r.key: Again(mark.holds, mark.machine, mark.when)
        for r in results
        if (mark := marks.get(r.key)) is not None and mark.is_of(r.metrics)
    }


def _why_stale(spec: TrialSpec, methods: Path | None) -> str:
    """Nothing where today's code is the recorded one, or where there is nothing to compare it with."""
    if spec.numerics != NUMERICS:
        return "trained by a version of ltbench whose numbers are others"
    code = _code_today(spec.method, methods)
    return "" if code in (None, spec.code) else f"the code of {spec.method} changed since"


def _code_today(method: str, methods: Path | None) -> str | None:
    """Fingerprint of a method's code as it is now; None where the method is not at hand.

    Built-in methods are read, not imported: torch alone takes longer to import than a board to make.
    """
    names = method.split("+")  # several where they are composed (registry/compose.py)
    files = [shipped_folder("methods") / f"{name}.py" for name in names]
    if all(file.is_file() for file in files):
        return fingerprint_of_files(files)
    if methods is None and not entries(METHODS).keys() & {method, *names}:
        return None
    if lacking("train"):  # a method of somebody's own is read by importing it
        return None
    from ltbench.registry import Registry, fingerprint

    registry = Registry(methods)
    try:
        return fingerprint(registry.get(method))
    except UserError:  # it is not there, or cannot be imported any more: there is no code to compare with
        return None
