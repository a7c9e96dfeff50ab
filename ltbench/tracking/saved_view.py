"""How MLflow's pages show a suite: their address, and a saved view with the leaderboard's rows first. Plain data."""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

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
