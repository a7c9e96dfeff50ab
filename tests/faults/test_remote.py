"""Checkpoints at a URI: a store that fails, loses, damages, hides or is slow never changes a number or ends a trial."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ltbench.cli import main
from ltbench.cli.text.run import command
from ltbench.execution.resources import Resources
from ltbench.execution.run_plan import run_plan
from ltbench.registry import Registry, fingerprint, read_sources
from ltbench.results.folders import Folders
from ltbench.spec import Plan, Record, TrialSpec
from ltbench.system import remote
from ltbench.system.remote import Remote, RemoteFiles, is_uri
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.checkpoints.files import Files, discard, keys_in, pack, place_for, unpack
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from ltbench.workflow.run_suite import RunRequest

Make = Callable[..., TrialSpec]
TINY = {"epochs": 3.0, "batch_size": 32}


class Flaky(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """An object store in memory that does what the test says to each object that is put."""

    protocol, cachable = "flaky", False
    objects: dict[str, bytes] = {}
    hidden: set[str] = set()
    fate: Callable[[int, bytes], bytes] = staticmethod(lambda n, content: content)
    puts = 0

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        if ".probe-" not in path:
            Flaky.puts += 1
            value = Flaky.fate(Flaky.puts, value)
        Flaky.objects[path] = value

    def cat_file(self, path: str, **_: Any) -> bytes:
        if path not in Flaky.objects:
            raise FileNotFoundError(path)
        return Flaky.objects[path]

    def rm_file(self, path: str) -> None:
        if Flaky.objects.pop(path, None) is None:
            raise FileNotFoundError(path)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        if path in Flaky.objects:
            return {"name": path, "size": len(Flaky.objects[path]), "type": "file"}
        if any(name.startswith(f"{path}/") for name in Flaky.objects):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        below = {name[len(path) + 1 :].split("/")[0] for name in Flaky.objects if name.startswith(f"{path}/")}
        found = [f"{path}/{name}" for name in sorted(below) if name not in Flaky.hidden]
        if not below:
            raise FileNotFoundError(path)
        return [self.info(name) for name in found] if detail else found


@pytest.fixture(autouse=True)
def flaky() -> type[Flaky]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    Flaky.objects, Flaky.hidden, Flaky.puts = {}, set(), 0
    Flaky.fate = staticmethod(lambda n, content: content)
    return Flaky


@pytest.fixture
def away(site: Site) -> Site:
    """Checkpoints after every step, in the store."""
    return replace(site, checkpoints=Remote("flaky://bucket/suite"), checkpoint_seconds=0.0)


def stopped_after(spec: TrialSpec, site: Site, steps: int) -> None:
    """Run a trial until it was asked to stop after this many steps."""
    taken = iter(range(1, 10_000))
    with pytest.raises(Stopped):
        run_trial(spec, site, stop=lambda: next(taken) >= steps)


def assert_same(a: Record, b: Record) -> None:
    assert a.status == b.status == "ok", (a.error, b.error)
    assert a.numbers() == b.numbers()
    assert a.predictions == b.predictions


def messages(record: Record) -> str:
    return "\n".join(record.environment.get("checkpoint_messages", []))


@pytest.mark.parametrize("uri", ["flaky://bucket/suite", "file://{}/new/suite"])
@pytest.mark.parametrize("name", ["ce", "crt"])
def test_a_trial_goes_on_from_a_uri_bit_for_bit(
    name: str, uri: str, make_spec: Make, site: Site, away: Site, tmp_path: Path
) -> None:
    place = Remote(uri.format(tmp_path))
    spec, away = make_spec(name, recipe=TINY), replace(away, checkpoints=place)
    for steps in (5, 4):
        stopped_after(spec, away, steps)
    assert keys_in(place) == [spec.key]
    assert len((place / spec.key).names()) == 2, "the last two are kept"
    resumed = run_trial(spec, away)
    assert resumed.environment["resumed"] == 2
    assert messages(resumed) == ""
    assert_same(run_trial(spec, site), resumed)
    discard(place, spec.key)
    assert place.names() == []


def test_a_store_that_fails_is_told_of_and_the_trial_goes_on(
    make_spec: Make, site: Site, away: Site, flaky: type[Flaky]
) -> None:
    def refuse(n: int, content: bytes) -> bytes:
        raise PermissionError("access denied")

    flaky.fate = staticmethod(refuse)
    spec = make_spec("ce", recipe=TINY)
    record = run_trial(spec, away)
    assert messages(record) == (
        f"a checkpoint could not be saved (PermissionError: access denied in flaky://bucket/suite/{spec.key})"
    )
    assert_same(run_trial(spec, site), record)


def test_a_listing_that_fails_means_starting_over(
    make_spec: Make, site: Site, away: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("ce", recipe=TINY)
    stopped_after(spec, away, 4)

    def lost(*_: Any, **__: Any) -> None:
        raise ConnectionError("reset by peer")

    before = dict(Flaky.objects)
    monkeypatch.setattr(Flaky, "ls", lost)
    record = run_trial(spec, away)
    assert record.environment["resumed"] == 0
    assert "checkpoints could not be looked for (reset by peer); the trial started over" in messages(record)
    assert before.items() <= Flaky.objects.items(), "good checkpoints are kept"
    assert_same(run_trial(spec, site), record)


def test_a_checkpoint_that_arrives_in_part_is_noticed_and_the_one_before_is_kept(
    make_spec: Make, site: Site, away: Site, flaky: type[Flaky]
) -> None:
    flaky.fate = staticmethod(lambda n, content: content if n <= 3 else content[: len(content) // 2])
    spec = make_spec("ce", recipe=TINY)
    stopped_after(spec, away, 8)
    record = run_trial(spec, replace(away, checkpoint_seconds=3600.0))
    assert record.environment["resumed"] == 1
    assert "is damaged (its checksum does not fit); it was left out" in messages(record)
    assert_same(run_trial(spec, site), record)


def test_a_checkpoint_damaged_where_it_lies_falls_back_to_the_one_before(
    make_spec: Make, site: Site, away: Site, flaky: type[Flaky]
) -> None:
    spec = make_spec("crt", recipe=TINY)
    stopped_after(spec, away, 6)
    newest = max(flaky.objects)
    flaky.objects[newest] = flaky.objects[newest][:-1] + b"?"
    record = run_trial(spec, away)
    assert record.environment["resumed"] == 1
    assert f"the checkpoint {newest.rpartition('/')[2]} is damaged" in messages(record)
    assert_same(run_trial(spec, site), record)


@pytest.mark.parametrize("which", [slice(0, 1), slice(0, 2)], ids=["newest", "both"])
def test_a_listing_that_lags_behind_costs_time_and_nothing_else(
    which: slice, make_spec: Make, site: Site, away: Site, flaky: type[Flaky]
) -> None:
    spec = make_spec("ce", recipe=TINY)
    stopped_after(spec, away, 6)
    flaky.hidden = {name.rpartition("/")[2] for name in sorted(flaky.objects, reverse=True)[which]}
    record = run_trial(spec, away)
    assert record.environment["resumed"] == (0 if which.stop == 2 else 1)
    assert_same(run_trial(spec, site), record)


def test_training_does_not_wait_for_a_slow_store(
    make_spec: Make, site: Site, away: Site, flaky: type[Flaky], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds for each checkpoint; there are more than a dozen steps."""
    monkeypatch.setattr(remote, "SEND_SECONDS", 0.1)
    let_go = threading.Event()

    def slow(n: int, content: bytes) -> bytes:
        let_go.wait(20)
        return content

    flaky.fate = staticmethod(slow)
    spec = make_spec("ce", recipe=TINY)
    began = time.monotonic()
    record = run_trial(spec, away)
    assert time.monotonic() - began < 10
    let_go.set()
    assert flaky.puts == 1
    assert "could not be saved (Connection timed out in flaky://bucket/suite/" in messages(record)
    assert_same(run_trial(spec, site), record)


def test_local_and_remote_checkpoints_are_the_same_bytes(tmp_path: Path) -> None:
    content = {"identity": {"key": "a"}, "step": 3}
    assert unpack(pack(content)) == content
    files = RemoteFiles(Remote(f"file://{tmp_path}/there"), pack, unpack)
    files.write(content, last=True)
    (newest,) = Files(tmp_path / "there").newest_first()
    assert Files(tmp_path / "there").read(newest) == content


# -- what is refused, and how it is said -------------------------------------------------------------------------------


def test_what_is_a_uri() -> None:
    assert all(map(is_uri, ["s3://b/x", "file:///x", "gs://b", Path("s3://b/x"), "abfs+x://c"]))
    assert not any(map(is_uri, ["results", "/a/b", "a:b", "c:/windows", Path("a b:/x"), ""]))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    told = Remote("s3://bucket/suite").problem()
    assert told == "s3://bucket/suite: Install s3fs to access S3 (on every machine that runs trials)"


def test_a_node_without_the_package_trains_without_checkpoints(make_spec: Make, site: Site) -> None:
    lost = replace(site, checkpoints=Remote("nosuchscheme://bucket"))
    record = run_trial(make_spec("ce", recipe=TINY), pickle.loads(pickle.dumps(lost)))
    assert record.status == "ok"
    assert messages(record).startswith("no checkpoints are taken: nosuchscheme://bucket/")
    assert "Protocol not known: nosuchscheme" in messages(record)


def test_passwords_in_a_uri_are_not_told() -> None:
    place = Remote("nosuchscheme://me:hunter22@host/there")
    assert "hunter22" not in (place.problem() or "hunter22")
    request = RunRequest(suite="s.yaml")
    assert "--checkpoints s3://b/x" in command(replace(request, checkpoints="s3://b/x"))
    assert "hunter22" not in command(replace(request, checkpoints="ftp://me:hunter22@host"))


def test_a_store_that_cannot_be_used_is_said_before_anything_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data_root: Path
) -> None:
    def refused(*options: str) -> str:
        command = ["ltbench", "run", "quickstart", "--inline", "--data", str(data_root), *options]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    def deny(*_: Any, **__: Any) -> None:
        raise PermissionError("access denied")

    results = ("--results", str(tmp_path))
    unknown = refused(*results, "--checkpoints", "nosuchscheme://bucket/x")
    assert unknown.startswith(
        "error: --checkpoints nosuchscheme://bucket/x/quickstart: cannot be used: ValueError: Protoc"
    )
    monkeypatch.setattr(Flaky, "pipe_file", deny)
    denied = refused(*results, "--checkpoints", "flaky://bucket")
    assert denied == "error: --checkpoints flaky://bucket/quickstart: cannot be used: PermissionError: access denied"
    assert "records are kept in a folder, not at a URI" in refused("--results", "s3://bucket/x")


# -- on Ray ------------------------------------------------------------------------------------------------------------

DIES = """
import os, pathlib, signal, time
from ltbench.api import Method

class Dies(Method):
    "Is killed once, past the middle."
    def loss(self, logits, target, now):
        time.sleep(0.05)  # so that checkpoints arrive
        if now.progress > 0.6 and not os.path.exists(MARK):
            pathlib.Path(MARK).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(logits, target, now)
"""


class Nowhere:
    def send(self, record: Record) -> None: ...


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.usefixtures("on_cluster")
def test_the_trial_of_a_killed_worker_goes_on_from_a_uri(
    tmp_path: Path, make_spec: Make, site: Site, digits: Any
) -> None:
    from ltbench.planning.resolve import Inputs

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "dies.py").write_text(DIES.replace("MARK", repr(str(tmp_path / "mark"))))
    spec = replace(
        make_spec("ce", recipe=TINY), label="dies", method="dies", code=fingerprint(Registry(mine).get("dies"))
    )
    place = Remote(f"file://{tmp_path}/away/test")
    away = replace(site, methods=read_sources(mine), checkpoints=place, checkpoint_seconds=0.0)
    plan = Plan(suite="test", question="", trials=(spec,), skips=(), protocol={"primary": "balanced_accuracy"})
    folders = Folders(tmp_path / "results", "test")
    (record,) = run_plan(plan, Inputs({"digits": digits}, {}), away, folders.journal, Nowhere(), Resources())
    assert record.environment["resumed"] == 1
    assert "checkpoint_messages" not in record.environment
    assert_same(run_trial(spec, replace(away, checkpoints=None)), record)
    assert place.names() == [], "removed when the record was safe"
    assert not folders.checkpoints.exists()
    assert place_for(None, "a") is None
