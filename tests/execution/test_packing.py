"""How many trials share a device: the decision on recorded measurements, and the measurement itself on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.errors import UserError
from ltbench.execution import packing
from ltbench.execution.packing import Measured, choose, choose_on_cpu, free_memory, packed, side_by_side
from ltbench.execution.placement import GB, Machine
from ltbench.execution.resources import Need, Resources
from ltbench.spec import Plan, TrialSpec
from ltbench.training.site import Site
from ltbench.workflow.run_suite import packed_resources

Make = Callable[..., TrialSpec]


def measured(*rates: float, memory: float = 1.0) -> list[Measured]:
    """1, 2, 4, ... copies with these steps per second of all together, each with so many GB."""
    return [Measured(2**i, rate, memory * GB) for i, rate in enumerate(rates)]


@pytest.mark.parametrize(
    ("rates", "memory", "most", "copies"),
    [
        ((100, 190, 300, 310), 24, 16, 4),  # 8 are hardly faster than 4
        ((100, 102, 104), 24, 16, 1),  # one keeps the device busy
        ((100, 190, 300), 3, 16, 2),  # 4 do not fit
        ((100, 190, 300), 0.5, 16, 1),  # not even one fits: it is tried all the same
        ((100, 190, 300), 24, 2, 2),  # there are CPUs for two
        ((100, 90, 80), 24, 16, 1),  # they stand in each other's way
        ((100,), 24, 16, 1),
    ],
)
def test_the_fewest_copies_that_are_as_good_as_the_best(
    rates: tuple[float, ...], memory: float, most: int, copies: int
) -> None:
    choice = choose(measured(*rates), memory * GB, most)
    assert choice.copies == copies
    assert choice.reason.startswith(f"{copies} at once on a GPU")


def test_the_reason_names_what_was_measured() -> None:
    reason = choose(measured(100, 190, 300), 3 * GB, 16).reason
    assert "1: 1.00, 2: 1.90, 4: 3.00" in reason
    assert "1.0 GB each of 3.0 GB that are free; 4 do not fit" in reason


@pytest.mark.parametrize(
    ("trial", "free", "cpus", "copies"),
    [(0.7, 12.0, 2, 2), (0.7, 12.0, 8, 8), (2.0, 12.0, 8, 5), (20.0, 12.0, 8, 1), (1.0, float("inf"), 64, 64)],
)
def test_one_trial_per_cpu_unless_memory_is_short(trial: float, free: float, cpus: int, copies: int) -> None:
    choice = choose_on_cpu(trial * GB, free * GB, cpus)
    assert choice.copies == copies
    assert ("memory is short" in choice.reason) == (copies < cpus)


def test_free_memory_is_what_the_machine_or_the_container_has(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 8000 kB\nMemAvailable:    4000 kB\n")
    assert free_memory(meminfo, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory(meminfo, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    assert free_memory(meminfo, tmp_path) == 2000
    assert free_memory(tmp_path / "none", tmp_path / "none") == float("inf")


def plan_of(*specs: TrialSpec) -> Plan:
    return Plan(suite="s", question="", trials=specs, skips=(), protocol={})


def test_the_most_cautious_recipe_decides_and_methods_keep_what_is_their_own(
    make_spec: Make, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = make_spec("ce"), replace(make_spec("mixup"), recipe_name="large")
    asked: list[str] = []

    def alone(spec: TrialSpec, site: Site, copies: int) -> Measured:
        asked.append(spec.label)
        return Measured(copies, 1.0, (1.0 if spec.label == "ce" else 3.0) * GB)

    monkeypatch.setattr(packing, "side_by_side", alone)
    monkeypatch.setattr(packing, "free_memory", lambda: 7.0 * GB)
    own = Resources(methods={"crt": Need(cpus=4.0)})
    machine = Machine("here", "here", 8, 0)
    given, reason = packed(own, plan_of(small, replace(small, seed=1), large), site, machine)
    assert asked == ["ce", "mixup"]
    assert reason.startswith("2 at once, not one for each of 8 CPUs")
    assert (given.cpus, given.gpus) == (4.0, 0.0)
    assert given.methods == own.methods
    given, _ = packed(own, plan_of(small), site, Machine("here", "here", 2, 0))
    assert given.cpus == 1.0


def test_on_a_gpu_more_copies_are_tried_as_long_as_they_serve(
    make_spec: Make, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {1: 100.0, 2: 190.0, 4: 191.0}
    tried: list[int] = []

    def together(spec: TrialSpec, site: Site, copies: int) -> Measured:
        assert site.device == "cuda"
        tried.append(copies)
        return Measured(copies, rates[copies], 1 * GB)

    monkeypatch.setattr(packing, "side_by_side", together)
    monkeypatch.setattr(packing.torch.cuda, "mem_get_info", lambda: (int(24 * GB), int(24 * GB)))
    given, _ = packed(Resources(), plan_of(make_spec("ce")), site, Machine("here", "here", 16, 1))
    assert tried == [1, 2, 4]
    assert given.gpus == 0.5


def test_a_cluster_cannot_be_measured_from_here(make_spec: Make, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(UserError, match="measures this machine, not a cluster"):
        packed_resources(Resources(), plan_of(make_spec("ce")), None, site)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.nightly
def test_copies_are_measured_for_real(make_spec: Make, site: Site) -> None:
    spec = make_spec("ce")
    longer = replace(spec, recipe={**spec.recipe, "epochs": 2000.0})
    found = side_by_side(longer, replace(site, device="cpu", threads=1), 2)
    assert found.copies == 2
    assert found.steps_per_second > 10
    assert 50e6 < found.memory < 5e9
    with pytest.raises(UserError, match=r"resources\.pack: ce .* could not be measured: .*other code"):
        side_by_side(replace(longer, code="0" * 12), replace(site, device="cpu", threads=1), 1)
