"""What trials are given on the machines there are: shares of GPUs by memory, and what is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ltbench.cli import app
from ltbench.cli.text.plan import placement_text
from ltbench.errors import UserError
from ltbench.execution.nodes import cpus_here
from ltbench.execution.placement import GB, Machine, Placed, place, place_all, survey
from ltbench.execution.resources import Need, Resources, resources_of
from ltbench.spec import Record, TrialSpec
from ltbench.suite import schema as suite_module
from ltbench.training.site import Site
from ltbench.workflow.plan_suite import Placement

Make = Callable[..., TrialSpec]
HERE = "resources.per_trial"


def machine(cpus: float = 8.0, gpus: float = 0.0, memory: float | None = None, name: str = "a") -> Machine:
    return Machine(name, f"node {name}", cpus, gpus, memory and memory * GB)


SMALL, LARGE = machine(8, 2, 8, "small"), machine(16, 1, 24, "large")
PLAIN = machine(32, name="plain")


def test_a_trial_that_no_machine_can_hold_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"--set resources\.per_trial\.gpus=0 runs on the CPU"):
        place(Need(gpus=1.0), HERE, [machine(2)])
    with pytest.raises(
        UserError, match=r"have 2 CPUs and 0 GPUs; 4 CPUs and 0 GPUs\. lower resources\.per_trial\.cpus"
    ):
        place(Need(cpus=8.0), HERE, [machine(2), machine(4)])
    with pytest.raises(UserError, match=r"GPUs that are large enough have 16 CPUs and 1 GPUs\. lower .*\.cpus"):
        place(Need(cpus=20.0, gpu_memory_gb=20.0), HERE, [SMALL, LARGE, PLAIN])


def test_nothing_said_is_a_whole_gpu_where_there_is_one() -> None:
    assert place(Need(), HERE, [machine(2)]) == Placed(1.0, 0.0)
    assert place(Need(), HERE, [machine(2, 1), machine(2)]) == Placed(1.0, 1.0)
    assert place(Need(gpus=0.25), HERE, [machine(2, 1)]) == Placed(1.0, 0.25)


def test_memory_becomes_a_share_of_the_smallest_gpu_that_is_large_enough() -> None:
    assert place(Need(gpu_memory_gb=4), HERE, [SMALL, LARGE, PLAIN]) == Placed(1.0, 0.5)
    assert place(Need(gpu_memory_gb=12), HERE, [SMALL, LARGE, PLAIN]) == Placed(1.0, 0.5, ("small",))
    assert place(Need(gpu_memory_gb=8), HERE, [SMALL, LARGE]) == Placed(1.0, 1.0)
    assert place(Need(gpu_memory_gb=7), HERE, [LARGE]).gpus == 0.2917, "rounded up to what Ray can count"


def test_a_gpu_whose_memory_is_not_known_is_kept_out() -> None:
    unknown = machine(8, 1, None, "unknown")
    assert place(Need(gpu_memory_gb=4), HERE, [SMALL, unknown]) == Placed(1.0, 0.5, ("unknown",))
    with pytest.raises(UserError, match=r"could not be found out \(node unknown\); say resources\.per_trial\.gpus"):
        place(Need(gpu_memory_gb=4), HERE, [unknown])


def test_memory_of_the_machine_is_kept_free() -> None:
    """Ray gives no more trials to a machine than there is memory for."""
    small, large = replace(PLAIN, memory=10 * GB), replace(PLAIN, memory=100 * GB)
    placed = place(Need(memory_gb=8, hours=2), HERE, [small, large])
    assert (placed.limits.hours, placed.limits.memory_gb) == (2, 8)
    assert [placed.side_by_side(m) for m in (small, large, PLAIN)] == [1, 12, 32]
    assert not place(Need(memory_gb=20), HERE, [small, large]).fits(small)
    with pytest.raises(UserError, match=r"per_trial\.memory_gb: .* 200 GB .* at most 100\.0 GB for trials; lower it"):
        place(Need(memory_gb=200), HERE, [small, large])


def test_memory_that_no_gpu_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"methods\.big\.gpu_memory_gb: .* 30 GB .* the largest GPU has 24\.0 GB"):
        place(Need(gpu_memory_gb=30), "resources.methods.big", [SMALL, LARGE])
    with pytest.raises(UserError, match=r"no machine has a GPU; with resources\.per_trial\.gpus: 0 instead"):
        place(Need(gpu_memory_gb=3), HERE, [PLAIN])


@given(
    st.floats(0.1, 80),
    st.lists(st.tuples(st.sampled_from([8.0, 11.8, 16.0, 25.4, 85.0]), st.integers(1, 8)), min_size=1, max_size=4),
)
def test_what_runs_side_by_side_on_a_gpu_never_asks_for_more_than_it_has(
    wanted: float, gpus: list[tuple[float, int]]
) -> None:
    machines = [machine(1000, n, memory, str(i)) for i, (memory, n) in enumerate(gpus)]
    if wanted > max(memory for memory, _ in gpus):
        with pytest.raises(UserError):
            place(Need(gpu_memory_gb=wanted), HERE, machines)
        return
    placed = place(Need(gpu_memory_gb=wanted), HERE, machines)
    assert placed.gpus * 10_000 == pytest.approx(round(placed.gpus * 10_000), abs=1e-6)
    for (memory, n), there in zip(gpus, machines, strict=True):
        assert placed.fits(there) == (memory >= wanted)
        assert placed.side_by_side(there) * wanted <= n * memory * (1 + 1e-6)
    assert any(placed.side_by_side(m) for m in machines)


@pytest.mark.parametrize(
    ("placed", "there", "number"),
    [
        (Placed(1, 0), machine(8), 8),
        (Placed(3, 0), machine(8), 2),
        (Placed(0.1, 0), machine(1), 10),
        (Placed(1, 0.25), machine(8, 1), 4),
        (Placed(4, 0.25), machine(8, 1), 2),
        (Placed(1, 0.4), machine(8, 2), 4),  # and not 5: a share is of one GPU
        (Placed(1, 2), machine(8, 5), 2),
        (Placed(1, 1), machine(8), 0),
        (Placed(1, 0.5, ("a",)), machine(8, 1), 0),
    ],
)
def test_how_many_run_at_once(placed: Placed, there: Machine, number: int) -> None:
    assert placed.side_by_side(there) == number


def test_a_row_is_asked_first_then_its_method_then_the_suite(make_spec: Make) -> None:
    resources = Resources(gpus=0.25, methods={"mixup": Need(cpus=2), "loud": Need(cpus=4)})
    mixup = make_spec("mixup")
    asked = [resources.of(s).cpus for s in (make_spec("ce"), mixup, replace(mixup, label="loud"))]
    assert asked == [1, 2, 4]
    assert resources.of(make_spec("ce")) == Need(gpus=0.25)
    places = [
        resources.where(s) for s in (make_spec("ce"), replace(mixup, label="quiet"), replace(mixup, label="loud"))
    ]
    assert places == ["resources.per_trial", "resources.methods.mixup", "resources.methods.loud"]
    whole = place_all([make_spec("ce"), mixup], resources, [machine(8, 1)])
    assert whole == {make_spec("ce").key: Placed(1, 0.25), mixup.key: Placed(2, 1.0)}


def test_what_a_trial_is_given_is_not_in_its_key(make_spec: Make, site: Site) -> None:
    given_there = Placed(3.5, 0.5).site(site)
    assert (given_there.device, given_there.threads, given_there.provenance["gpu_share"]) == ("cuda", 3, 0.5)
    assert Placed(1, 0).site(site).device == "cpu"


def test_a_trial_that_ran_out_of_memory_gets_twice_the_share_and_no_smaller_gpu(make_spec: Make) -> None:
    spec, other = make_spec("ce"), make_spec("mixup")
    resources = Resources(gpu_memory_gb=12, methods={"mixup": Need(gpus=0.25)})
    failed = [
        Record(spec=s, status="failed", environment={"gpu_share": share}) for s, share in ((spec, 0.5), (other, 0.25))
    ]
    again = resources.again(failed)
    assert place_all([spec, other], again, [SMALL, LARGE]) == {
        spec.key: Placed(1, 1.0, ("small",)),
        other.key: Placed(1, 0.5),
    }
    assert place_all([make_spec("ce", seed=1)], again, [SMALL, LARGE])[make_spec("ce", seed=1).key].gpus == 0.5


def test_what_the_suite_says_of_a_method_is_filled_up_with_what_it_says_of_all() -> None:
    settings = suite_module.Resources.model_validate(
        {"per_trial": {"cpus": 2.0, "gpus": 0.25},
         "methods": {"a": {"cpus": 4.0}, "b": {"gpu_memory_gb": 12.0}, "c": {"gpus": 0.0}, "d": {}}, "retries": 5}
    )  # fmt: skip
    resources = resources_of(SimpleNamespace(resources=settings))  # type: ignore[arg-type]
    assert (resources.cpus, resources.gpus, resources.gpu_memory_gb, resources.retries) == (2.0, 0.25, None, 5)
    assert resources.methods == {
        "a": Need(4.0, 0.25), "b": Need(2.0, None, 12.0), "c": Need(2.0, 0.0), "d": Need(2.0, 0.25),
    }  # fmt: skip


# -- what `ltbench plan` says ------------------------------------------------------------------------------------------


def test_the_plan_says_what_is_given_how_many_run_at_once_and_what_cannot(make_spec: Make) -> None:
    methods = {"mixup": Need(2, gpu_memory_gb=12), "crt": Need(gpus=0), "remix": Need(cpus=100, gpus=0)}
    trials = [make_spec(m) for m in ("ce", "focal", "mixup", "crt", "remix")]
    machines = [SMALL, LARGE, PLAIN, replace(PLAIN, id="plain2", name="node plain2")]
    rooms = survey(trials, Resources(methods=methods), machines)
    assert [(room.labels, sum(room.at_once.values())) for room in rooms] == [
        (("ce", "focal"), 3), (("mixup",), 2), (("crt",), 88), (("remix",), 0),
    ]  # fmt: skip
    lines = placement_text(Placement("cluster", "h:6379", machines, rooms)).splitlines()
    assert lines[0] == (
        "placement on the cluster at h:6379: 8 CPUs, 2 GPUs of 8.0 GB; 16 CPUs, 1 GPU of 24.0 GB; 2 x 32 CPUs, 0 GPUs"
    )
    table = [" ".join(line.split()) for line in lines]
    assert "ce, focal 1 CPU, 1 GPU 3" in table
    assert "mixup 2 CPUs, 0.5 of a GPU (for 12 GB) 2" in table
    assert "crt 1 CPU, no GPU 88" in table
    assert "remix 100 CPUs none: see below" in table
    assert "mixup: 2 on node large" in lines
    (refused,) = [line for line in lines if line.startswith("cannot run")]
    assert refused.startswith("cannot run: remix: resources.methods.remix: a trial asks for 100 CPUs and 0 GPUs")


def run_plan(*options: str) -> tuple[int, str]:
    """The command in this process, and what it printed."""
    done = CliRunner().invoke(app, ["plan", "quickstart", *options], catch_exceptions=True)
    return done.exit_code, done.output if done.exception is None else str(done.exception)


@pytest.mark.usefixtures("no_cluster")
def test_the_plan_is_about_this_machine_unless_a_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = run_plan("--set", "resources.methods={ce: {gpus: 0, cpus: 2}}")
    assert code == 0
    assert "placement on this machine: " in text
    assert run_plan("--set", "resources.executor=inline")[1].count("in this process, one trial after the other\n") == 1
    assert "in this process, 4 trials in turns" in run_plan("--set", "resources.executor=streams")[1]
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert "which was not asked; --address 10.0.0.1:6379 asks it" in run_plan()[1]


@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_a_cluster_that_nobody_answers_for_is_named_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    began = time.monotonic()
    command = [sys.executable, "-m", "ltbench", "plan", "quickstart", "--address", f"127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stdout
    assert f"error: the Ray cluster at 127.0.0.1:{port} could not be joined: " in done.stderr
    assert time.monotonic() - began < 60, "Ray itself tries for many minutes"


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(
    ("limit", "cpus"), [("max 100000", None), ("150000 100000", 1), ("50000 100000", 1), ("", None)]
)
def test_a_container_has_the_cpus_of_its_quota(tmp_path: Path, limit: str, cpus: int | None) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    assert cpus_here(tmp_path) == (os.cpu_count() if cpus is None else cpus)
    assert cpus_here(tmp_path / "nowhere") == os.cpu_count()
