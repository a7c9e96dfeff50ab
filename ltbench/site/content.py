"""What a site shows: suites, and across them methods and data sets, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ltbench.ranking.board import Leaderboard, Row, Table
from ltbench.ranking.formats.text_tables import signed
from ltbench.spec import Column, Record


@dataclass(frozen=True)
class Suite:
    """One suite on the site.

    Attributes:
        folder: its folder on the site, relative to the index. page: its report in there. downloads: file -> words.
        picture: of the gains, beside the page; empty without one.
        made: devices, versions and days of its records, in words. methods: row -> the name of its method.
    """

    name: str
    folder: str
    board: Leaderboard
    page: str
    downloads: Mapping[str, str]
    made: str
    methods: Mapping[str, str]
    picture: str = ""

    @property
    def trials(self) -> str:
        """`50 of 50`, with what failed."""
        failed = f", {self.board.failed} failed" if self.board.failed else ""
        return f"{self.board.finished} of {self.board.trials}{failed}"

    @property
    def best(self) -> str:
        """The rows that may be the best, by their rank intervals."""
        tables = [table for table in self.board.tables if table.rows]
        if not tables:
            return "nothing ranked"
        names = [row.name for row in tables[0].rows if row.rank[0] == 1]
        return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

    @property
    def datasets(self) -> str:
        """Its data sets."""
        return ", ".join(dict.fromkeys(c.dataset for table in self.board.tables for c in table.columns))

    @property
    def verified(self) -> str:
        """What became of trials that ran again."""
        again = self.board.verified
        if again is None:
            return "no trial was run again"
        if again.denied:
            return f"NOT CONFIRMED: {len(again.denied)} trials gave other numbers; {again.held} hold"
        return f"{again.held} of {self.board.finished} trials ran again and hold"


@dataclass(frozen=True)
class Line:
    """A method on one column of one suite.

    Attributes:
        score, gain: as the tables have them. verdict: in words. seeds: finished ones. cost: of a trial of the row, in
            words.
    """

    suite: Suite
    table: Table
    row: Row
    column: Column
    method: str
    score: str
    gain: str
    verdict: str
    seeds: int
    cost: str

    @property
    def title(self) -> str:
        """The column."""
        return self.table.title(self.column)


def lines_of(suite: Suite) -> list[Line]:
    """A suite's rows on all of their columns."""
    found = []
    for table in suite.board.tables:
        for row in table.rows:
            for column in table.columns:
                if column in row.scores:
                    found.append(_line(suite, table, row, column, suite.methods.get(row.label, row.label)))
    return found


def _line(suite: Suite, table: Table, row: Row, column: Column, method: str) -> Line:
    score = row.scores[column]
    value = score.metrics.get(suite.board.primary)
    half = f" ±{value.half:.1f}" if value is not None and value.half is not None else ""
    gain = ""
    if score.gain is not None and score.gain.diff is not None:
        diff, off = score.gain.diff, score.gain.half
        gain = signed(diff) + (f" [{signed(diff - off)}, {signed(diff + off)}]" if off is not None else "")
    return Line(
        suite, table, row, column, method,
        score="-" if value is None else f"{value.mean:.1f}{half}",
        gain=gain, verdict=score.verdict, seeds=score.finished, cost=_cost(row),
    )  # fmt: skip


def _cost(row: Row) -> str:
    """`1.9 s, CPU`: the time of one trial, by the share of the device that it held; `-` where nobody knows."""
    for name, device in (("gpu_hours", "GPU"), ("cpu_hours", "CPU")):
        if (hours := row.budget.get(name)) is not None:
            unit, in_hour = next((u for u in (("h", 1), ("min", 60)) if hours * u[1] >= 1), ("s", 3600))
            return f"{hours * in_hour:.2g} {unit}, {device}"
    return "-"


def grouped(lines: Iterable[Line], by: str) -> dict[str, list[Line]]:
    """Lines by `method` or by the data set of their column, in the order of the names."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.method if by == "method" else line.column.dataset, []).append(line)
    return dict(sorted(groups.items()))


def made_with(records: Sequence[Record]) -> str:
    """Devices, versions and days of records: `NVIDIA H200; torch 2.11.0; ltbench 0.2.0; 2026-11-27`."""
    parts = []
    for name, words in (("device", ""), ("torch", "torch "), ("ltbench", "ltbench ")):
        values = sorted({str(r.environment[name]) for r in records if r.environment.get(name)})
        if values:
            parts.append(words + ", ".join(values[:3]) + (" and others" if len(values) > 3 else ""))
    started = [float(s) for r in records if isinstance(s := r.environment.get("started"), int | float)]
    days = sorted({datetime.fromtimestamp(s, UTC).strftime("%Y-%m-%d") for s in started})
    if days:
        parts.append(days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}")
    return "; ".join(parts) or "not known"
