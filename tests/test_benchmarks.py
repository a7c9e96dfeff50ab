"""What the benchmarks compare does the same work: else their ratios would mean nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import evaluating, packing, towers, training
from benchmarks.gpu.running import ABSENT
from benchmarks.together import step_of, vmapped_step_of
from benchmarks.turns import in_turns

REPO = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["cnn_small", "mlp"])
def test_one_vmapped_model_trains_as_its_seeds_do_alone(name: str) -> None:
    vmapped, alone = vmapped_step_of(name, 3), [step_of(name, seed) for seed in range(3)]
    for _ in range(4):
        losses, each = vmapped(), torch.stack([step() for step in alone])
        assert torch.allclose(losses, each, atol=1e-5)
    assert len({round(loss, 3) for loss in losses.tolist()}) == 3


@pytest.mark.slow
@pytest.mark.nightly
def test_variants_take_turns_in_processes_of_their_own() -> None:
    rates = in_turns("benchmarks.evaluating", ["test pass, fp32", "classic test pass, fp32"], 32, 2)
    assert set(rates) == {"test pass, fp32", "classic test pass, fp32"}
    assert all(0 < rate.low <= rate.median <= rate.high for rate in rates.values())


@pytest.mark.slow
@pytest.mark.nightly
def test_every_named_variant_of_training_and_testing_does_its_work() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in training.NAMES:
            assert training.variant(name, 1)() == training.BATCH, name
        for name in evaluating.NAMES:
            assert evaluating.variant(name, 16)() == 16, name
        for name in towers.NAMES:
            assert towers.variant(name, 1)() == 8, name
        for name in packing.NAMES:
            assert packing.variant(name)() == (4 * training.BATCH if name.startswith("resnet32") else 20 * 32), name
    finally:
        torch.set_num_threads(threads)


@pytest.mark.nightly
def test_what_checks_a_gpu_needs_few_packages() -> None:
    """Everything that runs there is imported, and a line of each kind said, without the rest of them."""
    parts = "check, fusing, images, packed, repeated, running, speed, steps"
    modules = "ltbench.checks.verify, ltbench.execution.exported, ltbench.execution.packing, benchmarks.training"
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))\n"
        f"from benchmarks.gpu import {parts}\nimport {modules}, ltbench.training.trial\n"
        "from pathlib import Path; from benchmarks.gpu.common import Check\n"
        "packed.Packed(packed.torch.device('cpu'), None).alone()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count('"same": true') == 4, done.stdout


@pytest.mark.nightly
@pytest.mark.parametrize("part", ["numbers", "speed"])
def test_every_line_of_the_gpu_check_runs_on_a_cpu(part: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OUT": str(tmp_path), "PYTHON": sys.executable}
    command = ["bash", "benchmarks/gpu/check.sh", "cpu", part]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    codes = re.findall(r"^== (\S+): rc (.+) \(", done.stdout, re.MULTILINE)
    assert codes, done.stdout + done.stderr
    assert {code for _, code in codes} == {"0"}, codes
    lines = [json.loads(line) for file in tmp_path.glob("*.jsonl") for line in file.read_text().splitlines()]
    assert lines
    assert [line for line in lines if line.get("error") or line.get("same") is False] == []
