"""The tables of the report, as cells with a value to sort by and a tone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd

from ltbench.metrics import metric_of
from ltbench.page.evidence import Evidence, Run
from ltbench.ranking.board import Leaderboard, Row, Table
from ltbench.ranking.formats.text_tables import detail, overview, readable_p
from ltbench.ranking.published import RECIPES
from ltbench.spec import Column
from ltbench.stats.fixed_datasets import Verdict

MATRIX = 20
"""The pair matrix shows this many methods."""
_TONES = {
    Verdict.better: "better", Verdict.slightly_better: "same", Verdict.equivalent: "same",
    Verdict.slightly_worse: "same", Verdict.worse: "worse", Verdict.unresolved: "",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    text: str
    value: float | str | None = None
    """What to sort by, where the text would not do."""
    tone: str = ""
    title: str = ""
    link: str = ""


@dataclass(frozen=True)
class Line:
    name: str
    cells: Sequence[Cell]
    tone: str = ""


@dataclass(frozen=True)
class Grid:
    heads: Sequence[str]
    lines: Sequence[Line]
    head_at: int = 0
    """The column that names a line."""


def views(board: Leaderboard, table: Table, number: int) -> list[dict[str, Any]]:
    """The overview of a table, then every column in full."""
    starts = f" ({table.start})" if board.starts_differ else ""
    recipe = f"{table.recipe_name}{starts}: " if len(board.tables) > 1 else ""
    frames = [(f"{recipe}all data sets", _overview(board, table))]
    frames += [(f"{recipe}{table.title(c)}", _detail(board, table, c)) for c in table.columns]
    return [{"id": f"{number}-{i}", "title": title, "rows": rows} for i, (title, rows) in enumerate(frames)]


def _overview(board: Leaderboard, table: Table) -> Grid:
    frame = overview(table, board.primary, wide=True)
    rows = {row.label: row for row in table.rows}
    return _grid(frame, rows, {"gain [95% CI]": lambda row: _TONES[row.gain.verdict] if row.gain else ""})


def _detail(board: Leaderboard, table: Table, column: Column) -> Grid:
    tones = {"better": "better", "worse": "worse"}
    return _grid(detail(table, column, board), {row.label: row for row in table.rows},
                 {"gain [95% CI]": lambda row: tones.get(row.scores[column].verdict, "")})  # fmt: skip


def _grid(frame: pd.DataFrame, rows: Mapping[str, Row], tones: Mapping[str, Any]) -> Grid:
    heads = [str(h) for h in frame.columns]
    lines = []
    for record in frame.to_dict("records"):
        row = rows[str(record["method"])]
        cells = [Cell(str(record[h]), _sortable(str(record[h])), tones[h](row) if h in tones else "") for h in heads]
        lines.append(Line(row.label, cells))
    return Grid(heads, lines, heads.index("method"))


def _sortable(text: str) -> float | str | None:
    """The number a cell starts with; cells without one sort after all numbers."""
    start = text.split(" ")[0].split("-")[0 if not text.startswith("-") else 1].rstrip("*<").lstrip("<")
    try:
        value = float(start)
    except ValueError:
        return None
    return -value if text.startswith("-") else value


def matrix(board: Leaderboard, table: Table, evidence: Evidence) -> Grid:
    """Every pair of the first methods, row minus column."""
    labels = [row.label for row in table.rows[:MATRIX]]
    pairs = {label: {p.b: p for p in table.pairs.of(label)} for label in labels}
    wins = _quality(table, evidence, 1.0 if metric_of(board.primary).higher_is_better else -1.0)
    lines = []
    for a in labels:
        cells = [Cell(a)]
        for b in labels:
            if a == b:
                cells.append(Cell("·", tone="pre"))
                continue
            pair = pairs[a][b]
            diff = "-" if pair.test.diff is None else f"{pair.test.diff:+.1f}"
            p = "no p" if pair.p_holm is None else f"p {readable_p(pair.p_holm)}"
            why = pair.test.reason.words if pair.test.reason else str(pair.verdict).replace("_", " ")
            text = f"{diff}\n{_won(wins, a, b)}\n{p}"
            cells.append(Cell(text, tone=f"pre {_TONES[pair.verdict]}".strip(), title=f"{a} against {b}: {why}"))
        lines.append(Line(a, cells))
    return Grid(["", *labels], lines)


def _quality(table: Table, evidence: Evidence, sign: float) -> dict[str, dict[tuple[str, str, int], float]]:
    """Method -> (data set, imbalance, seed) -> value, more is better, of the runs on the board."""
    there = {(c.dataset, c.imbalance) for c in table.columns}
    found: dict[str, dict[tuple[str, str, int], float]] = {}
    for run in evidence.runs:
        if run.used and run.value is not None and (run.dataset, run.imbalance) in there:
            found.setdefault(run.method, {})[run.dataset, run.imbalance, run.seed] = sign * run.value
    return found


def _won(values: Mapping[str, Mapping[tuple[str, str, int], float]], a: str, b: str) -> str:
    """Won-tied-lost over the runs both have."""
    mine, theirs = values.get(a, {}), values.get(b, {})
    d = [round(mine[k] - theirs[k], 10) for k in mine.keys() & theirs.keys()]
    return f"{sum(x > 0 for x in d)}-{sum(x == 0 for x in d)}-{sum(x < 0 for x in d)}"


def published(board: Leaderboard, evidence: Evidence) -> Grid:
    """Published numbers and ours; of the best test epoch, too, where there are curves that tell."""
    chosen = {p: float(found.best.mean()) for p, found in evidence.epochs.items()}
    chosen = chosen if board.primary == "balanced_accuracy" else {}
    extra = ["ours, best test epoch"] if any((b.label, b.column) in chosen for b in board.published) else []
    heads = ["method", "data", "published", "ours", *extra, "", "recipe of the paper", "source"]
    lines = []
    for b in board.published:
        half = "" if b.ours.half is None else f" ±{b.ours.half:.1f}"
        tone = {"reproduced": "better", "differs": "worse"}.get(b.judgement.value, "")
        best = chosen.get((b.label, b.column))
        cells = [
            Cell(b.label), Cell(b.column.label),
            Cell(f"{b.published.value:.2f}", b.published.value), Cell(f"{b.ours.mean:.1f}{half}", b.ours.mean),
            *[Cell("-" if best is None else f"{best:.1f}", best) for _ in extra],
            Cell(b.judgement.value.replace("_", " "), tone=tone), Cell(RECIPES[b.published.recipe].title, tone="wrap"),
            Cell(b.published.source + (f" ({b.published.note})" if b.published.note else ""), tone="wrap"),
        ]  # fmt: skip
        lines.append(Line(b.label, cells))
    return Grid(heads, lines)


def runs(board: Leaderboard, evidence: Evidence, records: str | None) -> Grid:
    """Every run, failures first."""
    heads = ["trial", "method", "data", "seed", "status", board.primary.replace("_", " "), "time", "images/s", "memory",
             "device", "commit", "remark"]  # fmt: skip
    return Grid(heads, [_run(run, records) for run in evidence.runs])


def _run(run: Run, records: str | None) -> Line:
    remark = run.error or ("" if run.used else "not on the board: of an earlier plan")
    remark = remark or (f"training of {run.trained_by}" if run.trained_by else "")
    cells = [
        Cell(run.key, link=f"{records}/{run.key}.json" if records else ""),
        Cell(run.method),
        Cell(f"{run.dataset} {run.imbalance}"),
        Cell(str(run.seed), run.seed),
        Cell(run.status),
        Cell("-" if run.value is None else f"{run.value:.2f}", run.value),
        Cell("-" if run.seconds is None else _duration(run.seconds), run.seconds),
        Cell("-" if run.images_per_second is None else f"{run.images_per_second:,.0f}", run.images_per_second),
        Cell("-" if run.peak_memory is None else f"{run.peak_memory / 2**30:.1f} GiB", run.peak_memory),
        Cell(run.device),
        Cell(run.commit),
        Cell(remark, tone="wrap" if remark else ""),
    ]
    return Line(run.method, cells, "failed" if run.status != "ok" else "" if run.used else "stale")


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))


def of_frame(frame: pd.DataFrame) -> Grid:
    """A figure's data."""
    lines = [Line(str(record[0]), [Cell(_readable(v)) for v in record]) for record in frame.itertuples(index=False)]
    return Grid([str(h).strip() for h in frame.columns], lines)


def _readable(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
