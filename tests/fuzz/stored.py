"""What ltbench itself keeps: records, plans, locks, ledgers, tags of MLflow."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ltbench.errors import UserError
from ltbench.ranking.build import build
from ltbench.ranking.formats.render import text
from ltbench.results.folders import read_plan
from ltbench.results.journal import Unreadable, read_record
from ltbench.spec import Record, Result
from ltbench.system import lock
from ltbench.tracking.ledger import ANEW, Ledger, plan_digest, record_digest
from ltbench.tracking.mlflow_runs import plan_of, plan_tags, result_of, tags_of
from tests.fuzz.mutations import TEXTS, changed_bytes, changed_data, changed_json, has_only_finite_numbers
from tests.fuzz.target import Try
from tests.ranking.made import plan_of as made_plan
from tests.ranking.made import record, spec

KEY_PARTS = ("method", "hyperparameters", "code", "recipe", "text", "role", "seed", "numerics")


def key_of(raw: dict[str, Any]) -> str:
    """A trial's key from its JSON, as docs/architecture.md says it."""
    identity = {**{name: raw[name] for name in KEY_PARTS if name in raw},
                "cell": {name: value for name, value in raw["cell"].items() if name != "dataset"}}  # fmt: skip
    whole = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:12]


def records(folder: Path) -> Try:
    """Records: what is read has the key of its contents, and the contents of the file."""
    good = record(spec()).to_json()
    board = [Result.of(record(spec(label, seed=seed))) for label in ("ce", "good") for seed in range(3)]

    def one(rng: random.Random) -> None:
        content = changed_json(rng, good)
        file = folder / f"{good['spec']['key']}.json"
        file.write_bytes(content)
        found = read_record(file)
        if isinstance(found, Unreadable):
            raise UserError(found.reason)
        raw = json.loads(content)
        assert found.key == file.stem == key_of(found.to_json()["spec"])
        assert has_only_finite_numbers(raw)
        assert all(found.to_json()[name] == raw[name] for name in raw if name != "spec")
        back = found.to_json()["spec"]
        assert back["cell"].items() >= raw["spec"]["cell"].items()
        assert all(back[name] == value for name, value in raw["spec"].items() if name != "cell")
        text(build([*board, Result.of(found)]))

    return one


def plans(folder: Path) -> Try:
    """plan.json: what is read says what the file says, and a board can be made by it."""
    file = folder / "plan.json"
    made = [record(spec(label, seed=seed)) for label in ("ce", "good") for seed in range(3)]
    good, results = made_plan(made).to_json(), [Result.of(each) for each in made]

    def one(rng: random.Random) -> None:
        content = changed_json(rng, good)
        file.write_bytes(content)
        found = read_plan(file)
        assert found is not None
        raw, back = json.loads(content), found.to_json()
        assert all(raw[name] == value for name, value in back.items() if name in raw)
        assert has_only_finite_numbers(back)
        assert plan_of(dict(plan_tags(found))) == found
        assert re.fullmatch(r"[0-9a-f]{12}", plan_digest(found))
        text(build(results, found))

    return one


def tags(folder: Path) -> Try:
    """Tags of a run and of an experiment, which everybody who reaches a store can edit."""
    whole = record(spec())
    good = tags_of(whole, "0123456789ab")
    metrics = {f"test/{name}": value for name, value in whole.metrics.items() if value is not None}
    of_plan = dict(plan_tags(made_plan([whole])))

    def one(rng: random.Random) -> None:
        if rng.random() < 0.3:
            changed = {**of_plan, rng.choice(sorted(of_plan)): rng.choice([*TEXTS, "9" * 5000, "1", "10000000"])}
            if rng.random() < 0.7:
                changed = {**of_plan, "ltbench.plan.0": changed_json(rng, json.loads(of_plan["ltbench.plan.0"])).decode(
                    "utf-8", "replace")}  # fmt: skip
            found = plan_of(changed)
            assert found is None or has_only_finite_numbers(found.to_json())
            return
        there = {str(k): v if isinstance(v, str) else str(v) for k, v in changed_data(rng, good).items()}
        values = changed_data(rng, metrics) if rng.random() < 0.5 else metrics
        try:
            result = result_of(there, values, "made")
        except (KeyError, ValueError) as error:
            raise UserError(f"no run of ltbench: {error}") from error
        assert re.fullmatch(r"[0-9a-f]{12}", result.key)
        assert all(re.fullmatch(r"[\w.+-]{1,80}", name, re.ASCII) for name in (result.dataset, result.label))
        assert result.seed == int(there["seed"]) >= 0
        assert all(v is None or math.isfinite(v) for v in result.metrics.values())
        assert result.status == ("ok" if there["ltbench.status"] == "ok" else "failed")
        text(build([result, replace(result, label="other", key="0" * 12)]))

    return one


def locks(folder: Path) -> Try:
    """run.lock: nobody who lives loses it, whatever else stands in it."""
    file, good = folder / lock.NAME, {**lock.myself(), "token": "t"}

    def one(rng: random.Random) -> None:
        content = changed_json(rng, good)
        file.write_bytes(content)
        age = rng.choice([0.0, 5.0, 200.0, 1000.0, -1000.0, 1e8])
        os.utime(file, (time.time() - age,) * 2)
        told: list[str] = []
        try:
            with patch.object(lock.time, "sleep"), lock.SuiteLock(folder, told.append) as held:
                assert not _lives(content), "it was taken from somebody who lives"
                assert told
                assert all(line.isprintable() for line in told)
                held.check()
            assert not file.exists()
        finally:
            file.unlink(missing_ok=True)

    return one


def _lives(content: bytes) -> bool:
    """Whether a lock says that this very process holds it."""
    try:
        held = json.loads(content)
    except (ValueError, RecursionError):
        return False
    mine = lock.myself()
    return isinstance(held, dict) and all(
        type(held.get(name)) is type(mine[name]) and held[name] == mine[name]
        for name in ("host", "machine", "pid", "began")
    )


def ledgers(folder: Path) -> Try:
    """mlflow.jsonl: a record counts as sent only where a line says so."""
    file, uri = folder / "ledger", "sqlite:///x.db"
    sent, plan = record(spec()), made_plan([record(spec())])
    Ledger(file, uri).add(sent)
    Ledger(file, uri).add_plan(plan)
    good = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def one(rng: random.Random) -> None:
        lines = [changed_json(rng, line) if rng.random() < 0.5 else json.dumps(line).encode() for line in good]
        if rng.random() < 0.2:
            lines.insert(rng.randrange(3), json.dumps({**good[0], "key": ANEW, "digest": ""}).encode())
        content = b"\n".join(lines) + rng.choice([b"\n", b""])
        file.write_bytes(changed_bytes(rng, content) if rng.random() < 0.3 else content)
        ledger = Ledger(file, uri)
        assert ledger.has(sent) == _says(file, good[0]["store"], sent)
        ledger.has_plan(plan)
        ledger.add(sent)
        assert Ledger(file, uri).has(sent)

    return one


def _says(file: Path, store: str, sent: Record) -> bool:
    found = False
    for line in file.read_bytes().split(b"\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and entry.get("store") == store and "key" in entry and "digest" in entry:
            if entry["key"] == ANEW:
                found = False
            elif entry["key"] == sent.key and entry["digest"] == record_digest(sent):
                found = True
    return found
