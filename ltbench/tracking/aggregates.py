"""A leaderboard as runs for MLflow: one per method and column, one per method over all, apart from the trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ltbench.ranking.board import Leaderboard, Row, Score, Table, span_label


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
