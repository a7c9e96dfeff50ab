"""A leaderboard as JSON: everything, with what it was made from. null always has a reason beside it."""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib.metadata import version
from typing import Any

import ltbench
from ltbench.ranking.board import Leaderboard, Pairs, Score, Table
from ltbench.stats.aggregate import Estimate
from ltbench.stats.fixed_datasets import ScopeATest
from ltbench.stats.minimum import Test, min_n
from ltbench.stats.paired import PairTest
from ltbench.stats.reasons import Reason

SCHEMA = 3
MOST_PAIRS = 5000
"""More pairs than this are left to the pairs' CSV."""
_TESTS: dict[type, Test] = {PairTest: "paired_t", ScopeATest: "scope_a", Estimate: "bootstrap"}


def as_json(board: Leaderboard) -> str:
    """Equal leaderboards give equal text."""
    text = json.dumps(as_data(board), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)  # json escapes those below 32 itself


def as_data(board: Leaderboard) -> dict[str, Any]:
    """The same as plain dictionaries and lists."""
    versions = {name: version(name) for name in ("numpy", "scipy")}
    versions = {"ltbench": ltbench.__version__, "python": platform.python_version(), **versions}
    data = plain(board)
    data["tables"] = [_table(table) for table in board.tables]
    return {"schema": SCHEMA, "versions": versions, **data}


def _table(table: Table) -> dict[str, Any]:
    data = plain(table)
    data["columns"] = [column._asdict() for column in table.columns]
    for line, row in zip(data["rows"], table.rows, strict=True):
        line["scores"] = [plain(row.scores[column]) for column in table.columns]
    return {str(k): v for k, v in data.items()}


def plain(value: Any) -> Any:
    """Dataclasses, mappings and sequences as JSON's own kinds; NaN as null."""
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Pairs):
        return [plain(pair) for pair in value] if len(value) <= MOST_PAIRS else None
    if is_dataclass(value):
        found = {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.name != "scores"}
        if isinstance(value, Score):
            found["verdict"] = value.verdict
        return {**found, **_needed(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def _needed(value: Any) -> dict[str, int]:
    """Where seeds are too few, how many would do."""
    test = _TESTS.get(type(value))
    return {"needs": min_n(test)} if test and value.reason is Reason.too_few_seeds else {}
