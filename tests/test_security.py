"""What others wrote (names, archives, tags) opens no file outside its folder and runs no code; secrets stay in."""

from __future__ import annotations

import ast
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ltbench import cli, registry
from ltbench.data.sources.downloaded.archives import unpack
from ltbench.errors import UserError
from ltbench.ranking.selection import belonging, skip_reason
from ltbench.registry import Registry, read_sources, unpack_sources
from ltbench.results import folders
from ltbench.results.journal import Journal, Unreadable, read_record
from ltbench.spec import Cell, Column, Expectation, Record, Result, TrialSpec
from ltbench.system.messages import show_on_stderr
from ltbench.system.uris import without_secrets
from ltbench.tracking.mlflow_runs import plan_of, plan_tags, result_of, tags_of
from tests.faults import listening

ROOT = Path(__file__).parents[1]
SPEC = TrialSpec(
    suite="s", cell=Cell(dataset="digits", kind="digits", imbalance=20.0, manifest="m"), label="ce", method="ce",
    hyperparameters={}, code="c", recipe_name="r", recipe={"epochs": 1.0}, seed=0,
)  # fmt: skip
OUTSIDE = ["../x", "/x", "a/b", "..", ".", "", "a\\..\\b", "a\nb", "a\0b", "-rf", "x" * 81, "~", "a b"]
PROTOCOL = {"seeds": [0], "primary": "accuracy", "report": ["accuracy"], "reference": "ce"}
PLAN: dict[str, Any] = {
    "suite": "s", "question": "?", "protocol": PROTOCOL, "rows": {"ce": ["r", "v"]}, "cells": [["d", "IF2", "m"]],
    "skips": [["ce", "why", ["d IF2"]]], "kinds": {"d": "digits"}, "methods": {"ce": ["ce", {}]},
}  # fmt: skip


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("field", ["suite", "label", "method", "recipe_name", "dataset", "kind"])
def test_a_record_with_a_name_that_is_none_is_left_out(field: str, name: str, tmp_path: Path) -> None:
    in_cell = field in ("dataset", "kind")
    spec = replace(SPEC, cell=replace(SPEC.cell, **{field: name})) if in_cell else replace(SPEC, **{field: name})
    file = tmp_path / f"{spec.key}.json"
    file.write_text(json.dumps(Record(spec=spec, status="failed").to_json()))
    found = read_record(file)
    assert isinstance(found, Unreadable)
    assert field in found.reason


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_suite_from_a_store_names_no_folder_outside(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a usable name"):
        folders.folders_of(tmp_path, name)


@pytest.mark.parametrize("tag", ["ltbench.key", "dataset", "method", "recipe"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_tag_that_is_no_name_is_refused(tag: str, name: str) -> None:
    tags = tags_of(Record(spec=SPEC, status="ok"), "d")
    assert result_of(tags, {}, "s").label == "ce"
    with pytest.raises(ValueError, match="no name"):
        result_of({**tags, tag: name}, {}, "s")


def test_a_plan_goes_through_tags_and_back() -> None:
    plan = Expectation.from_json(PLAN)
    assert plan_of(dict(plan_tags(plan))) == plan
    assert plan.to_json() == PLAN
    assert plan_of({}) is None


@pytest.mark.parametrize(
    "change",
    [
        *({key: wrong} for key in PLAN for wrong in (None, 5, "x" if key != "question" else 1, [[1]], {"../x": 1})),
        {"suite": "../x"},
        {"rows": {"../x": ["r", "v"]}},
        {"methods": {"ce": ["../x", {}]}},
        {"protocol": {**PROTOCOL, "seeds": [0.5]}},
        {"protocol": {**PROTOCOL, "rope": float("nan")}},
        *({"protocol": {k: v for k, v in PROTOCOL.items() if k != part}} for part in PROTOCOL),
    ],
)
def test_a_plan_that_someone_changed_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    if change == {"suite": "x"}:
        return
    with pytest.raises(ValueError, match="its `"):
        Expectation.from_json({**PLAN, **change})
    (tmp_path / "plan.json").write_text(json.dumps({**PLAN, **change}))
    with pytest.raises(UserError, match="damaged"):
        folders.read_plan(tmp_path / "plan.json")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(value=anything, key=st.sampled_from([None, *PLAN]))
def test_any_plan_is_refused_or_can_be_used(value: Any, key: str | None) -> None:
    plan = value if key is None else {**PLAN, key: value}
    try:
        found = Expectation.from_json(plan)
    except ValueError:
        return
    result = Result.of(Record(spec=SPEC, status="ok", metrics={"balanced_accuracy": 1.0}))
    belonging([result], found)
    assert [label for label, row in found.rows.items() if isinstance(row.recipe, str)] == list(found.rows)
    assert skip_reason(found.skips, "ce", Column("d", "IF2", "m")) in (None, "why", *(s.reason for s in found.skips))


@pytest.mark.parametrize("key", [k for k in PLAN if k not in ("kinds", "methods")])
def test_a_plan_that_lacks_a_part_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        Expectation.from_json({k: v for k, v in PLAN.items() if k != key})


def test_sources_unpack_into_one_folder_whatever_they_are_called(tmp_path: Path) -> None:
    folder = unpack_sources({"../../escaped.py": "x = 1", "/tmp/absolute.py": "x = 2", "a/b.py": "x = 3"})
    found = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.py"))
    assert found == ["a/b.py", "absolute.py", "escaped.py"], "helpers below the folder keep their place in it"


# -- archives and files that can carry code ----------------------------------------------------------------------------


def archive(file: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(file, "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_of_an_archive_only_the_known_files_are_taken(tmp_path: Path) -> None:
    made = archive(
        tmp_path / "made.tar.gz",
        (member("cifar/train"), b"right"),
        (member("cifar/more"), b"unknown"),
        (member("/tmp/cifar/train"), b"absolute"),
        (member("../cifar/train"), b"above"),
        (member("cifar/../train"), b"above"),
        (member("cifar/sub/train"), b"below"),
        (member("train"), b"bare"),
        (member("cifar/test", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (member("cifar/meta", tarfile.LNKTYPE, "cifar/train"), b""),
        (member("cifar", tarfile.SYMTYPE, "/tmp"), b""),
        (member("cifar/fifo", tarfile.FIFOTYPE), b""),
    )
    (tmp_path / "data").mkdir()
    unpack(made, tmp_path / "data" / "cifar", {"train", "test", "meta", "fifo"})
    assert {f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*")} == {
        "made.tar.gz", "data", "data/cifar", "data/cifar/train",
    }  # fmt: skip
    assert (tmp_path / "data" / "cifar" / "train").read_bytes() == b"right"


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call in the code: file, name as written, and the call."""
    for folder in ("ltbench", "methods", "benchmarks", "tools"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield file.relative_to(ROOT).as_posix(), ast.unparse(node.func), node


def value_of(call: ast.Call, name: str) -> Any:
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


def test_nothing_that_is_read_can_run_code() -> None:
    wrong = []
    for file, name, call in calls():
        last = name.rpartition(".")[2]
        if name == "np.load" and value_of(call, "allow_pickle") not in (None, False):
            wrong.append(f"{file}: {name} with pickles")
        if name == "torch.load" and value_of(call, "weights_only") is not True:
            wrong.append(f"{file}: {name} without weights_only")
        if last in ("extractall", "unpack_archive", "unsafe_load", "full_load", "eval", "exec") and "." in name + ".":
            wrong += [f"{file}: {name}"] if name in ("eval", "exec") or last not in ("eval", "exec") else []
        if name in ("yaml.load", "pickle.load", "pickle.loads", "os.system") or value_of(call, "shell") is True:
            wrong.append(f"{file}: {name}")
    assert wrong == []


def test_a_stored_array_with_a_pickle_in_it_is_damaged_not_run(tmp_path: Path) -> None:
    import numpy as np

    from ltbench.tracking.mlflow_runs import confusion_picture

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return Path.touch, (Path(tmp_path / "trapped"),)  # type: ignore[return-value]

    stream = io.BytesIO()
    np.savez(stream, truth=np.array([Trap()], dtype=object), label=np.zeros(1))
    record = Record(spec=SPEC, status="ok", per_class={"recall": [1.0, 2.0]})
    assert confusion_picture(record, stream.getvalue()) is None
    assert not (tmp_path / "trapped").exists()


# -- code of the user's own --------------------------------------------------------------------------------------------

MINE = "print('mine runs')\nfrom ltbench.api import Method\n\nclass Mine(Method):\n    pass\n"


@pytest.fixture
def as_a_command() -> None:
    """Lines for a person go to stderr."""
    show_on_stderr()


@pytest.mark.usefixtures("as_a_command")
def test_code_from_outside_is_named_before_it_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    made = Registry(tmp_path)
    told = capfd.readouterr()
    assert told.err == f"code from outside ltbench will run: {tmp_path}: mine.py\n"
    assert "mine runs" not in told.out
    made.get("mine")
    Registry(tmp_path)
    read_sources(tmp_path)
    assert capfd.readouterr().err == "", "once is enough"


@pytest.mark.usefixtures("as_a_command")
def test_a_worker_does_not_name_again_what_the_command_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Registry(unpack_sources({"mine.py": MINE + "# here"})).get("mine")
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("as_a_command")
def test_methods_of_ltbench_are_not_announced(capfd: pytest.CaptureFixture[str]) -> None:
    registry.Registry().get("ce")
    assert capfd.readouterr().err == ""


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("HTTPConnectionPool(host='h'): url: /api?token=geheim&x=1", "https://h/?token=geheim"),
        ("could not connect to http://me:geheim@h:5/x", "http://other"),
        ("password geheim refused for me", "postgresql://me:geheim@h/db"),
        ("password ge%68eim and geheim refused", "postgresql://me:ge%68eim@h/db"),
        ("bad token geheim", "http://geheim@h"),
    ],
)
def test_a_message_from_below_loses_its_secrets(text: str, uri: str) -> None:
    assert "geheim" not in without_secrets(text, uri)
    assert "***" in without_secrets(text, uri)


def test_credentials_from_the_environment_are_secrets_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "geheim")
    assert without_secrets("refused: geheim", "http://h") == "refused: ***"


@pytest.mark.slow
@pytest.mark.parametrize("command", [["leaderboard", "s"], ["leaderboard"], ["sync"], ["report", "s"], ["import", "R"]])
def test_no_command_tells_or_keeps_a_password(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.chdir(tmp_path)
    journal = Journal(tmp_path / "results" / "s" / "records")
    metrics = dict.fromkeys(("accuracy", "balanced_accuracy", "many", "medium", "few", "worst_class"), 50.0)
    per_class = {name: [50.0, 50.0] for name in ("recall", "precision", "test_images", "train_images")}
    journal.write(Record(spec=SPEC, status="ok", metrics=metrics, per_class=per_class))
    (tmp_path / "R").symlink_to(journal.folder)
    arguments = [*command, "--tracking-uri", "http://me:geheim@127.0.0.1:9/?token=t0ken"]
    monkeypatch.setattr(sys, "argv", ["ltbench", *arguments])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    told = "".join(capfd.readouterr())
    kept = "".join(f.read_text(errors="replace") for f in tmp_path.rglob("*") if f.is_file() and not f.is_symlink())
    assert not [secret for secret in ("geheim", "t0ken") if secret in told + kept]
    assert "Traceback" not in told
    if command == ["leaderboard"]:
        assert code == 2, "which suite is meant only the store knows"
    if command == ["leaderboard", "s"]:
        assert code == 0, "the records are beside the store"
        assert "warning: " in told
    if command == ["sync"]:
        assert code == 1
        assert "s: 0 sent, 0 there before, 1 not sent" in told


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sockets are found under /proc")
def test_ray_of_our_own_listens_on_this_machine_only() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    command = [sys.executable, "-m", "tests.faults.listening"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env={**environment, listening.MARK: "1"}
    )
    found = done.stdout.split()
    assert found, done.stderr
    assert set(found) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_the_ui_listens_on_loopback_and_no_password_is_among_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, Any] = {}

    class Server:
        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            called.update(command=command, env=env)

        def poll(self) -> int:
            return 0

        def wait(self) -> int:
            called["on SIGTERM"](signal.SIGTERM, None)
            return 0

        def terminate(self) -> None:
            called["ended"] = True

    monkeypatch.setattr(subprocess, "Popen", Server)
    monkeypatch.setattr(signal, "signal", lambda number, handler: called.update({"on SIGTERM": handler}))
    uri = "postgresql://me:geheim@db/mlflow"
    done = CliRunner().invoke(cli.app, ["ui", "--tracking-uri", uri])
    assert done.exit_code == 0
    assert called["command"][called["command"].index("--host") + 1] == "127.0.0.1"
    assert "geheim" not in " ".join([*called["command"], done.output])
    assert called["env"]["MLFLOW_BACKEND_STORE_URI"] == uri
    assert called["ended"], "a server that outlives the command"
    assert "Model training" in done.output
