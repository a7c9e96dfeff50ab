"""What MLflow's pages say in words: the description of a suite's experiment, the note of a trial. Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from ltbench.errors import reason_of
from ltbench.metrics import METRICS
from ltbench.spec import Expectation, Record

_NAMED = 20
"""Of more methods or cells, the others are counted."""
_LONGEST = 4800
"""Older servers refuse longer tags."""
_TOLD = ("accuracy", "balanced_accuracy", "many", "medium", "few")
"""Metrics that the note of a trial names."""


def experiment_note(expectation: Expectation) -> str:
    """What a suite asks, what is in its experiment, and how to find one's way there."""
    told = expectation.protocol
    metric, reference = str(told.get("primary", "")), told.get("reference")
    seeds = told.get("seeds")
    count = f", {len(seeds)} seeds each" if isinstance(seeds, list) else ""
    over = f", compared with `{reference}`" if reference else ""
    cells = dict.fromkeys(column.label for column in expectation.columns)
    parts = [
        expectation.question,
        f"A suite of ltbench. Methods: {_listed(expectation.rows)}. Cells: {_listed(cells) or 'none'}{count}. "
        f"Ranked by {_title(metric)}{over}.",
        "**Rows.** Runs are grouped by method and cell. In each group, the run that is called `board: ...` has the "
        "mean over the seeds (`board/mean`), the ends of its 95 % interval (`board/low`, `board/high`) and the gain "
        "over the reference. The others are the trials. `board/order` 1 is the best method, and the first ten "
        "rows are charted.",
        f"**Filters.** `tags.role = 'final'` leaves the board's runs out. Also `tags.method`, `tags.cell`, "
        f"`tags.dataset`, `tags.imbalance`, `tags.recipe`, `tags.seed`, `attributes.status = 'FAILED'`, and "
        f"``metrics.`test/{metric}` > 50``.",
        f"`ltbench leaderboard {expectation.suite}` prints the table with its tests, `ltbench report "
        f"{expectation.suite}` makes a page of it.",
    ]
    return "\n\n".join(filter(None, parts))[:_LONGEST]


def run_note(record: Record) -> str:
    """What a trial was, and how it went."""
    spec = record.spec
    images = int(sum(record.per_class.get("train_images", [])))
    data = f"{spec.cell.label}" + (f" ({images:,} training images of {len(record.per_class['recall'])} classes)"
                                   if images and "recall" in record.per_class else "")  # fmt: skip
    what = spec.label if spec.label == spec.method else f"{spec.label} (method {spec.method})"
    numbers = ", ".join(f"{_title(name)} {value:.1f}" for name, value in record.metrics.items()
                        if value is not None and name in _TOLD)  # fmt: skip
    outcome = f"Failed: {reason_of(record.error, spec.method)}" if record.status == "failed" else f"Test: {numbers}."
    parts = [
        f"**{what}** on **{data}**, recipe {spec.recipe_name}, {spec.recipe.get('epochs', 0):g} epochs, "
        f"seed {spec.seed}.",
        outcome,
        "Among the artifacts, `record.json` says all that it was made from.",
    ]
    return "\n\n".join(parts)[:_LONGEST]


def _title(metric: str) -> str:
    return METRICS[metric].title if metric in METRICS else metric


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
