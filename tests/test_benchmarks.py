"""What the benchmarks compare does the same work: else their ratios would mean nothing."""

from __future__ import annotations

import pytest
import torch

from benchmarks import evaluating, packing, towers, training
from benchmarks.together import step_of, vmapped_step_of
from benchmarks.turns import in_turns


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
