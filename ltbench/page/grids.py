"""The tables of the report, as cells with a value to sort by and a tone."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pandas as pd

from ltbench.page.evidence import Evidence, Run
from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.formats.text_tables import GAIN, Line, detail, overview, places, readable_p, signed
from ltbench.ranking.pairs import Pair
from ltbench.ranking.published import RECIPES
from ltbench.spec import Column
from ltbench.stats.fixed_datasets import Verdict

MATRIX = 20
"""The pair matrix shows this many methods."""
_TONES = {
    Verdict.better: "better", Verdict.slightly_better: "same", Verdict.equivalent: "same",
    Verdict.slightly_worse: "same", Verdict.worse: "worse", Verdict.undecided: "",
}  # fmt: skip


@dataclass(frozen=True)
class PageCell:
    """One place of a table on the page."""

    text: str
    value: float | None = None
    """What the browser sorts by; None: by the text, after all numbers. In the unit of its column: points, seconds,
    images per second, bytes."""
    tone: str = ""
    """Classes of the style sheet, separated by spaces: better, worse, same, pre, wrap."""
    title: str = ""
    """Shown where the pointer rests."""
    link: str = ""
    """Where a click leads, relative to the page."""


@dataclass(frozen=True)
class PageLine:
    """One line of a table on the page."""

    name: str
    """What the filter of the page looks at: the method."""
    cells: Sequence[PageCell]
    tone: str = ""
    """A class of the style sheet: failed, stale."""


@dataclass(frozen=True)
class PageTable:
    """A table on the page: a head for every column, and lines of as many cells."""

    heads: Sequence[str]
    lines: Sequence[PageLine]
    head_at: int = 0
    """The position of the column that names a line."""
    statistics: Collection[int] = ()
    """Positions of the columns that the page hides until a reader asks for them."""


def views(board: Leaderboard, table: Table, number: int) -> list[dict[str, Any]]:
    """The overview of a table, then every column in full.

    Args:
        number: of the table on the page, for identifiers that are different for every table.
    """
    starts = f" ({table.start})" if board.starts_differ else ""
    recipe = f"{table.recipe_name}{starts}: " if len(board.tables) > 1 else ""
    tables = [(f"{recipe}all data sets", _overview(board, table))]
    tables += [(f"{recipe}{table.title(c)}", _detail(board, table, c)) for c in table.columns]
    return [{"id": f"{number}-{i}", "title": title, "rows": rows} for i, (title, rows) in enumerate(tables)]


def _overview(board: Leaderboard, table: Table) -> PageTable:
    """Data sets first, then mean and gain, then what statistics add."""
    tones = {row.name: _TONES[row.gain.verdict] if row.gain else "" for row in table.rows}
    lines = overview(table, board.primary, wide=True)
    first = overview(table, board.primary)[0]
    placed = {head for title in places(table, every=True) for head in (title, f"data set {title}")}
    named, summary = ("rank", "method"), [h for h in lines[0] if h in first and h not in placed]
    heads = [*named, *(h for h in lines[0] if h in placed), *(h for h in summary if h not in named)]
    rest = [h for h in lines[0] if h not in heads]
    ordered = [{head: line[head] for head in [*heads, *rest]} for line in lines]
    found = _of_lines(ordered, tones)
    return replace(found, statistics=range(len(heads), len(found.heads)))


def _detail(board: Leaderboard, table: Table, column: Column) -> PageTable:
    verdicts = {row.name: row.scores[column].verdict for row in table.rows}
    tones = {label: verdict if verdict in ("better", "worse") else "" for label, verdict in verdicts.items()}
    return _of_lines(detail(table, column, board), tones)


def _of_lines(lines: Sequence[Line], tones: Mapping[str, str]) -> PageTable:
    """A table of the leaderboard; tones: by method, of its gain."""
    heads, shown = list(lines[0]), []
    for line in lines:
        name = line["method"].text
        cells = [PageCell(e.text, e.value, tones[name] if head == GAIN else "") for head, e in line.items()]
        shown.append(PageLine(name, cells))
    return PageTable(heads, shown, heads.index("method"))


def matrix(board: Leaderboard, table: Table, evidence: Evidence) -> PageTable:
    """Every pair of the first methods, row minus column."""
    labels = [row.label for row in table.rows[:MATRIX]]
    quality = _quality(table, evidence, 1.0 if board.about(board.primary).higher_is_better else -1.0)
    lines = []
    for a in labels:
        pairs = {p.b: p for p in table.pairs.of(a)}
        cells = [PageCell("·", tone="pre") if a == b else _pair(pairs[b], _won(quality, a, b)) for b in labels]
        lines.append(PageLine(a, [PageCell(a), *cells]))
    return PageTable(["", *labels], lines)


def _pair(pair: Pair, won: str) -> PageCell:
    diff = "-" if pair.test.diff is None else signed(pair.test.diff)
    p = "no p" if pair.p_holm is None else f"p {readable_p(pair.p_holm)}"
    why = pair.test.reason.words if pair.test.reason else str(pair.verdict).replace("_", " ")
    tone = f"pre {_TONES[pair.verdict]}".strip()
    return PageCell(f"{diff}\n{won}\n{p}", tone=tone, title=f"{pair.a} against {pair.b}: {why}")


Quality = Mapping[str, Mapping[tuple[str, str, int], float]]
"""Method -> (data set, imbalance, seed) -> value, more is better."""


def _quality(table: Table, evidence: Evidence, sign: float) -> Quality:
    """Of the runs on the board."""
    there = {(c.dataset, c.imbalance) for c in table.columns}
    quality: dict[str, dict[tuple[str, str, int], float]] = {}
    for run in evidence.runs:
        if run.used and run.value is not None and (run.dataset, run.imbalance) in there:
            quality.setdefault(run.method, {})[run.dataset, run.imbalance, run.seed] = sign * run.value
    return quality


def _won(quality: Quality, a: str, b: str) -> str:
    """Won-tied-lost over the runs both have."""
    mine, theirs = quality.get(a, {}), quality.get(b, {})
    d = [round(mine[k] - theirs[k], 10) for k in mine.keys() & theirs.keys()]
    return f"{sum(x > 0 for x in d)}-{sum(x == 0 for x in d)}-{sum(x < 0 for x in d)}"


def published(board: Leaderboard, evidence: Evidence) -> PageTable:
    """Published numbers and ours; of the best test epoch, too, where there are curves that tell."""
    chosen = {place: float(epochs.best.mean()) for place, epochs in evidence.epochs.items()}
    chosen = chosen if board.primary == "balanced_accuracy" else {}
    extra = ["ours, best test epoch"] if any((b.label, b.column) in chosen for b in board.published) else []
    heads = ["method", "data", "published", "ours", *extra, "", "recipe of the paper", "source"]
    lines = []
    for b in board.published:
        half = "" if b.ours.half is None else f" ±{b.ours.half:.1f}"
        tone = {"reproduced": "better", "differs": "worse"}.get(b.judgement.value, "")
        best = chosen.get((b.label, b.column))
        cells = [
            PageCell(b.label),
            PageCell(b.column.label),
            PageCell(f"{b.published.value:.2f}", b.published.value),
            PageCell(f"{b.ours.mean:.1f}{half}", b.ours.mean),
            *[_number(best, ".1f") for _ in extra],
            PageCell(b.judgement.value.replace("_", " "), tone=tone),
            PageCell(RECIPES[b.published.recipe].title, tone="wrap"),
            PageCell(b.published.source + (f" ({b.published.note})" if b.published.note else ""), tone="wrap"),
        ]
        lines.append(PageLine(b.label, cells))
    return PageTable(heads, lines)


def runs(board: Leaderboard, evidence: Evidence, records: str | None) -> PageTable:
    """Every run, failures first.

    Args:
        records: the folder of the records, relative to the page; None: no links.
    """
    heads = ["trial", "method", "data", "seed", "status", board.primary.replace("_", " "), "time", "images/s", "memory",
             "device", "commit", "remark"]  # fmt: skip
    return PageTable(heads, [_run(run, records) for run in evidence.runs])


def _run(run: Run, records: str | None) -> PageLine:
    remark = run.error or ("" if run.used else "not on the board: of an earlier plan")
    remark = remark or (f"training of {run.trained_by}" if run.trained_by else "")
    memory = "-" if run.peak_memory is None else f"{run.peak_memory / 2**30:.1f} GiB"
    cells = [
        PageCell(run.key, link=f"{records}/{run.key}.json" if records else ""),
        PageCell(run.method),
        PageCell(f"{run.dataset} {run.imbalance}"),
        PageCell(str(run.seed), run.seed),
        PageCell(run.status),
        _number(run.value, ".2f"),
        PageCell("-" if run.seconds is None else _duration(run.seconds), run.seconds),
        _number(run.images_per_second, ",.0f"),
        PageCell(memory, run.peak_memory),
        PageCell(run.device),
        PageCell(run.commit),
        PageCell(remark, tone="wrap" if remark else ""),
    ]
    return PageLine(run.method, cells, "failed" if run.status != "ok" else "" if run.used else "stale")


def _number(value: float | None, form: str) -> PageCell:
    return PageCell("-" if value is None else format(value, form), value)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))


def of_frame(data: pd.DataFrame) -> PageTable:
    """A figure's data."""
    lines = [PageLine(str(row[0]), [PageCell(_readable(v)) for v in row]) for row in data.itertuples(index=False)]
    return PageTable([str(head).strip() for head in data.columns], lines)


def _readable(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
