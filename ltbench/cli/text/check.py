"""What `ltbench check` says of a method, a backbone or a data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltbench.checks.code import Verdict


def verdict_text(verdict: Verdict) -> str:
    """The table of what was tried, the problems, and whether it keeps the contract."""
    return "".join(f"{line}\n" for line in _lines(verdict))


def _lines(verdict: Verdict) -> Iterator[str]:
    yield from _table(verdict)
    yield from (f"problem: {problem}" for problem in verdict.problems)
    if not verdict.problems and verdict.group == "ltbench.methods":
        yield from (f"slow on a GPU: {wait}" for wait in verdict.waits)
        yield f"graph: {'yes' if verdict.eager is None else f'no: {verdict.eager}'}"
    count = f"{len(verdict.problems)} problem{'s' * (len(verdict.problems) > 1)}"
    yield f"{verdict.name}: {'keeps the contract' if not verdict.problems else count}"


def _table(verdict: Verdict) -> Iterator[str]:
    """What was tried, what came of it, and how long it took."""
    if not verdict.tried:
        return
    rows = [(tried.what, tried.result, f"{tried.seconds:.1f} s") for tried in verdict.tried]
    rows.append(("all of it", "", f"{sum(tried.seconds for tried in verdict.tried):.1f} s"))
    wide, middle = (max(len(row[i]) for row in rows) for i in (0, 1))
    for what, result, seconds in rows:
        yield f"{what:<{wide}}  {result:<{middle}}  {seconds:>7}"
    yield ""
