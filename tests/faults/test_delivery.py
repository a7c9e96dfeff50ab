"""MLflow away, slow, hanging, restarting, lying: no trial waits for it, nothing is lost, nothing arrives twice."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ltbench.results.folders import Folders
from ltbench.results.journal import Journal
from ltbench.spec import Cell, Expectation, Record, TrialSpec
from ltbench.system.uris import default_uri
from ltbench.tracking import delivery, mlflow_client, mlflow_store
from ltbench.tracking.delivery import Tracker, deliver
from tests.sampling import sampled
from tests.tracking.made import PATIENT

SPEC = TrialSpec(
    suite="test", cell=Cell(dataset="digits", kind="digits", imbalance=20.0, manifest="m"), label="ce", method="ce",
    hyperparameters={}, code="c", recipe_name="r", recipe={"epochs": 1.0}, seed=0,
)  # fmt: skip
PROTOCOL = {"seeds": [0], "primary": "accuracy", "report": ["accuracy"], "reference": "ce"}
PLAN = Expectation(suite="test", question="", protocol=PROTOCOL, rows={}, columns=())
SECRETS = ("geheim", "t0ken")


def made(seed: int = 0, **changes: Any) -> Record:
    return replace(Record(spec=replace(SPEC, seed=seed), status="ok", metrics={"accuracy": 50.0 + seed}), **changes)


@pytest.fixture
def results(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Folders(tmp_path, "test").journal


def runs_in(uri: str, suite: str = "test") -> list[str]:
    """The keys of the runs that a user sees."""
    client = mlflow_client.client_of(uri)
    experiment = client.get_experiment_by_name(suite)
    return [run.data.tags["ltbench.key"] for run in client.search_runs([experiment.experiment_id])]


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


# -- a server that misbehaves ------------------------------------------------------------------------------------------


class BadServer:
    """Listens on loopback and treats every connection in one way."""

    def __init__(self, way: str) -> None:
        self._way, self._open = way, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.recv(65536)
            if self._way == "hangs":
                return
            if self._way == "answers 500":
                connection.sendall(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\nRetry-After: 600\r\n\r\nno")
            elif self._way == "cuts in the middle":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{")
            elif self._way == "talks nonsense":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            elif self._way == "drips":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                for _ in range(2000):
                    connection.sendall(b" ")
                    time.sleep(0.05)
            connection.close()

    def close(self) -> None:
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.mark.slow
@sampled(
    "way",
    ["hangs", "answers 500", "cuts", "cuts in the middle", "talks nonsense", "drips", "is not there"],
    ["hangs", "answers 500", "drips"],
)
def test_no_trial_waits_for_a_server_that(
    way: str, journal: Journal, results: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    server = BadServer(way)
    if way == "is not there":
        server.close()
    warnings: list[str] = []
    uri = f"http://me:geheim@127.0.0.1:{server.port}/?token=t0ken"
    began = time.monotonic()
    tracker = Tracker(uri, "test", journal, PLAN, warnings.append, PATIENT._replace(stall=3.0))
    for seed in range(20):
        record = made(seed)
        journal.write(record)
        tracker.send(record)
    assert time.monotonic() - began < 2.0
    assert tracker.close() == 20
    assert time.monotonic() - began < 10.0
    server.close()
    assert len(warnings) == 1
    assert f"***@127.0.0.1:{server.port}" in warnings[0]
    told = [*warnings, *capfd.readouterr()]
    kept = [f.read_text(errors="replace") for f in results.rglob("*") if f.is_file() and f.suffix != ".db"]
    assert not [secret for text in (*told, *kept) for secret in SECRETS if secret in text]
    assert deliver(default_uri(results), "test", journal, PLAN) == (20, 0, 0)


def test_what_waits_is_remembered_by_key_alone(journal: Journal) -> None:
    tracker = Tracker("http://127.0.0.1:9", "test", journal, PLAN, lambda _: None, PATIENT)
    record = made(predictions=b"x" * 1_000_000)
    journal.write(record)
    tracker.send(record)
    alive = weakref.ref(record)
    del record
    tracker.close()
    gc.collect()
    assert alive() is None


# -- the same process, a store that comes and goes ---------------------------------------------------------------------


class Flaky:
    """Makes a method of MLflow's client fail the first `times` times, before or after it did its work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, times: int, *, obeyed: bool) -> None:
        real = getattr(mlflow_client.MlflowClient, name)
        self.calls = 0

        def call(client: Any, *arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls > times:
                return real(client, *arguments, **named)
            if obeyed:
                real(client, *arguments, **named)
            raise ConnectionError("the answer was lost")

        monkeypatch.setattr(mlflow_client.MlflowClient, name, call)


@pytest.mark.slow
@sampled(
    "name, obeyed",
    product(["create_run", "log_batch", "log_dict", "set_terminated", "create_experiment"], [True, False]),
    [("create_run", True), ("log_batch", False), ("set_terminated", True), ("create_experiment", False)],
)
def test_a_failure_is_tried_again_in_the_same_run_and_leaves_one_run_per_key(
    name: str, obeyed: bool, results: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Flaky(monkeypatch, name, 3, obeyed=obeyed)
    warnings: list[str] = []
    tracker = Tracker(default_uri(results), "test", journal, PLAN, warnings.append, PATIENT)
    for seed in range(2):
        journal.write(made(seed))
        tracker.send(made(seed))
    until(lambda: not tracker._waiting and not tracker._sending)
    assert flaky.calls >= 1
    assert (tracker.close(), len(warnings)) == (0, 1)
    assert sorted(runs_in(default_uri(results))) == sorted([made(0).key, made(1).key])


@pytest.mark.slow
def test_a_record_that_the_store_refuses_holds_up_no_other(
    results: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mlflow_store.Store.put

    def put(store: Any, record: Record, *rest: Any) -> Any:
        if record.spec.seed == 1:
            raise ValueError("such a record is not taken")
        return real(store, record, *rest)

    monkeypatch.setattr(mlflow_store.Store, "put", put)
    tracker = Tracker(default_uri(results), "test", journal, PLAN, lambda _: None, PATIENT)
    for seed in range(4):
        journal.write(made(seed))
        tracker.send(made(seed))
    assert tracker.close() == 1
    assert sorted(runs_in(default_uri(results))) == sorted(made(s).key for s in (0, 2, 3))
    assert deliver(default_uri(results), "test", journal, PLAN, lambda _: None) == (0, 3, 1)


@pytest.mark.slow
def test_two_commands_at_once_send_each_record_once(results: Path, journal: Journal) -> None:
    for seed in range(6):
        journal.write(made(seed))
    trackers = [Tracker(default_uri(results), "test", journal, PLAN, print, PATIENT) for _ in range(3)]
    for tracker in trackers:
        tracker.deliver_backlog()
    assert [tracker.close() for tracker in trackers] == [0, 0, 0]
    assert sorted(runs_in(default_uri(results))) == sorted(made(s).key for s in range(6))


def test_a_ledger_line_is_whole_or_not_there(journal: Journal, tmp_path: Path) -> None:
    from ltbench.tracking.ledger import Ledger

    file = tmp_path / "mlflow-sent.jsonl"
    first = Ledger(file, "http://h")
    first.add(made(0))
    file.write_bytes(file.read_bytes() + b'{"store": "cut o')
    second = Ledger(file, "http://h")
    assert second.has(made(0))
    second.add(made(1))
    with first.exclusive():
        assert first.has(made(1)), "what another command sent is known once the lock is had"
    assert Ledger(file, "http://h").has(made(1))
    assert not Ledger(file, "http://other").has(made(1))
    assert Ledger(file, "http://me:newpassword@h").has(made(1)) is False
    assert "geheim" not in file.read_text()


def test_the_ledger_does_not_depend_on_a_password(tmp_path: Path) -> None:
    from ltbench.tracking.ledger import Ledger

    Ledger(tmp_path / "x.jsonl", "http://me:old@h").add(made())
    assert Ledger(tmp_path / "x.jsonl", "http://me:new@h").has(made())


# -- killed ------------------------------------------------------------------------------------------------------------

DIES = """
import os, sys
from pathlib import Path
from ltbench.tracking import ledger
from ltbench.tracking import mlflow_client, mlflow_store
from ltbench.tracking.delivery import deliver
from ltbench.results.folders import Folders
from ltbench.system.uris import default_uri
results, where = Path(sys.argv[1]), sys.argv[2]
holder, name = {"ledger": (ledger.Ledger, "add")}.get(where, (mlflow_client.MlflowClient, where))
setattr(holder, name, lambda *a, **k: os._exit(9))
deliver(default_uri(results), "test", Folders(results, "test").journal)
"""


def python(script: str, *arguments: str, **named: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **named)  # fmt: skip


@pytest.mark.slow
@sampled("where", ["log_batch", "set_terminated", "ledger"], ["ledger"])
def test_a_process_that_dies_between_run_and_ledger_leaves_one_run(where: str, results: Path, journal: Journal) -> None:
    journal.write(made())
    with python(DIES, str(results), where) as process:
        process.communicate(timeout=60)
    assert process.returncode == 9
    tracker = Tracker(default_uri(results), "test", journal, PLAN, print, PATIENT)
    assert (tracker.deliver_backlog(), tracker.close()) == (1, 0)
    assert runs_in(default_uri(results)) == [made().key]
    assert [r.key for r in mlflow_store.read(default_uri(results), "test")[0]] == [made().key]


FIRST = """
import sys
from pathlib import Path
from ltbench.tracking import mlflow_store
from ltbench.tracking.delivery import deliver
from ltbench.results.folders import Folders
from ltbench.system.uris import default_uri
results = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
done = deliver(default_uri(results), "test", Folders(results, "test").journal)
assert done.left == 0, done
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_several_commands_may_be_the_first_to_use_a_store(tmp_path: Path, journal: Journal) -> None:
    for seed in range(3):
        journal.write(made(seed))
    processes = [python(FIRST, str(tmp_path), stdin=subprocess.PIPE) for _ in range(3)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        told = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            told += process.communicate(timeout=120)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * 3, told
    assert sorted(runs_in(default_uri(tmp_path))) == sorted(made(s).key for s in range(3))
    assert mlflow_store.suites(default_uri(tmp_path)) == ["test"]
    assert len(mlflow_client.client_of(default_uri(tmp_path)).search_experiments()) == 2, (
        "the suite's and MLflow's Default"
    )


# -- a real server -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """MLflow's own server on loopback, until the block is left."""
    uri, log = f"http://127.0.0.1:{port}", (folder / "server.log").open("w")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", default_uri(folder), "--host",
               "127.0.0.1", "--port", str(port), "--workers", "1",
               "--artifacts-destination", str(folder / "art")]  # fmt: skip
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: process.poll() is not None or answers(uri), 90.0)
        assert process.poll() is None, (folder / "server.log").read_text()
        yield uri
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def answers(uri: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=2) as reply:
        return bool(reply.status == 200)
    return False


@pytest.mark.nightly
@pytest.mark.slow
def test_a_server_that_stops_and_starts_again_gets_everything_once_within_one_run(
    results: Path, journal: Journal, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    warnings: list[str] = []
    secret = f"http://me:geheim@127.0.0.1:{port}"
    tracker = Tracker(secret, "test", journal, PLAN, warnings.append, PATIENT)

    def send(seed: int) -> None:
        journal.write(made(seed, predictions=b"no npz"))
        tracker.send(made(seed))

    idle = lambda: not tracker._waiting and not tracker._sending  # noqa: E731
    with mlflow_server(results, port):
        send(0)
        until(idle, 60.0)
    send(1)
    send(2)
    until(lambda: bool(warnings))
    with mlflow_server(results, port) as uri:
        until(idle, 60.0)
        send(3)
        assert tracker.close() == 0
        assert sorted(runs_in(uri)) == sorted(made(s).key for s in range(4))
    assert len([w for w in warnings if "is damaged" not in w]) == 1
    assert sum(".npz" in w for w in warnings) == 4, "these predictions are none; each is named once"
    assert not [text for text in (*warnings, *capfd.readouterr()) if "geheim" in text]


def test_the_queue_is_open_while_nothing_is_known_of_the_store(journal: Journal) -> None:
    """`send` is called by the thread that schedules trials: it may not wait, whatever the sender does."""
    tracker = Tracker("http://127.0.0.1:9", "test", journal, PLAN, lambda _: None, PATIENT)
    began = time.perf_counter()
    for seed in range(1000):
        tracker.send(made(seed))
    assert time.perf_counter() - began < 1.0
    tracker.close()
    assert delivery.Delivered(0, 0, 0) == deliver("http://127.0.0.1:9", "test", journal)
