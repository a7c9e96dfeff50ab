"""What people bring: suites, scores, features, lists of images, exported trials, checkpoints."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import random
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ltbench.data.sources.features import Features
from ltbench.data.sources.lists import Lists
from ltbench.errors import UserError
from ltbench.planning.bundle import read_bundle
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.ranking.build import build
from ltbench.ranking.formats.render import text
from ltbench.registry import Registry
from ltbench.results.scores import read_scores
from ltbench.suite import Suite
from ltbench.suite.load import load_suite
from ltbench.system.arrays import bad_rows
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.checkpoints.files import pack
from tests.fuzz.mutations import TEXTS, any_value, changed_bytes, changed_data, changed_json, changed_text
from tests.fuzz.mutations import has_only_finite_numbers as finite
from tests.fuzz.stored import key_of
from tests.fuzz.target import Try
from tests.ranking.made import spec

SUITE = """\
suite: small
datasets: [{name: digits, imbalance: [20, 50]}]
recipes:
  scratch: {backbone: mlp, epochs: 2, batch_size: 32, optimizer: {name: sgd, lr: 0.05}}
methods: [ce, {mixup: {alpha: 0.4, as: mixed}}, focal]
protocol: {final: {seeds: [0, 1], report: [balanced_accuracy, few]}, shots: {many: 50, few: 20}, reference: ce}
resources: {per_trial: {cpus: 1, hours: 2}, retries: 1}
"""


def suites(folder: Path) -> Try:
    """Suites: what is loaded is the same when written down and read again, and has as many trials as it says."""
    file, registry, whole = folder / "small.yaml", Registry(), yaml.safe_load(SUITE)

    def one(rng: random.Random) -> None:
        if rng.random() < 0.5:
            content = changed_text(rng, SUITE).encode("utf-8", "replace")
        else:
            content = yaml.safe_dump(changed_data(rng, whole), allow_unicode=True).encode("utf-8", "replace")
        file.write_bytes(changed_bytes(rng, content) if rng.random() < 0.1 else content)
        suite = load_suite(str(file))
        rows = [row.label for group in suite.methods.values() for row in group]
        for name in (suite.suite, *suite.methods, *rows, *(d.name for d in suite.datasets)):
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}", name)
        assert len(set(rows)) == len(rows)
        if suite.text is None and len(suite.datasets) == 1 and suite.datasets[0].kind in ("", "digits"):
            plan, _ = make_plan(resolve(suite, registry, folder))
            columns = len(suite.datasets[0].imbalance or [1])
            grid = columns * len(rows) * len(suite.protocol.final.seeds)
            lost = {(s.label, c) for s in plan.expectation().skips for c in s.columns}
            assert len(plan.trials) == grid - len(lost) * len(suite.protocol.final.seeds)
            assert len({trial.key for trial in plan.trials}) == len(plan.trials)
            assert Suite.model_validate_json(suite.model_dump_json()) == suite
            assert finite(json.loads(suite.model_dump_json()))

    return one


def scores(folder: Path) -> Try:
    """Files of scores: every number, and every mean on the board, is that of the file."""
    file = folder / "scores.csv"
    metrics = ("balanced_accuracy", "few")
    long = [["method", "dataset", "imbalance_factor", "seed", "metric", "value"]]
    wide = [["method", "dataset", "seed", *metrics]]
    for method, mean in (("ce", 50.0), ("b", 55.5)):
        for seed in range(3):
            wide.append([method, "d", str(seed), *(f"{mean + seed:.1f}" for _ in metrics)])
            for metric in metrics:
                long.append([method, "d", "100", str(seed), metric, f"{mean + seed:.1f}"])

    def one(rng: random.Random) -> None:
        rows = rng.choice([long, wide])
        mine = [list(row) for row in rows]
        for _ in range(rng.choice([1, 1, 2, 3])):
            row = rng.choice(mine)
            if rng.random() < 0.1:
                mine.insert(rng.randrange(len(mine)), list(rng.choice(mine)))
            elif rng.random() < 0.1:
                row.pop()
            else:
                row[rng.randrange(len(row))] = rng.choice([rng.choice(TEXTS), str(any_value(rng)), rng.choice(rows[1])])
        stream = io.StringIO()
        csv.writer(stream, lineterminator=rng.choice(["\n", "\r\n"])).writerows(mine)
        content = stream.getvalue().encode("utf-8", "replace")
        file.write_bytes(changed_bytes(rng, content) if rng.random() < 0.3 else content)
        board = build(read_scores(file))
        rendered, trials = text(board), _trials(file)
        for table in board.tables:
            for row in table.rows:
                for column, score in row.scores.items():
                    of_row = [
                        m for place, m in trials.items() if place[:3] == (row.label, column.dataset, column.imbalance)
                    ]
                    finished = [m for m in of_row if not _failed(m, board.primary)]
                    for metric, interval in score.metrics.items():
                        values = [m[metric] for m in finished if m.get(metric) is not None]
                        assert interval is None or math.isclose(interval.mean, sum(values) / len(values), abs_tol=1e-9)
        assert b"nan" in content.lower() or not re.search(r"\bnan\b", rendered.lower().replace(str(file), ""))

    return one


def _trials(file: Path) -> dict[tuple[str, str, str, int], dict[str, float | None]]:
    """The values of a file by method, data set, imbalance and seed, then by metric, read with nothing but `csv`."""
    found: dict[tuple[str, str, str, int], dict[str, float | None]] = defaultdict(dict)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        for raw in csv.DictReader(stream, skipinitialspace=True):
            row = {_known(name.strip()): (value or "").strip() for name, value in raw.items()}
            given = row.pop("imbalance_factor", "")
            factor = re.sub(r"(?i)^if|step$", "", given)
            step = "step" if given.lower().endswith("step") else ""
            imbalance = "native" if factor.lower() in ("", "native") else f"IF{float(factor):g}{step}"
            trial = found[row.pop("method"), row.pop("dataset"), imbalance, int(row.pop("seed"))]
            for metric, written in [(row["metric"], row["value"])] if "metric" in row else row.items():
                number = re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?", written, re.IGNORECASE)
                value = float(written) if number else None
                for name in (metric, re.sub(r"[\s-]+", "_", metric).lower()):
                    trial[name] = value if value is not None and math.isfinite(value) else None
    return found


def _known(name: str) -> str:
    """Columns of a trial are known in capitals, too."""
    known = ("method", "dataset", "imbalance_factor", "seed", "metric", "value")
    return name.lower() if name.lower() in known else name


def _failed(metrics: dict[str, float | None], primary: str) -> bool:
    """Without a value of the metric that ranks; but many, medium and few may be undefined, for lack of classes."""
    lost = primary in metrics and metrics[primary] is None and primary not in ("many", "medium", "few")
    return lost or all(value is None for value in metrics.values())


def features(folder: Path) -> Try:
    """Features: vectors of unit length, labels and counts as numpy reads them."""
    file = folder / "features.npz"
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    good = {"train_x": x, "train_y": np.array([0, 0, 0, 1, 1, 2]), "test_x": x[:3], "test_y": np.array([0, 1, 2]),
            "class_names": np.array(["a", "b", "c"]), "text": np.eye(3, 4, dtype=np.float32)}  # fmt: skip

    def one(rng: random.Random) -> None:
        mine = dict(good)
        for _ in range(rng.choice([1, 1, 2])):
            name = rng.choice(sorted(mine))
            if (array := _changed_array(rng, mine[name])) is None:
                del mine[name]
            else:
                mine[name] = array
        stream = io.BytesIO()
        with np.errstate(all="ignore"):
            np.savez(stream, **mine)
        content = changed_bytes(rng, stream.getvalue()) if rng.random() < 0.3 else stream.getvalue()
        file.write_bytes(content)
        source = Features(folder, file)
        facts = source.facts()
        arrays, vectors = source.read(), source.text()
        with np.load(file, allow_pickle=False) as stored:
            for part, read in (("train", arrays.train_x), ("test", arrays.test_x)):
                raw = stored[f"{part}_x"].astype(np.float64)
                assert np.allclose(read, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-3)
                assert np.allclose(np.linalg.norm(read.astype(np.float64), axis=1), 1.0, atol=1e-3)
            counts = [int((stored["train_y"] == c).sum()) for c in range(len(stored["class_names"]))]
            assert list(facts.train_counts) == counts
            assert min(counts) > 0
            assert list(arrays.test_y) == stored["test_y"].tolist()
        if vectors is not None and bad_rows(vectors):
            raise UserError("who reads them refuses them (models/text.py)")
        assert vectors is None or vectors.shape == (len(counts), arrays.train_x.shape[1])

    return one


def _changed_array(rng: random.Random, array: Any) -> Any:
    what = rng.randrange(9)
    flat = array.copy().reshape(-1)
    if not array.ndim or not flat.size:
        return None
    if what == 0:
        return None
    if what == 1:
        return array[: rng.randrange(len(array) + 1)]
    if what == 2:
        kinds = ["f2", "f4", "f8", "i1", "u8", "c8", "S8", "U8", "?"] if flat.dtype.kind != "U" else ["S8", "U1"]
        with np.errstate(all="ignore"):
            return array.astype(rng.choice(kinds))
    if what == 3:
        return array.reshape(rng.choice([(-1,), (1, *array.shape), (*array.shape, 1)]))
    if what == 4:
        return np.asarray(rng.choice([0, 1.5, "x", [], [[]], [[[1.0]]], b"x"]))
    if what == 5:
        return np.concatenate([flat, flat])
    if flat.dtype.kind == "U":
        flat[rng.randrange(len(flat))] = rng.choice(TEXTS).replace("\ud800", "")[:1]
    elif flat.dtype.kind == "f":
        flat[rng.randrange(len(flat)) :][:4] = rng.choice([0, np.nan, np.inf, 1e30, -1e38, 1e-30, 1e-44])
    elif len(flat):
        flat[rng.randrange(len(flat))] = np.int64(rng.choice([-1, 0, 3, 2**31, 2**62])).astype(flat.dtype)
    return flat.reshape(array.shape)


def lists(folder: Path) -> Try:
    """Lists of images: as many images of every class as lines."""
    train, test = folder / "train.txt", folder / "test.txt"
    good = {train: "a/1.png 0\na/2.png 0\nb/1.png 1\nb/2.png 1\n", test: "a/9.png 0\nb/9.png 1\n"}

    def one(rng: random.Random) -> None:
        for file, content in good.items():
            whole = changed_text(rng, content).encode("utf-8", "replace") if rng.random() < 0.6 else content.encode()
            file.write_bytes(changed_bytes(rng, whole) if rng.random() < 0.4 else whole)
        facts = Lists(folder, folder).facts()
        for file, counts in ((train, facts.train_counts), (test, facts.test_counts)):
            lines = [line for line in file.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
            labels = [int(line.split()[-1]) for line in lines]
            assert list(counts) == [labels.count(c) for c in range(len(counts))]
        assert min(facts.train_counts) > 0

    return one


def bundles(folder: Path) -> Try:
    """Exported trials: the key is that of the contents, vectors are a matrix of numbers."""
    texts = folder / "texts.npz"
    good = {**spec(text="t").to_json(), "paths": {"a": "/data/a"}}

    def one(rng: random.Random) -> None:
        content = changed_json(rng, good) if rng.random() < 0.6 else json.dumps(good).encode()
        file = folder / f"{good['key']}.json"
        file.write_bytes(content)
        stream = io.BytesIO()
        matrix: Any = np.eye(3, dtype=np.float32)
        np.savez(stream, t=_changed_array(rng, matrix) if rng.random() < 0.4 else matrix)
        texts.write_bytes(changed_bytes(rng, stream.getvalue()) if rng.random() < 0.3 else stream.getvalue())
        found, paths, vectors = read_bundle(file)
        raw = json.loads(content)
        assert found.key == key_of(found.to_json()) == raw.get("key", found.key)
        assert paths == raw.get("paths", {})
        assert all(isinstance(k, str) and isinstance(v, str) for k, v in paths.items())
        for name, matrix in vectors.items():
            assert name == found.text
            assert matrix.ndim == 2
            assert np.isfinite(matrix).all()

    return one


def checkpoints(folder: Path) -> Try:
    """Checkpoints: what is taken up is what was written; what is not this version's is left out and told."""
    state = {"meter": ["object", 1, "Meter", []], "x": torch.arange(5.0)}
    good = {"identity": {"key": "k"}, "stages": [["", 5]], "step": 3, "seconds": 1.5, "resumed": 0, "state": state,
            "dice": {"cpu": torch.zeros(3)}}  # fmt: skip
    place = folder / ("0" * 12)
    place.mkdir()
    whole = pack(good)

    def one(rng: random.Random) -> None:
        content = changed_bytes(rng, whole)
        if rng.random() < 0.4:
            payload = changed_bytes(rng, whole.partition(b"\n")[2])
            content = b"ltbench checkpoint 1 " + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload
        elif rng.random() < 0.4:
            content = pack(changed_data(rng, good))
        (place / "00000001.ckpt").write_bytes(content)
        taken = Checkpoints(place, {"key": "k"})
        taken.begin()
        if not taken.replaying:
            assert taken.messages
            raise UserError("; ".join(taken.messages))
        head, _, payload = content.partition(b"\n")
        assert head.split()[-1].decode() == hashlib.sha256(payload).hexdigest()

    return one
