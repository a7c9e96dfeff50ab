"""What a search chose, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ltbench.metric_names import metric_of


def choice_text(choice: Mapping[str, Any], select: str) -> str:
    """One row's hyper-parameters, and how they fared among the settings that were tried."""
    values = ", ".join(f"{name} {_shown(value)}" for name, value in choice["hyperparameters"].items())
    digits = metric_of(select).digits
    among = f"best of {choice['settings']} settings, {metric_of(select).title} {choice['score']:.{digits}f}"
    if choice["setting"] == 0:
        return f"{values}, as written: {among}"
    written = "diverged" if choice["as_written"] is None else f"{choice['as_written']:.{digits}f}"
    return f"{values}: {among} (as written: {written})"


def search_notes(search: Mapping[str, Any] | None) -> list[str]:
    """How the rows of a leaderboard came to their hyper-parameters.

    Args:
        search: `search` of the plan's protocol; None: nothing was searched.
    """
    if not search or not search["chosen"]:
        return []
    rows = "; ".join(f"{label}: {choice_text(choice, search['select'])}" for label, choice in search["chosen"].items())
    return [
        f"Searched on {search['holdout_per_class']} training images per class that were held out, never on the test "
        f"set, one setting for all data sets: {rows}. Other rows are as written. Intervals are of these settings, not "
        "of the search."
    ]


def tried_notes(tried: Mapping[str, Mapping[str, Mapping[str, Any]]] | None) -> list[str]:
    """What the numbered rows of a search's own leaderboard are.

    Args:
        tried: `tried` of the search's protocol: row -> setting -> hyper-parameters; None: this is no search.
    """
    lines = []
    for row, settings in (tried or {}).items():
        names = ", ".join(next(iter(settings.values())))
        values = (f"{label.removeprefix(row)} {_tuple(found.values())}" for label, found in settings.items())
        lines.append(f"{row}, {names}: {'; '.join(values)}.")
    return lines


def _tuple(values: Iterable[object]) -> str:
    return ", ".join(map(_shown, values))


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
