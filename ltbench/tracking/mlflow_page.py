"""What MLflow's pages show of a suite: their address, a saved view with the leaderboard's rows first, the description
of the experiment, the note of a trial. Plain data."""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from ltbench.errors import reason_of
from ltbench.metric_names import METRICS
from ltbench.spec import Expectation, Record
from ltbench.spec.validation import is_number

GROUP = "group"
"""The tag of runs by which the view groups them: method and cell."""
_KEY = "ltbench"
VIEW = f"mlflow.sharedViewState.{_KEY}"
"""The tag of an experiment in which MLflow's pages look for the view."""
_CHARTED = "FIRST_10_RUNS"
"""Which rows of the list are charted: the first ones, which the order of the list makes the best."""
_NAME = "attributes.`Run Name`"
_LONGEST = 4800
"""Older servers refuse longer tags."""
_NAMED = 20
"""Of more methods or cells, the others are counted."""
_TOLD = ("accuracy", "balanced_accuracy", "many", "medium", "few")
"""Metrics that the note of a trial names."""


def address_of(server: str, experiment: str) -> str:
    """The page with a suite's runs: of training, not of GenAI, where MLflow 3 begins and a suite looks empty."""
    where = f"/#/experiments/{quote(experiment, safe='')}/runs"
    return f"{server.rstrip('/')}{where}?workflowType=machine_learning&viewStateShareKey={_KEY}"


class Order(NamedTuple):
    """The metric that orders the rows of the list; `rising`: its smallest value comes first."""

    metric: str
    rising: bool


def view_tag(
    columns: Sequence[str], order: Order, charts: Mapping[str, Sequence[str]] | None = None, groups: Iterable[str] = ()
) -> str:
    """The value of the tag: runs grouped, ordered, with these columns in the list.

    Args:
        columns: metrics that the list shows.
        charts: section -> the metrics that have a chart in it; None: MLflow makes its own charts.
        groups: they are shown closed: a click opens their trials.
    """
    state = _state(columns, order) | ({} if charts is None else _charts(charts))
    packed = _packed({**state, "groupsExpanded": {f"tag.{GROUP}.{group}": False for group in groups}})
    return packed if len(packed) <= _LONGEST else _packed(state)


def _state(columns: Sequence[str], order: Order) -> dict[str, Any]:
    shown = [f"metrics.`{name}`" for name in columns]
    return {
        "orderByKey": f"metrics.`{order.metric}`",
        "orderByAsc": order.rising,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": GROUP}]},
        "selectedColumns": shown,
        "columnOrder": [_NAME, *shown],
        "columnWidths": {_NAME: 330, **dict.fromkeys(shown, 125)},
        "runsHiddenMode": _CHARTED,
        "useGroupedValuesInCharts": True,
    }


def _charts(charts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    common = {"isGenerated": False, "deleted": False}
    sections, cards = [], []
    for number, (title, metrics) in enumerate(charts.items()):
        section = f"{_KEY}-{number}"
        sections.append({"uuid": section, "name": title, "display": True, "isReordered": True, **common})
        for metric in metrics:
            name = metric.rpartition("/")[2]
            cards.append({"uuid": f"{section}-{metric}", "type": "BAR", "metricKey": metric, "displayName": name,
                          "metricSectionId": section, "runsCountToCompare": 10, **common})  # fmt: skip
    return {"compareRunCharts": cards, "compareRunSections": sections, "isAccordionReordered": True}


def _packed(state: Mapping[str, Any]) -> str:
    """As MLflow's pages write it: an envelope whose content is compressed."""
    packed = base64.b64encode(zlib.compress(json.dumps(state, separators=(",", ":")).encode())).decode()
    now = int(1000 * time.time())
    envelope = {"name": "Leaderboard", "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    return json.dumps(envelope)


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
    images = int(sum(count or 0 for count in record.per_class.get("train_images", [])))
    epochs = spec.recipe.get("epochs")  # of records from anywhere
    length = f"{epochs:g} epochs, " if is_number(epochs) else ""
    data = f"{spec.cell.label}" + (f" ({images:,} training images of {len(record.per_class['recall'])} classes)"
                                   if images and "recall" in record.per_class else "")  # fmt: skip
    what = spec.label if spec.label == spec.method else f"{spec.label} (method {spec.method})"
    numbers = ", ".join(f"{_title(name)} {value:.1f}" for name, value in record.metrics.items()
                        if value is not None and name in _TOLD)  # fmt: skip
    outcome = f"Failed: {reason_of(record.error, spec.method)}" if record.status == "failed" else f"Test: {numbers}."
    parts = [
        f"**{what}** on **{data}**, recipe {spec.recipe_name}, {length}seed {spec.seed}.",
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
