"""Result files of other harnesses as scores: lm-evaluation-harness, mteb, inspect. Only what they have per run or per
item is taken: repeated runs become seeds, and items that are right or wrong become test images."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltbench.errors import UserError
from ltbench.metric_names import NONE_DECLARED, Directions, known_name, metric_of
from ltbench.results.scores import read_scores
from ltbench.spec import KEY, Result

ENDINGS = (".json", ".eval")
_SHARES = ("exact_match", "mc1", "mc2", "main_score")
"""Metrics of harnesses that are fractions, beside those whose names say so."""
_INSPECT = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""What inspect writes for correct, partial, incorrect and no answer."""


class Run(NamedTuple):
    """One run of a model on a task.

    Attributes:
        seed: which of the model's runs. version: of the task; other versions are other columns.
        values: metric -> value, shares in percent. better: metric -> whether more of it is, where the file says so.
        right: item -> right or wrong, for `accuracy`; None: not known.
    """

    file: Path
    model: str
    task: str
    seed: int
    version: str
    values: Mapping[str, float]
    right: Mapping[str, bool] | None = None
    better: Directions = NONE_DECLARED


class Taken(NamedTuple):
    """Results, the items that each run got right, as `ranking.images` reads them, and which way metrics are better."""

    results: list[Result]
    predictions: Callable[[str], bytes | None]
    directions: Directions


def read_harness(place: Path, primary: str | None = None, directions: Directions = NONE_DECLARED) -> Taken | None:
    """The results in a harness's file or in a folder of them; None where there are none.

    Args:
        primary: the metric that ranks; None: accuracy, else the first that is there. directions: of metrics of one's
            own, as declared; they count before what the files say.

    Raises:
        UserError: a damaged file, or two runs of one model on one task with the same seed.
    """
    runs = [run for file in _files(place) for run in _runs_of(file)]
    if not runs:
        return None
    seen: dict[tuple[str, str, str, int], Path] = {}
    for run in runs:
        other = seen.setdefault((run.model, run.task, run.version, run.seed), run.file)
        if other is not run.file:
            raise UserError(f"{run.file}: {run.model} on {run.task} with seed {run.seed} is in {other} already; keep "
                            f"one of the two, or run it again with another seed")  # fmt: skip
    lines = [
        {"method": run.model, "dataset": run.task, "imbalance_factor": "native", "seed": run.seed, "metric": metric,
         "value": value, "manifest": run.version, "recipe": "", "pretraining": ""}
        for run in runs for metric, value in run.values.items()
    ]  # fmt: skip
    directions = {name: up for run in runs for name, up in run.better.items()} | dict(directions)
    results = read_scores(lines, primary, directions)
    right = {(run.model, run.task, run.version, run.seed): run.right for run in runs if run.right}
    kept = {
        r.key: _as_predictions(items)
        for r in results
        if (items := right.get((r.label, r.dataset, r.manifest, r.seed))) is not None
    }
    return Taken(results, kept.get, directions)


def _files(place: Path) -> Iterator[Path]:
    """The files that may be a harness's. A folder of ltbench's own records has none."""
    if place.is_file():
        yield from [place] if place.suffix.lower() in ENDINGS else []
        return
    if not place.is_dir() or (place / "records").is_dir() or any(KEY.fullmatch(f.stem) for f in place.glob("*.json")):
        return
    yield from sorted(file for file in place.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())


def _runs_of(file: Path) -> list[Run]:
    try:
        if file.suffix.lower() == ".eval":
            return _of_inspect(file, *_unpacked(file))
        data = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            return []
        if isinstance(data.get("eval"), dict) and "samples" in data:
            return _of_inspect(file, data, data["samples"] or [])
        if isinstance(data.get("results"), dict) and "configs" in data:
            return _of_lm_eval(file, data)
        if isinstance(data.get("scores"), dict) and "task_name" in data:
            return _of_mteb(file, data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, NotImplementedError) as error:
        raise UserError(f"{file}: cannot be read as results of lm-evaluation-harness, mteb or inspect "
                        f"({type(error).__name__}: {error})") from error  # fmt: skip
    return []


# -- lm-evaluation-harness ---------------------------------------------------------------------------------------------


def _of_lm_eval(file: Path, data: Mapping[str, Any]) -> list[Run]:
    """`results_TIME.json`: results[task]["metric,filter"]; beside it, with --log_samples, `samples_TASK_TIME.jsonl`."""
    config = data.get("config") or {}
    model = str(data.get("model_name") or config.get("model_args") or config.get("model"))
    seed, groups = int(config.get("random_seed") or 0), data.get("group_subtasks") or {}
    runs = []
    for task, found in data["results"].items():
        if groups.get(task):
            continue  # an average of others that are listed, too
        measured = [k for k, v in found.items() if "," in k and "_stderr," not in k and _number(v)]
        if not measured:
            continue
        main = next((k for k in measured if k.startswith("acc,")), None) or next(
            (k for k in measured if k.startswith("exact_match,")), None
        )
        values, better = dict[str, float](), dict[str, bool]()
        for name in measured:
            metric, _, filtered = name.partition(",")
            metric = "accuracy" if name == main else metric + (f" ({filtered})" if filtered != "none" else "")
            up = (data.get("higher_is_better") or {}).get(task, {}).get(name.partition(",")[0])
            values[metric] = _percent(metric, found[name])
            if isinstance(up, bool) and metric != "accuracy":
                better[metric] = up
        shots = (data.get("n-shot") or {}).get(task)
        version = str((data.get("versions") or {}).get(task, ""))
        right = None if main is None else _items_of_lm_eval(file, task, main)
        runs.append(Run(file, model, f"{task} ({shots}-shot)" if shots else task, seed, version, values, right, better))
    return runs


def _items_of_lm_eval(file: Path, task: str, main: str) -> dict[str, bool] | None:
    samples = file.with_name(f"samples_{task}_{file.stem.removeprefix('results_')}.jsonl")
    if not samples.is_file():
        return None
    metric, _, filtered = main.partition(",")
    lines = (json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines() if line.strip())
    return _right_or_wrong(
        (str(line.get("doc_hash") or line["doc_id"]) + f" {line['doc_id']}", line.get(metric))
        for line in lines
        if line.get("filter", "none") == filtered
    )


# -- mteb --------------------------------------------------------------------------------------------------------------


def _of_mteb(file: Path, data: Mapping[str, Any]) -> list[Run]:
    """`MODEL/REVISION/TASK.json`: scores[split] is a list by subset, with `scores_per_experiment` where the task is run
    several times."""
    runs, about = [], file.with_name("model_meta.json")
    model = file.parent.parent.name.replace("__", "/")
    if about.is_file():
        model = str(json.loads(about.read_text(encoding="utf-8")).get("name") or model)
    for split, subsets in data["scores"].items():
        for found in subsets:
            subset = found.get("hf_subset", "default")
            extra = [subset] * (subset != "default") + [split] * (split != "test")
            task = str(data["task_name"]) + (f" ({', '.join(extra)})" if extra else "")
            for seed, score in enumerate(_experiments(found)):
                values = {"main_score": _percent("main_score", score)}
                version = str(data.get("dataset_revision") or "")
                runs.append(Run(file, model, task, seed, version, values, better={"main_score": True}))
    return runs


def _experiments(found: Mapping[str, Any]) -> list[float]:
    """The main score of every experiment, where one of their metrics averages to it; else the one that there is."""
    main, single = float(found["main_score"]), found.get("scores_per_experiment") or []
    for name in single[0] if single else ():
        each = [one.get(name) for one in single]
        if all(map(_number, each)) and abs(float(np.mean(each)) - main) < 1e-5:
            return [float(value) for value in each]
    return [main]


# -- inspect -----------------------------------------------------------------------------------------------------------


def _unpacked(file: Path) -> tuple[Mapping[str, Any], list[Any]]:
    """An `.eval` file is a zip of header.json and samples/ID_epoch_N.json."""
    try:
        with zipfile.ZipFile(file) as packed:
            names = [n for n in packed.namelist() if n.startswith("samples/") and n.endswith(".json")]
            return json.loads(packed.read("header.json")), [json.loads(packed.read(name)) for name in names]
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"it is no whole zip: {error}") from error


def _of_inspect(file: Path, log: Mapping[str, Any], samples: list[Any]) -> list[Run]:
    """A log: its epochs are runs, its samples are items. A score is C, P, I or N, true or false, or a number."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for sample in samples:
        for scorer, score in (sample.get("scores") or {}).items():
            value: Any = score.get("value") if isinstance(score, Mapping) else score
            value = _INSPECT.get(value, value) if isinstance(value, str) else value
            if _number(value) or isinstance(value, bool):
                scored = found.setdefault(scorer, {}).setdefault(int(sample.get("epoch") or 1), {})
                scored[str(sample["id"])] = float(value)
    runs: dict[int, Run] = {}
    for scorer, epochs in found.items():
        everything = [value for items in epochs.values() for value in items.values()]
        share = all(0 <= value <= 1 for value in everything)
        for epoch, items in epochs.items():
            mean = float(np.mean(list(items.values()))) * (100 if share else 1)
            old = runs.get(epoch)
            metric = "accuracy" if share and old is None else str(scorer)
            right = old.right if old else _right_or_wrong(items.items())
            values = {**(old.values if old else {}), metric: mean}
            about = log["eval"]
            runs[epoch] = Run(
                file,
                str(about["model"]),
                str(about["task"]),
                epoch - 1,
                str(about.get("task_version") or ""),
                values,
                right,
            )
    return list(runs.values())


# -- all of them -------------------------------------------------------------------------------------------------------


def _number(value: Any) -> bool:
    return type(value) in (int, float) and bool(np.isfinite(value))


def _percent(metric: str, value: float) -> float:
    share = metric_of(known_name(metric)).unit == "%" or metric.partition(" ")[0] in _SHARES
    return 100 * value if share else value


def _right_or_wrong(items: Any) -> dict[str, bool] | None:
    """Item -> whether it is right; None where a score is neither 0 nor 1, or there is none."""
    found = dict(items)
    if not found or any(type(v) not in (int, float, bool) or v not in (0, 1) for v in found.values()):
        return None
    return {item: bool(value) for item, value in found.items()}


def _as_predictions(items: Mapping[str, bool]) -> bytes:
    """Items as test images. The true class is a checksum of the item: other items are told apart, and each item is a
    class of its own. Such classes are taken together (`ranking.images.strata_of`), so new items are drawn freely."""
    names = sorted(items)
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    truth = np.array([int.from_bytes(digest) for digest in digests], dtype=np.uint64)
    right = np.array([items[name] for name in names])
    stream = io.BytesIO()
    np.savez_compressed(stream, label=np.where(right, truth, truth ^ np.uint64(1)), truth=truth)
    return stream.getvalue()
