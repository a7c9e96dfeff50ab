"""A board in the schema of Every Eval Ever (evaleval/every_eval_ever, eval.schema.json 0.2.1): a line for every row,
each one object of the schema, with the interval of every number."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import ltbench
from ltbench.metric_names import metric_of
from ltbench.ranking.board import Leaderboard, Row, Score, Table
from ltbench.ranking.formats.as_csv import interval_kind
from ltbench.spec import Column
from ltbench.stats.intervals import Interval

SCHEMA = "0.2.1"


def every_eval_ever(board: Leaderboard, *, now: float | None = None) -> str:
    """A line of JSON for every row that is ranked.

    Args:
        now: when the lines are written, in seconds since 1970; None: at this moment.
    """
    stamp = f"{time.time() if now is None else now:.0f}"
    rows = [(table, row) for table in board.tables for row in table.rows]
    return "".join(json.dumps(_row(board, table, row, stamp), allow_nan=False) + "\n" for table, row in rows)


def _row(board: Leaderboard, table: Table, row: Row, stamp: str) -> dict[str, Any]:
    foreign = bool(board.file) or row.elsewhere
    details = {"suite": board.suite, "recipe": table.recipe_name, "recipe_id": table.recipe_id,
               "pretraining": table.pretraining, "data": board.data}  # fmt: skip
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{board.suite}/{row.label}/{stamp}",
        "retrieved_timestamp": stamp,
        "source_metadata": {
            "source_name": board.file or board.suite,
            "source_type": "documentation" if foreign else "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {"name": "unknown" if board.file else "ltbench",
                         "version": "unknown" if board.file else ltbench.__version__},
        "model_info": {
            "name": row.label,
            "id": row.label,
            "additional_details": {k: v for k, v in details.items() if v},
        },
        "evaluation_results": list(_results(board, table, row)),
    }  # fmt: skip


def _results(board: Leaderboard, table: Table, row: Row) -> Iterator[dict[str, Any]]:
    for column, score in row.scores.items():
        for metric, interval in score.metrics.items():
            if interval is not None:
                yield _result(board, table, column, metric, score, interval)


def _result(
    board: Leaderboard, table: Table, column: Column, metric: str, score: Score, interval: Interval
) -> dict[str, Any]:
    about = metric_of(metric)
    kind = interval_kind(table, primary=metric == board.primary)
    share = about.unit == "%"
    config: dict[str, Any] = {
        "evaluation_description": about.title,
        "lower_is_better": not about.higher_is_better,
        "score_type": "continuous",
        "min_score": 0.0 if share else -sys.float_info.max,
        "max_score": 100.0 if share else sys.float_info.max,
        "additional_details": {"metric": metric, **({} if share else {"bounds": "none are known"})},
    }
    found: dict[str, Any] = {"score": interval.mean, "details": {"seeds": str(score.finished), "mean_over": "seeds"}}
    if interval.half is not None and math.isfinite(interval.half):
        found["uncertainty"] = {
            "confidence_interval": {
                "lower": interval.mean - interval.half,
                "upper": interval.mean + interval.half,
                "confidence_level": 0.95,
                "method": f"over {kind}",
            }
        }
    return {
        "evaluation_name": f"{table.title(column)} {metric}",
        "source_data": {
            "dataset_name": column.dataset if table.elsewhere and column.imbalance == "native" else column.label,
            "source_type": "other",
            "additional_details": {"manifest": column.manifest} if column.manifest else {},
        },
        "metric_config": config,
        "score_details": found,
    }
