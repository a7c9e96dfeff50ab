"""`recipe.compile`: the plain path's numbers within float tolerance, paid once per process, part of the key."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch._dynamo.utils import counters

from ltbench.errors import UserError
from ltbench.parts import Classifier
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.spec import Record, TrialSpec
from ltbench.suite.load import load_suite
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.device import compiled as module
from ltbench.training.device.compiled import compiled, forget
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

Make = Callable[..., TrialSpec]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
COMPILED = {"compile": "default"}
CNN = {"backbone": "cnn_small", "epochs": 1.0}
has_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for the CPU with g++")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile in this process, and leave torch's settings and caches as they were."""
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch():
        yield
    torch._dynamo.reset()


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def ran(spec: TrialSpec, site: Site, **more: Any) -> Record:
    record = run_trial(spec, site, **more)
    assert record.status == "ok", record.error
    return record


@has_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_a_compiled_trial_gives_the_plain_ones_numbers_and_is_compiled_once_per_process(
    make_spec: Make, site: Site
) -> None:
    site = replace(site, keep_logits=True)
    plain = ran(make_spec("ldam_drw", recipe=CNN), site)
    assert graphs() == 0
    first = ran(make_spec("ldam_drw", recipe=CNN | COMPILED), site)
    assert graphs() == 1, "both halves of the training have the network in common"
    ran(make_spec("mixup", seed=1, recipe=CNN | COMPILED), site)
    assert graphs() == 2, "another head, and nothing else"
    again = ran(make_spec("ldam_drw", recipe=CNN | COMPILED), site)
    assert graphs() == 2, "the second trial of its kind found it compiled"

    assert losses(first) == pytest.approx(losses(plain), rel=1e-3)
    assert np.abs(logits(first) - logits(plain)).max() < 0.02 * np.abs(logits(plain)).max()
    assert losses(again) == losses(first)
    assert np.array_equal(logits(again), logits(first))
    assert first.spec.key != plain.spec.key


@has_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_trial_goes_on_from_a_checkpoint_bit_for_bit(make_spec: Make, site: Site, tmp_path: Path) -> None:
    spec = make_spec("crt", recipe=CNN | COMPILED | {"epochs": 3.0})
    site = replace(site, keep_logits=True)
    undisturbed = ran(spec, site)
    asked = iter(range(1000))
    with pytest.raises(Stopped):
        run_trial(spec, replace(site, checkpoints=tmp_path), stop=lambda: next(asked) == 2)
    torch._dynamo.reset()  # as in another process
    resumed = ran(spec, replace(site, checkpoints=tmp_path))
    assert resumed.environment["resumed"]
    assert losses(resumed) == losses(undisturbed)
    assert np.array_equal(logits(resumed), logits(undisturbed))


@has_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_forward_of_the_methods_own_reaches_the_compiled_backbone(make_spec: Make, site: Site) -> None:
    site = replace(site, keep_logits=True)
    plain = ran(make_spec("ncm", recipe=CNN), site)
    assert graphs() == 0
    record = ran(make_spec("ncm", recipe=CNN | COMPILED), site)
    assert graphs() == 1, "the backbone, in training; the look at the images and the test are not compiled"
    assert losses(record) == pytest.approx(losses(plain), rel=1e-3)
    assert np.abs(logits(record) - logits(plain)).max() < 0.05 * np.abs(logits(plain)).max()


def test_compiled_in_parts_a_network_keeps_its_own_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda network, **options: nn.Sequential(network))
    monkeypatch.setattr(module, "_need_a_compiler", lambda device: None)
    model = Classifier(nn.Linear(2, 3), nn.Linear(3, 4))
    model.extra = nn.Linear(1, 1)
    body = model.backbone
    parts = compiled(model, COMPILED, CPU, whole=False)
    assert type(parts) is Classifier
    assert parts.head is model.head
    assert parts.extra is model.extra
    assert parts.backbone is not body
    assert model.backbone is body
    x = torch.randn(5, 2)
    assert torch.equal(parts(x), model(x))
    assert compiled(model, {}, CPU, whole=False) is model


def losses(record: Record) -> list[float]:
    return [value for _, value in record.curves["train/loss"]]


def logits(record: Record) -> Any:
    assert record.predictions is not None
    return np.load(io.BytesIO(record.predictions))["logits"].astype(np.float64)


class Counting:
    """Stands for torch.compile: notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, network: nn.Module, **options: Any) -> Callable[[Tensor], Tensor]:
        self.asked.append(options)
        return lambda x: network(x)


def test_the_recipes_mode_is_torchs_and_shapes_are_never_generalised(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting()
    monkeypatch.setattr(torch, "compile", counting)
    monkeypatch.setattr(module, "_need_a_compiler", lambda device: None)
    network = nn.Linear(2, 2)
    assert compiled(network, {}, CPU) is network
    for mode in module.MODES:
        compiled(network, {"compile": mode}, GPU)
    assert counting.asked == [{"mode": mode, "dynamic": False} for mode in module.MODES]
    assert torch._dynamo.config.fail_on_recompile_limit_hit
    assert torch._dynamo.config.recompile_limit >= 1000


def test_torchs_own_graphs_are_kept_in_every_thread_that_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray gives each trial a thread. Before torch 2.14 the second one of a worker ended with an assertion."""
    from torch._inductor import cudagraph_trees

    monkeypatch.setattr(torch, "compile", Counting())
    monkeypatch.setattr(module, "_need_a_compiler", lambda device: None)
    found: list[bool] = []

    def trial() -> None:
        compiled(nn.Linear(2, 2), {"compile": "reduce-overhead"}, GPU)
        kept: Any = cudagraph_trees.local
        found.append(cudagraph_trees.get_obj(kept, "tree_manager_locks") is kept.tree_manager_locks)

    for _ in range(2):
        thread = threading.Thread(target=trial)
        thread.start()
        thread.join()
    assert found == [True, True]


@has_compiler
def test_a_network_of_many_sizes_is_never_run_uncompiled_in_silence() -> None:
    """Past its limit torch would run what is written; then numbers depend on what the process did before."""
    seen = []

    def backend(graph: Any, example: Any) -> Any:
        seen.append(1)
        return graph.forward

    class Sized(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.layer = nn.Linear(n, 2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.layer(x))

    compiled(Sized(1), COMPILED, CPU)  # sets the limits
    for n in range(1, 21):
        torch.compile(Sized(n), backend=backend, dynamic=False)(torch.ones(1, n))
    assert len(seen) == 20


@pytest.mark.parametrize(
    ("device", "words"), [(CPU, "no no-such-compiler on this machine"), (GPU, "pip install triton")]
)
def test_without_a_compiler_a_trial_says_what_to_install(
    device: torch.device, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"recipe.compile: .*{words}.*leave `compile` out"):
        compiled(nn.Linear(2, 2), COMPILED, device)


def test_cuda_graphs_are_given_up_after_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: done.append("reset"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("emptied"))
    forget({"compile": "reduce-overhead"}, CPU)
    forget({"compile": "default"}, GPU)
    forget({}, GPU)
    assert not done
    forget({"compile": "reduce-overhead"}, GPU)
    assert done == ["reset", "emptied"]


def test_the_choice_is_in_the_key_where_it_is_made(data_root: Path) -> None:
    def keys(*changes: str) -> set[str]:
        suite = load_suite("quickstart", list(changes))
        return {trial.key for trial in make_plan(resolve(suite, Registry(), data_root))[0].trials}

    plain = keys()
    assert keys("recipes.scratch.compile=none") == plain
    assert not keys("recipes.scratch.compile=default") & plain
    assert not keys("recipes.scratch.compile=fused") & (plain | keys("recipes.scratch.compile=default"))
    with pytest.raises(UserError, match=r"recipes\.scratch\.compile"):
        keys("recipes.scratch.compile=fast")
