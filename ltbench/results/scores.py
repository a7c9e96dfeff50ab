"""Numbers produced elsewhere: a CSV with one value or one trial per line -> Results, for the same statistics."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ltbench.errors import UserError, clipped, did_you_mean
from ltbench.metric_names import METRICS, NONE_DECLARED, Directions, direction_of, known_name, metric_of, usual_primary
from ltbench.spec import Result, digest

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("method", "dataset", "imbalance_factor", "seed", "metric", "value")
WIDE = ("method", "dataset", "seed")
"""What a file needs where every metric has a column of its own."""
OPTIONAL = ("manifest", "recipe", "pretraining")
BUCKETS = ("many", "medium", "few")
_NEARLY_NOTHING = ("few", "worst_class", "harmonic_mean")
_FACTOR = re.compile(r"(?:IF)?([0-9]{1,12}(?:\.[0-9]+)?)(step(?:0\.[0-9]+)?|exp[1-9][0-9]{0,8})?", re.IGNORECASE)
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)
"""As CSVs write them: Python itself reads 1_000 and the digits of all scripts as well."""


class _Trial(NamedTuple):
    """Which trial a line is of. imbalance: `IF100`, `IF100step` or `native`; the last three are empty where the file
    lacks them."""

    method: str
    dataset: str
    imbalance: str
    seed: str
    manifest: str
    recipe: str
    pretraining: str


def read_scores(
    file: Path | pd.DataFrame | Sequence[Mapping[str, Any]],
    primary: str | None = None,
    directions: Directions = NONE_DECLARED,
) -> list[Result]:
    """Results from a file, a frame or lines with the columns method, dataset, imbalance_factor, seed, metric, value,
    and, if it likes, manifest, recipe and pretraining (rows that differ in one are never compared). Or with a line per
    trial: method, dataset, seed, imbalance_factor if it likes, and a column for each metric, under the metric's
    name. Values are in points, as the file has them. An empty or NaN value of the metric that ranks is a failed
    trial: counted, never imputed. One of another metric leaves out that value alone; so does one of many, medium or
    few, which may be undefined.

    Args:
        primary: the metric that ranks; None: balanced accuracy, accuracy, else the first that is there.
        directions: of metrics of one's own, as declared.

    Raises:
        UserError: an unreadable file, a missing or unknown column, a bad value (with its line), two different values
            for one place, or a metric to rank by of which nothing says which way is better.
    """
    name = file.stem if isinstance(file, Path) else "scores"
    trials: dict[_Trial, dict[str, float | None]] = {}
    lines: dict[tuple[_Trial, str], str] = {}
    for where, row in _rows(file, directions):
        number = where.rpartition(" ")[2]
        trial, metric = _trial(row, where), known_name(_text(row, "metric", where))
        value = _in_range(metric, _value(row["value"], where, row.get("column", "value")), where)
        if (trial, metric) in lines:
            same = trials[trial][metric] == value
            raise UserError(
                f"{where}: {metric} of {trial.method} on {trial.dataset} {trial.imbalance} seed {trial.seed} is on "
                f"line {lines[trial, metric]} already{', with the same value' if same else ', with another value'}; "
                f"keep one of the two"
            )
        lines[trial, metric] = number
        trials.setdefault(trial, {})[metric] = value
    if not trials:
        raise UserError(f"{file if isinstance(file, Path) else 'the frame'}: holds no scores below its header")
    place = file if isinstance(file, Path) else "the frame of scores"
    _refuse_fractions(place, trials, lines)
    there = dict.fromkeys(metric for metrics in trials.values() for metric in metrics)
    primary = primary or usual_primary([*(m for m in METRICS if m in there), *sorted(there.keys() - METRICS.keys())])
    if direction_of(primary, directions) is None and primary in there:
        raise UserError(f"{place}: which way is better is not known of the metric {clipped(primary)!r}; say "
                        f"--lower-is-better or --higher-is-better with its name (in Python, lower_is_better= or "
                        f"higher_is_better=), or rank by another with --primary")  # fmt: skip
    return [_result(name, trial, metrics, primary) for trial, metrics in trials.items()]


def _trial(row: Mapping[str, str], where: str) -> _Trial:
    return _Trial(
        _text(row, "method", where), _text(row, "dataset", where), _factor(row["imbalance_factor"], where),
        str(_seed(row["seed"], where)), *((row.get(name) or "").strip() for name in OPTIONAL),
    )  # fmt: skip


def _refuse_fractions(
    file: Path | str,
    trials: Mapping[_Trial, Mapping[str, float | None]],
    lines: Mapping[tuple[_Trial, str], str],
) -> None:
    """Fractions would be compared with a region of practical equivalence of half a point, where everything would be
    equivalent, or ranked below other rows' percent. Looked at row by row; the metrics of the tail may be nearly 0 in a
    row whose accuracy is in percent."""
    rows: dict[tuple[str, str], dict[_Trial, float]] = {}
    for trial, metrics in trials.items():
        for metric, value in metrics.items():
            if value is not None and metric_of(metric).unit == "%":
                rows.setdefault((trial.method, metric), {})[trial] = value
    for (method, metric), values in rows.items():
        overall = [v for m in ("accuracy", "balanced_accuracy") for v in rows.get((method, m), {}).values()]
        if metric in _NEARLY_NOTHING and max(overall, default=0.0) > 1:
            continue
        if 0 < max(values.values()) <= 1:
            first = next(iter(values))
            raise UserError(f"{file}, line {lines[first, metric]}: {metric} of {clipped(method)} is at most "
                            f"{max(values.values()):g} everywhere, which looks like fractions; write percent "
                            f"(38.4, not 0.384)")  # fmt: skip


def _in_range(metric: str, value: float | None, where: str) -> float | None:
    """Shares lie between 0 and 100."""
    if value is not None and metric_of(metric).unit == "%" and not 0 <= value <= 100:
        raise UserError(f"{where}: {clipped(metric)} is {value:g}; expected percent, from 0 to 100")
    return value


def _rows(
    file: Path | pd.DataFrame | Sequence[Mapping[str, Any]], directions: Directions
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The values of a file, a frame or lines, each with its place for messages."""
    if not isinstance(file, Path):
        heads, lines = _table_of(file)
        names = [_column(str(name), place) for place, name in enumerate(heads)]
        wide = _check_columns("the frame of scores", names, directions)
        for number, texts in enumerate(lines):
            row = dict(zip(names, texts, strict=True))
            yield from ((f"the frame of scores, row {number}", part) for part in _by_metric(row, wide))
        return
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True, skipinitialspace=True)
            reader.fieldnames = [_column(name, place) for place, name in enumerate(reader.fieldnames or ())]
            wide = _check_columns(file, list(reader.fieldnames), directions)
            for row in reader:
                where = f"{file}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise UserError(f"{where}: has not as many fields as the header")
                yield from ((where, part) for part in _by_metric(row, wide))
    except csv.Error as error:
        where = f"{file}, after line {reader.line_num}"
        raise UserError(f"{where}: is no CSV ({error}); close or double its quotes") from error
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as CSV in UTF-8 ({error})") from error


def _table_of(table: pd.DataFrame | Sequence[Mapping[str, Any]]) -> tuple[Sequence[object], Iterator[list[str]]]:
    """Heads and texts; an empty text where there is no value."""
    if isinstance(table, Sequence):
        heads = list(table[0]) if table else []
        return heads, (["" if row[head] is None else str(row[head]) for head in heads] for row in table)
    missing = table.isna().itertuples(index=False)
    values = table.itertuples(index=False)
    return list(table.columns), (
        ["" if lacks else str(value) for value, lacks in zip(*both, strict=True)]
        for both in zip(values, missing, strict=True)
    )


def _by_metric(row: Mapping[str, str], wide: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """A line with a column for each metric, as lines with one value; one that has one value as it is."""
    if not wide:
        yield row
    for metric in wide:
        yield {"imbalance_factor": "", **row, "metric": metric, "value": row[metric], "column": metric}


def _check_columns(file: Path | str, names: list[str], directions: Directions) -> list[str]:
    """The columns that are metrics, where each has its own; none where a line has one value.

    Raises:
        UserError: a column is missing, there twice, or unknown.
    """
    known = (*REQUIRED, *OPTIONAL)
    if len(names) == 1 and (other := next((c for c in ";\t|" if c in names[0]), None)):
        raise UserError(f"{file}: its columns are separated by {other!r}; write commas, and numbers with a point")
    unknown = [name for name in names if name not in (*known, _INDEX)]
    metrics = [name for name in unknown if direction_of(known_name(name), directions) is not None]
    columns = not {"metric", "value"} & set(names)
    wide = bool(metrics) and columns
    for name in unknown:
        if not (wide and name in metrics):
            raise UserError(f"{file}: unknown column {name!r}. {did_you_mean(name, known)}{_OWN if columns else ''}")
    if missing := [name for name in (WIDE if wide else REQUIRED) if name not in names]:
        raise UserError(f"{file}: lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it needs a header "
                        f"with {', '.join(REQUIRED)} and may have {', '.join(OPTIONAL)}. Or {', '.join(WIDE)}, and a "
                        f"column for each metric, such as balanced_accuracy")  # fmt: skip
    if len(set(names)) < len(names):
        raise UserError(f"{file}: a column is there twice")
    return metrics if wide else []


def _column(name: str, place: int) -> str:
    """The name of a column, whatever its case. The first one has none where pandas wrote the numbers of its rows."""
    known = name.strip().lower()
    return known if known in (*REQUIRED, *OPTIONAL) else name.strip() or ("" if place else _INDEX)


_INDEX = "number of the row"
_OWN = " Of a metric of your own, --lower-is-better or --higher-is-better say which way is better."


def _text(row: Mapping[str, str], column: str, where: str) -> str:
    value = row[column].strip()
    if not value:
        raise UserError(f"{where}: {column} is empty")
    return value


def _factor(value: str, where: str) -> str:
    """`100`, `IF100` or `100.0` -> `IF100`; empty or `native` -> `native`."""
    given = value.strip()
    if given.lower() in ("", "native"):
        return "native"
    match = _FACTOR.fullmatch(given)
    if match is None or not 1 <= float(match[1]) < math.inf:
        raise UserError(f"{where}: imbalance_factor is {clipped(value)!r}; expected a number from 1 up, such as 100, "
                        f"100step for a step profile, 100exp1000 for a head of 1,000 images, or native")  # fmt: skip
    return f"IF{float(match[1]):g}{(match[2] or '').lower()}"


def _seed(value: str, where: str) -> int:
    given = value.strip()
    if not _WHOLE.fullmatch(given):
        raise UserError(f"{where}: seed is {clipped(value)!r}; expected a whole number")
    seed = int(given)
    if seed < 0:
        raise UserError(f"{where}: seed is {seed}; seeds count from 0 up")
    return seed


def _value(value: str, where: str, column: str) -> float | None:
    given = value.strip()
    if not given:
        return None
    if not _NUMBER.fullmatch(given):
        raise UserError(f"{where}: {clipped(column)} is {clipped(value)!r}; expected a number, or nothing for a "
                        f"failed trial")  # fmt: skip
    number = float(given)  # Python's own idea of blanks around a number is another than strip's
    return number if math.isfinite(number) else None


def _result(suite: str, trial: _Trial, metrics: Mapping[str, float | None], primary: str) -> Result:
    recipe, pretraining = trial.recipe, trial.pretraining
    lost = [primary] if primary in metrics and metrics[primary] is None and primary not in BUCKETS else []
    failed = bool(lost) or all(value is None for value in metrics.values())
    return Result(
        key=digest(list(trial)),
        suite=suite,
        dataset=trial.dataset,
        imbalance=trial.imbalance,
        manifest=trial.manifest,
        label=trial.method,
        variant="",
        recipe_name=recipe or "unstated",
        recipe_id=f"{recipe}, {pretraining}" if pretraining else recipe,
        pretraining=pretraining,
        seed=int(trial.seed),
        status="failed" if failed else "ok",
        metrics={} if failed else dict(metrics),
        error=f"no value of {', '.join(lost or metrics)}" if failed else None,
    )
