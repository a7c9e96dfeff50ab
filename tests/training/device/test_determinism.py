"""Deterministic algorithms on a GPU: what is set, for which device, and that nothing of ours lacks such a form."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
import torch.utils.deterministic

from ltbench.spec import TrialSpec
from ltbench.training.device.determinism import use_deterministic_algorithms
from ltbench.training.site import Site
from ltbench.training.trial import run_trial


@pytest.fixture(autouse=True)
def chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.device]]:
    """The GPUs that were made the current one; afterwards everything is as it was."""
    devices: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", devices.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield devices
    torch.use_deterministic_algorithms(False)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_a_cpu_is_left_alone(chosen: list[torch.device]) -> None:
    use_deterministic_algorithms(torch.device("cpu"))
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    assert not chosen


@pytest.mark.parametrize(("name", "current"), [("cuda", []), ("cuda:1", [torch.device("cuda:1")])])
def test_a_gpu_computes_deterministically_and_becomes_the_current_one(
    name: str, current: list[torch.device], chosen: list[torch.device]
) -> None:
    use_deterministic_algorithms(torch.device(name))
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert chosen == current


def test_what_the_user_set_for_cublas_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    use_deterministic_algorithms(torch.device("cuda"))
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_a_trial_on_a_gpu_asks_for_it(make_spec: Callable[..., TrialSpec], site: Site) -> None:
    record = run_trial(make_spec("ce"), replace(site, device="cuda:99"))  # is not there, so it fails afterwards
    assert record.status == "failed"
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("method", ["ce", "ldam_drw", "remix", "text_guided_mixup", "tgm_clip", "lift"])
def test_deterministic_algorithms_do_for_our_methods_and_move_no_number_on_a_cpu(
    make_spec: Callable[..., TrialSpec], site: Site, method: str
) -> None:
    spec = make_spec(method)
    plain = run_trial(spec, site)
    torch.use_deterministic_algorithms(True)  # an error for what has no such form
    again = run_trial(spec, site)
    assert again.status == "ok", again.error
    assert again.metrics == plain.metrics
