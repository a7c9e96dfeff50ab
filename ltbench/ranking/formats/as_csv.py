"""A leaderboard as flat tables in full precision: one line per method, column and metric; one line per pair."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ltbench.ranking.board import Leaderboard, Row, Score, Table
from ltbench.ranking.formats.notes import tested_by
from ltbench.ranking.pairs import Pair
from ltbench.spec import Column, canonical
from ltbench.stats.intervals import Interval

SCORE_COLUMNS = ["suite", "recipe", "recipe_id", "pretraining", "method", "rank_low", "rank_high", "dataset",
                 "imbalance", "manifest", "metric", "mean", "sd", "ci95_half", "ci_kind", "seeds", "failed", "missing",
                 "column_rank_low", "column_rank_high", "gain", "gain_ci95_half", "p", "p_holm", "verdict",
                 "reason", "recipe_values", "test_prior"]  # fmt: skip
PAIR_COLUMNS = ["suite", "recipe", "recipe_id", "pretraining", "a", "b", "scope", "test", "metric", "diff", "se", "df",
                "ci95_low", "ci95_high", "p", "p_holm", "n", "share_seeds", "share_images", "share_both", "verdict",
                "reason"]  # fmt: skip
_STEERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""What could steer a terminal, without what ends a line, which a CSV may hold in quotes."""
_FORMULA = ("=", "+", "-", "@")
"""A spreadsheet computes what begins so; an apostrophe before it makes it a text."""


class Flat(NamedTuple):
    """A table with one value in every place: texts, numbers, or None where there is none."""

    columns: Sequence[str]
    lines: Sequence[Sequence[Any]]


def csv_text(table: Flat) -> str:
    """A table as CSV: full precision, empty where there is no value or it is no number."""
    lines = [[_in_a_sheet(value) for value in line] for line in (table.columns, *table.lines)]
    # Python's csv quotes no lone carriage return, where readers end a line: then every text is quoted.
    returns = any("\r" in value for line in lines for value in line if isinstance(value, str))
    written = io.StringIO()
    csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL).writerows(
        lines
    )
    return written.getvalue()


def _in_a_sheet(value: Any) -> Any:
    """A text as a spreadsheet and a terminal may have it: without escape sequences, and no formula."""
    if isinstance(value, float) and value != value:
        return None
    if not isinstance(value, str):
        return value
    text = _STEERS.sub(" ", value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def scores(board: Leaderboard) -> Flat:
    """One line per method, column and metric; p and verdict on the primary metric's lines."""
    lines = [
        _score_line(board, table, row, column, score, metric, interval)
        for table in board.tables
        for row in table.rows
        for column, score in row.scores.items()
        for metric, interval in score.metrics.items()
    ]
    return Flat(SCORE_COLUMNS, lines)


def _score_line(
    board: Leaderboard, table: Table, row: Row, column: Column, score: Score, metric: str, interval: Interval | None
) -> tuple[Any, ...]:
    primary = metric == board.primary
    tested = score.gain if primary else None
    low, high = score.rank or (None, None)
    return (
        board.suite, table.recipe_name, table.recipe_id, table.pretraining, row.label, *row.rank, *column, metric,
        *((interval.mean, interval.sd, interval.half) if interval else (None, None, None)),
        interval_kind(table, primary=primary) if interval and interval.half is not None else None,
        score.finished, score.failed, score.missing, low, high,
        *((tested.diff, tested.half, tested.p, score.p_holm) if tested else (None, None, None, None)),
        score.verdict if primary else None,
        str(tested.reason) if tested and tested.reason else None, recipe_values(board, table),
        row.test_prior,
    )  # fmt: skip


def recipe_values(board: Leaderboard, table: Table) -> str | None:
    """Everything in the recipe of a table's rows, as JSON; None where it is not known."""
    known = board.config.get("recipes", {}).get(table.recipe_name)
    return None if known is None else canonical(known)


def interval_kind(table: Table, *, primary: bool) -> str:
    """What an interval covers."""
    return "seeds and test images" if primary and table.with_images else "seeds"


def pairs(board: Leaderboard) -> Flat:
    """One line per pair of methods: scope A in the primary metric, its gains in the other metrics, and scope B."""
    lines = [
        (board.suite, table.recipe_name, table.recipe_id, table.pretraining, *line)
        for table in board.tables
        for line in _pair_lines(board, table)
    ]
    return Flat(PAIR_COLUMNS, lines)


def _pair_lines(board: Leaderboard, table: Table) -> Iterator[tuple[Any, ...]]:
    kind = f"{tested_by(with_images=table.with_images)} over {interval_kind(table, primary=True)}"
    for pair in table.pairs:
        yield _pair_line(pair, kind, board.primary)
    for row in table.rows:
        for metric, pair in row.others.items():
            yield _pair_line(pair, "paired t over seeds", metric)
    labels = [row.label for row in table.rows]
    found = table.scope_b
    for rank in found.pairs if found else ():
        absent = [None] * 3
        yield (labels[rank.a], labels[rank.b], "B", "Wilcoxon signed-rank", board.primary, None, None, None, None,
               None, rank.p, rank.p_holm, found.blocks if found else None, *absent, None,
               str(rank.reason) if rank.reason else None)  # fmt: skip


def _pair_line(pair: Pair, kind: str, metric: str) -> tuple[Any, ...]:
    t = pair.test
    low, high = (None, None) if t.diff is None or t.half is None else (t.diff - t.half, t.diff + t.half)
    return (pair.a, pair.b, "A", kind, metric, t.diff, t.se, t.df, low, high, t.p, pair.p_holm, t.seeds,
            *(t.shares or (None, None, None)), str(pair.verdict), str(t.reason) if t.reason else None)  # fmt: skip
