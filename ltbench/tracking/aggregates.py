"""A leaderboard as runs for MLflow: one per method and column, one per method over all. Those of the report stand
apart from the trials; those of the summary stand among them, and lead their groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ltbench.ranking.board import Leaderboard, Row, Score, Table, span_label
from ltbench.tracking.mlflow_page import GROUP

ORDER = "board/order"
"""The metric of a summary's runs that orders them: first the board's rows, 1 is the best method; then its columns."""
_MANY = 12
"""Columns of a board that get a chart of their own, and a column in the list."""
_SHORT = {"mean": "mean", "mean_low": "low", "mean_high": "high", "gain": "gain", "gain_low": "gain_low",
          "gain_high": "gain_high", "p_holm": "p_holm", "n": "seeds", "rank_low": "rank_best",
          "rank_high": "rank_worst"}  # fmt: skip
"""Of the metrics of an aggregate, those that a summary repeats, and under which name."""


@dataclass(frozen=True)
class Aggregate:
    """One run: what it is named, how it is found, what it says."""

    name: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def aggregates(board: Leaderboard) -> list[Aggregate]:
    """Mean, interval, rank interval, n and verdict against the reference, per method and column and over all."""
    return [run for table in board.tables for row in table.rows for run in _of_row(board, table, row)]


def _of_row(board: Leaderboard, table: Table, row: Row) -> Iterator[Aggregate]:
    shared = {"method": row.label, "recipe": table.recipe_name, "metric": board.primary}
    gain = row.gain.test if row.gain else None
    verdict = str(row.gain.verdict) if row.gain else "reference" if row.label == table.reference else "no reference"
    seeds = min(score.finished for score in row.scores.values())
    numbers = _spread("mean", row.mean, row.half) | _ranked(row.rank) | {"n": float(seeds)}
    if gain is not None and gain.diff is not None:
        numbers |= _spread("gain", gain.diff, gain.half)
    if row.gain is not None and row.gain.p_holm is not None:
        numbers["p_holm"] = row.gain.p_holm
    overall = {"dataset": "all", "imbalance": "all", "verdict": verdict, "rank": row.rank_label}
    if table.standing is not None:
        look = table.standing.at[row.label]
        shared["look"] = f"{look} of {len(table.standing.looks)}"
        numbers["level"] = table.standing.looks.levels[max(look, 1) - 1]
    yield Aggregate(f"{row.label} all", {**shared, **overall}, numbers)
    for column, score in row.scores.items():
        place = {"dataset": column.dataset, "imbalance": column.imbalance, "verdict": score.verdict}
        if score.rank is not None:
            place["rank"] = span_label(score.rank)
        yield Aggregate(f"{row.label} {table.title(column)}", {**shared, **place}, _of_score(board, score))


def _of_score(board: Leaderboard, score: Score) -> dict[str, float]:
    own = score.metrics[board.primary]
    numbers = {} if own is None else _spread("mean", own.mean, own.half) | {"n": float(own.n)}
    numbers |= {name: i.mean for name, i in score.metrics.items() if i is not None and name != board.primary}
    if score.rank is not None:
        numbers |= _ranked(score.rank)
    if score.gain is not None and score.gain.diff is not None:
        numbers |= _spread("gain", score.gain.diff, score.gain.half)
    if score.p_holm is not None:
        numbers["p_holm"] = score.p_holm
    return numbers


def _spread(name: str, middle: float, half: float | None) -> dict[str, float]:
    ends = {} if half is None else {f"{name}_low": middle - half, f"{name}_high": middle + half}
    return {name: middle, **ends}


def _ranked(rank: tuple[int, int]) -> dict[str, float]:
    return {"rank_low": float(rank[0]), "rank_high": float(rank[1])}


@dataclass(frozen=True)
class Summary:
    """A board as MLflow's page of a suite shows it.

    Attributes:
        runs: one per method over all columns, in the board's order, then one per method and column.
        groups: (recipe's id, method, data set, imbalance, manifest) of a trial -> the group that it belongs to.
        columns: metrics for the list. charts: section -> metrics with a chart.
    """

    runs: Sequence[Aggregate]
    groups: Mapping[tuple[str, ...], str]
    columns: Sequence[str]
    charts: Mapping[str, Sequence[str]]


def group_of(method: str, cell: str, recipe: str = "") -> str:
    """What a row of the list is called: method, cell, and the recipe where there are several."""
    return " ".join(filter(None, (method, cell, recipe and f"({recipe})")))


def summary(board: Leaderboard) -> Summary:
    """The board's numbers by method and cell, for the page of the suite's trials."""
    runs: list[Aggregate] = []
    below: dict[str, list[Aggregate]] = {}
    groups: dict[tuple[str, ...], str] = {}
    shown = [table for table in board.tables if table.rows]
    for table in shown:
        recipe = table.recipe_name if len(shown) > 1 else ""
        for row in table.rows:
            whole, *parts = _of_row(board, table, row)
            cells = [group_of(row.label, table.title(column), recipe) for column in row.scores]
            groups |= {(table.recipe_id, row.label, *c): g for c, g in zip(row.scores, cells, strict=True)}
            alone = len(parts) == 1
            first = _summed(parts[0] if alone else whole, cells[0] if alone else group_of(row.label, "", recipe))
            runs.append(replace(first, metrics={**first.metrics, **_by_cell(table, row, parts)}))
            for column, part, group in () if alone else zip(row.scores, parts, cells, strict=True):
                below.setdefault(table.title(column), []).append(_summed(part, group))
    titles = dict.fromkeys(_metric_name(table.title(column)) for table in shown for column in table.columns)
    every = enumerate([*runs, *(run for cell in below.values() for run in cell)], start=1)
    ordered = [replace(run, metrics={**run.metrics, ORDER: float(number)}) for number, run in every]
    return Summary(ordered, groups, *_layout(board, list(titles)[:_MANY]))


def _by_cell(table: Table, row: Row, parts: Sequence[Aggregate]) -> dict[str, float]:
    """Mean and interval on every cell, for the run over all of them."""
    return {f"{name}/{_metric_name(table.title(column))}": value
            for column, part in zip(row.scores, parts, strict=True)
            for name, value in _short(part.metrics).items() if name in ("mean", "low", "high")}  # fmt: skip


def _layout(board: Leaderboard, cells: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Columns of the list; sections of charts."""
    of_board = ("mean", "low", "high", "gain", "gain_low", "gain_high", "seeds")
    title, parts = board.about(board.primary).title, list(cells) if len(cells) > 1 else []
    spans = ("low", "mean", "high")
    charts = {f"Board: {title}, 95 % interval": [f"board/{name}" for name in spans]}
    gained = ["board/gain_low", "board/gain", "board/gain_high"]
    charts |= {"Board: gain, 95 % interval": gained} if _compared(board) else {}
    charts |= {cell: [f"{name}/{cell}" for name in spans] for cell in parts}
    return [*(f"board/{name}" for name in of_board), *(f"mean/{cell}" for cell in parts)], charts


def _compared(board: Leaderboard) -> bool:
    return any(row.gain is not None for table in board.tables for row in table.rows)


def _summed(run: Aggregate, group: str) -> Aggregate:
    """A run of the leaderboard's experiment as one among the trials."""
    metrics = {f"board/{name}": value for name, value in _short(run.metrics).items()}
    cell = "all" if run.tags["dataset"] == "all" else f"{run.tags['dataset']} {run.tags['imbalance']}"
    return Aggregate(
        f"board: {group}", {**run.tags, GROUP: group, "cell": cell, "mlflow.note.content": _told(run)}, metrics
    )


def _short(metrics: Mapping[str, float]) -> dict[str, float]:
    """As many digits as a page has room for."""
    return {short: round(metrics[name], 4 if name == "p_holm" else 2) for name, short in _SHORT.items()
            if name in metrics}  # fmt: skip


def _told(run: Aggregate) -> str:
    """The run's note: what its numbers say."""

    def span(name: str) -> str:
        if name not in run.metrics:
            return "unknown"
        ends = [run.metrics.get(f"{name}_{end}") for end in ("low", "high")]
        interval = "" if None in ends else f" [{ends[0]:.1f}, {ends[1]:.1f}]"
        return f"{run.metrics[name]:.1f}{interval}"

    where = "over all cells" if run.tags["dataset"] == "all" else f"on {run.tags['dataset']} {run.tags['imbalance']}"
    gain = f", gain over the reference {span('gain')}" if "gain" in run.metrics else ""
    return (f"A row of the leaderboard, not a trial. **{run.tags['method']}** {where}: {run.tags['metric']} "
            f"{span('mean')}{gain}. Verdict: {run.tags['verdict']}. Intervals are 95 %.\n\nThe trials of this row are "
            f"in its group. `ltbench leaderboard` says more.")  # fmt: skip


def _metric_name(title: str) -> str:
    """MLflow takes no other characters in the names of metrics."""
    return re.sub(r"[^\w .:-]", "", title)
