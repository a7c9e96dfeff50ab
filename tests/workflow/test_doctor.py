"""`ltbench doctor` and `ltbench fetch`: what is there, what a suite lacks, and getting it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ltbench.cli.text.doctor import doctor_text
from ltbench.system.uris import default_uri
from ltbench.workflow import doctor
from ltbench.workflow.doctor import Finding, Health, examine
from ltbench.workflow.prepare import Request
from tests.data.made import small_lists

Look = Callable[..., list[Finding]]
Ltbench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def look(tmp_path: Path, data_root: Path) -> Look:
    def run(request: Request | None = None, **changes: Any) -> list[Finding]:
        there = {"results": tmp_path / "results", "data": data_root, "tracking_uri": default_uri(tmp_path / "results")}
        return examine(request, **{**there, **changes})

    return run


def pretrained_suite(folder: Path) -> str:
    """A suite on colour images whose network begins with published weights."""
    data = small_lists(folder / "images")
    file = folder / "pretrained.yaml"
    file.write_text(
        "suite: pretrained\n"
        f"datasets: [{{name: mine, kind: lists, path: {data}, profile: native, size: 32}}]\n"
        "recipes: {r: {backbone: resnet18, pretrained: IMAGENET1K_V1, epochs: 1, batch_size: 4, augment: none,\n"
        "              optimizer: {name: sgd, lr: 0.1}}}\n"
        "methods: [ce]\n"
        "protocol: {final: {seeds: [0]}}\n"
    )
    return str(file)


def problems(found: list[Finding]) -> list[str]:
    return [f.text for f in found if f.health is Health.problem]


def test_this_machine_can_run_trials_and_is_described(look: Look) -> None:
    found = look()
    assert problems(found) == []
    assert {f.area for f in found} == {"software", "machine", "folders", "tracking"}
    told = " ".join(f.text for f in found)
    assert "torch " in told
    assert "CPUs" in told
    assert "is made by the first run" in told


def test_a_suite_that_can_run_has_its_data_and_manifests_named(look: Look, data_root: Path, digits: Any) -> None:
    digits.prepare()
    found = look(Request(suite="quickstart", data=data_root))
    assert problems(found) == []
    (ready,) = (f.text for f in found if "data set digits is ready" in f.text)
    assert "IF20 " in ready
    assert "IF50 " in ready


def test_data_that_are_not_there_yet_are_told_with_the_command_that_gets_them(look: Look, tmp_path: Path) -> None:
    found = look(Request(suite="cifar_lt", data=tmp_path / "nothing"), data=tmp_path / "nothing")
    cures = [f.cure for f in found if "is not packed yet" in f.text]
    assert len(cures) == 2
    assert all("ltbench fetch cifar_lt" in cure for cure in cures)


def test_a_suite_that_cannot_run_is_a_problem(look: Look, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("extends: quickstart\nmethods: [ce, no_such_method]\n")
    (told,) = problems(look(Request(suite=str(tmp_path / "s.yaml"), data=tmp_path)))
    assert "unknown method 'no_such_method'" in told


def test_weights_that_are_missing_are_a_problem_and_nothing_is_fetched(
    look: Look, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the doctor went to the network")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    told = problems(look(Request(suite="clip_lt", data=data_root)))
    assert told
    told += problems(look(Request(suite=pretrained_suite(tmp_path), data=tmp_path)))
    assert len(told) > 1
    assert all("weights" in text for text in told), told


def test_a_folder_that_cannot_be_written_is_a_problem(look: Look, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (told,) = problems(look(results=tmp_path / "file" / "results"))
    assert "cannot be written" in told


def test_a_package_that_is_missing_is_a_problem(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", (*doctor.PACKAGES, "no-such-package"))
    assert problems(look()) == ["no-such-package is not installed"]


def test_a_store_is_described(look: Look, tmp_path: Path, empty_store: Path) -> None:
    def told(uri: str) -> str:
        return next(f.text for f in look(tracking_uri=uri) if f.area == "tracking")

    assert "holds no suite yet" in told(f"sqlite:///{empty_store}")
    (tmp_path / "other.db").write_bytes(b"no database at all")
    assert "only MLflow itself reads" in told(f"sqlite:///{tmp_path / 'other.db'}")
    assert "geheim" not in told("https://me:geheim@host/")


def test_a_small_shared_memory_and_a_cluster_are_worth_a_note(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE_SHARED", 1e18)
    monkeypatch.setattr(doctor, "LITTLE_DISK", 1e18)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    found = [f for f in look() if f.health is Health.note]
    assert any("10.0.0.1:6379" in f.text for f in found)
    assert sum("free" in f.text for f in found) == 3 + os.path.isdir("/dev/shm")
    assert all(f.cure for f in found)


def test_the_text_is_a_screen_with_the_verdict_last() -> None:
    found = [Finding("machine", Health.ok, "two words"), Finding("suite", Health.problem, "long " * 60, "do this")]
    text = doctor_text(found)
    assert max(map(len, text.splitlines())) <= 110
    assert text.endswith("\n1 problem (!!)\n")
    assert "-> do this" in text
    assert doctor_text(found[:1]).endswith("nothing stands in the way\n")


def test_the_commands_say_so_by_their_exit_codes(ltbench: Ltbench, tmp_path: Path) -> None:
    assert ltbench("doctor", "quickstart", "--results", str(tmp_path))[0] == 0
    (tmp_path / "s.yaml").write_text("extends: quickstart\nmethods: [ce, no_such_method]\n")
    assert ltbench("doctor", str(tmp_path / "s.yaml"), "--results", str(tmp_path))[0] == 1
    code, out, _ = ltbench("fetch", "quickstart")
    assert code == 0
    assert "data set digits: " in out
    assert "class-name vectors" in out


def test_what_cannot_be_fetched_is_named_and_the_rest_is_still_fetched(
    ltbench: Ltbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("socket.create_connection", away)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    code, out, _ = ltbench("fetch", pretrained_suite(tmp_path), "--data", str(tmp_path / "data"))
    assert code == 1
    assert "IMAGENET1K_V1: MISSING" in out
    assert "data set mine: " in out


def test_whether_nvidias_mps_daemon_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert "does not run" in doctor._mps()
    (tmp_path / "nvidia-cuda-mps-control.pid").write_text(f"{os.getpid()}\n")
    assert "at the same time" in doctor._mps()
    (tmp_path / "nvidia-cuda-mps-control.pid").write_text("999999999\n")
    assert "does not run" in doctor._mps(), "it ended and left its file"

    def of_another_user(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr("ltbench.workflow.doctor.os.kill", of_another_user)
    assert "at the same time; it serves one user at a time" in doctor._mps(), "root's"
