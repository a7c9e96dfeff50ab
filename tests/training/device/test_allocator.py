"""What tensors used is kept within a trial and given back after it; no bit of a record depends on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from ltbench.spec import TrialSpec
from ltbench.training.device import allocator
from ltbench.training.device.allocator import give_back, keep_memory
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

FAULTS = """
import json, resource, sys, torch
from ltbench.training.device.allocator import give_back, keep_memory
set_up = keep_memory() if sys.argv[1] == "kept" else None
def step():
    for _ in range(4):
        torch.zeros(2 << 20)  # 8 MB, as an activation
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident(): return int(open("/proc/self/statm").read().split()[1])
kept = [torch.zeros(2 << 20) for _ in range(4)]
kept = None
step()
before = faults()
for _ in range(10): step()
taken, full = faults() - before, resident()
give_back()
print(json.dumps([set_up, taken, full - resident()]))
"""
PAGES = 4 * 2048
"""Of 4 KB in four tensors of 8 MB."""


def faults_of(way: str, **environment: str) -> tuple[bool | None, int, int]:
    """Whether it was set up, pages asked for in ten steps, and pages given back in the end, in a fresh process."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    done = subprocess.run([sys.executable, "-c", FAULTS, way], env={**ours, "OMP_NUM_THREADS": "1", **environment},
                          check=True, capture_output=True, text=True)  # fmt: skip
    set_up, taken, given_back = json.loads(done.stdout)
    return set_up, taken, given_back


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is set is glibc's")
def test_memory_is_kept_between_steps_and_given_back_after_the_trial() -> None:
    _, plain, _ = faults_of("plain", MALLOC_MMAP_THRESHOLD_="131072")  # glibc as it begins
    set_up, kept, given_back = faults_of("kept")
    assert set_up
    assert plain >= 10 * PAGES
    assert kept < PAGES, "less in ten steps than in one before: systems that are short of memory may take a page back"
    assert given_back > PAGES // 2


PEAK = """
import torch
from ltbench.training.device.allocator import keep_memory
from ltbench.training.device.provenance import forget_peak_memory, peak_memory
keep_memory()
device = torch.device("cpu")
forget_peak_memory(device)
before = peak_memory(device)
kept = [torch.ones(2 << 20) for _ in range(32)]  # a quarter of a GiB, in pieces that are kept
kept = None
full = peak_memory(device)
forget_peak_memory(device)
print(full - before, peak_memory(device) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is set is glibc's")
def test_kept_memory_of_an_earlier_trial_is_not_in_the_next_ones_peak() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True)
    full, later = map(int, done.stdout.split())
    assert full > 2**27
    assert later < 2**26


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is set is glibc's")
def test_what_the_user_has_said_of_malloc_holds() -> None:
    set_up, taken, _ = faults_of("kept", MALLOC_MMAP_THRESHOLD_="131072")
    assert set_up is False
    assert taken >= 10 * PAGES


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    allocator._glibc.cache_clear()
    keep_memory.cache_clear()
    try:
        assert not keep_memory()
        give_back()
    finally:
        allocator._glibc.cache_clear()
        keep_memory.cache_clear()


def test_a_trial_on_a_cpu_keeps_memory_and_gives_it_back(
    make_spec: Callable[..., TrialSpec], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr("ltbench.training.trial.keep_memory", lambda: done.append("kept"))
    monkeypatch.setattr("ltbench.training.trial.give_back", lambda: done.append("given back"))
    assert run_trial(make_spec(), site).status == "ok"
    assert done == ["kept", "given back"]
