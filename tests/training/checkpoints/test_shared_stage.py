"""Training that trials have in common: taken over, it gives the numbers of training oneself, bit for bit; and it is
taken over only where nothing unseen could have made a difference."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.hooks import RemovableHandle

from ltbench.execution.sharing import Sharing
from ltbench.models import build_backbone
from ltbench.registry import Registry, fingerprint, read_sources
from ltbench.spec import Record, TrialSpec
from ltbench.system.remote import Remote
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.checkpoints.files import pack, unpack
from ltbench.training.engine import LossMeter
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

Make = Callable[..., TrialSpec]
Steps = Callable[[], int]
TINY = {"epochs": 2.0, "batch_size": 64}


@pytest.fixture
def place(site: Site, tmp_path: Path) -> Site:
    """A site with a place for checkpoints."""
    (tmp_path / "checkpoints").mkdir()
    return replace(site, checkpoints=tmp_path / "checkpoints")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """How many steps were trained since the last call."""
    taken, add = [0], LossMeter.add

    def adding(meter: LossMeter, loss: torch.Tensor) -> None:
        taken[0] += 1
        add(meter, loss)

    def since() -> int:
        found, taken[0] = taken[0], 0
        return found

    monkeypatch.setattr(LossMeter, "add", adding)
    return since


def run_all(specs: Sequence[TrialSpec], site: Site) -> list[Record]:
    """One after the other, with what they may share, as a run does."""
    sharing = Sharing(specs, site)
    site = replace(site, shared=sharing.groups)
    return [run_trial(spec, site) for spec in specs]


def assert_same(a: Record, b: Record) -> None:
    assert a.status == b.status == "ok", (a.error, b.error)
    assert a.numbers() == b.numbers()
    assert a.predictions == b.predictions


@pytest.mark.parametrize("name", ["logit_adjustment", "tau_norm", "ce"])
def test_what_another_trial_trained_gives_the_same_numbers(
    name: str, make_spec: Make, site: Site, place: Site, steps: Steps
) -> None:
    """`ce` here: in another row, with another name."""
    first, spec = make_spec("ce", recipe=TINY), make_spec(name, recipe=TINY)
    if name == "ce":
        first = make_spec("tau_norm", recipe=TINY)
    alone = run_trial(spec, site)
    trained = steps()
    trainer, taker = run_all([first, spec], place)
    assert steps() == trained > 0
    assert_same(alone, taker)
    assert_same(run_trial(first, site), trainer)
    assert taker.environment["trained_by"] == first.key
    assert "trained_by" not in trainer.environment


def test_curves_are_taken_over_with_the_training(make_spec: Make, site: Site, place: Site, steps: Steps) -> None:
    specs = [replace(make_spec(name, recipe=TINY), curves="test") for name in ("ce", "tau_norm")]
    alone = run_trial(specs[1], site)
    trained = steps()
    _, taker = run_all(specs, place)
    assert steps() == trained
    assert_same(alone, taker)
    assert taker.curves["curve/test_balanced_accuracy"]


# -- methods of the user's ---------------------------------------------------------------------------------------------

HEAD = """
import types
import torch
from ltbench.api import Method, Stage, Task, hp
"""
STARTS_ALIKE = """
class Retrained(Method):
    '''Two stages; the second one is its own.'''
    rate: float = hp(0.01, "of the second stage")
    def stages(self, model):
        seen = model.head.weight.detach()
        yield Stage("first", share=0.5)
        assert torch.equal(seen, model.head.weight), "what was held on to is not the weights any more"
        seen.mul_(0.9)
        yield Stage("second", share=0.5, optimizer=self.task.optimizer(model.head.parameters(), lr=self.rate))
"""
PATCHES = {
    "hook": "model.register_forward_hook(lambda module, args, out: out * 0.5)",
    "hook of a weight": "model.head.weight.register_hook(lambda grad: grad * 0.5)",
    "hook after a gradient": "model.head.weight.register_post_accumulate_grad_hook(halve)",
    "forward": "inner = model.forward; model.forward = lambda x: inner(x) * 0.5",
    "loss": "self.loss = lambda logits, target, now: 0.5 * Method.loss(self, logits, target, now)",
    "forward of the method": "self.forward = lambda model, x, now: 0.5 * model(x)",
    "step of the method": "self.step = lambda gradients, *given: 0.5 * Method.step(self, gradients, *given)",
    "task": "inner = self.task.one_hot; self.task.one_hot = lambda y: inner(y) * 0.5 + 0.05",
    "another task": "self.task = Softer(self.task)",
    "module": "model.head = Half(model.head)",
}
OPTIMIZERS = {
    "a class of its own": "Slow(model.parameters(), lr=0.05)",
    "a class with torch's step": "Keeping(model.parameters(), lr=0.05)",
    "hook of an optimizer": "hooked(self.task.optimizer(model.parameters()))",
    "patched step": "patched(self.task.optimizer(model.parameters()))",
}
TOOLS = """
class Half(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.weight = inner, inner.weight
    def forward(self, x):
        return 0.5 * self.inner(x)

class Softer(Task):
    def __init__(self, task):
        self.__dict__.update(vars(task))
    def one_hot(self, y):
        return 0.5 * super().one_hot(y)

class Slow(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(0.5)
        super().step()

class Keeping(torch.optim.SGD):
    def zero_grad(self, set_to_none=True):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.mul_(0.5)

def halve(p):
    p.grad.mul_(0.5)

def shrink(optimizer, args, kwargs):
    for p in optimizer.param_groups[0]["params"]:
        p.data.mul_(0.5)

def hooked(optimizer):
    optimizer.register_step_post_hook(shrink)
    return optimizer

def patched(optimizer):
    inner = optimizer.step
    def step(self, *args, **kwargs):
        inner(*args, **kwargs)
        shrink(optimizer, args, kwargs)
    optimizer.step = types.MethodType(step, optimizer)
    return optimizer
"""


@pytest.fixture
def user_spec(make_spec: Make, tmp_path: Path) -> Callable[..., tuple[TrialSpec, Site]]:
    """`user_spec(site, "name", code)`: a trial of a method of the user's, and the site that knows it."""
    folder = tmp_path / "methods"
    folder.mkdir()

    def make(site: Site, name: str, code: str) -> tuple[TrialSpec, Site]:
        (folder / f"{name}.py").write_text(HEAD + code)
        cls = Registry(folder).get(name)
        spec = replace(
            make_spec("ce", recipe=TINY),
            label=name,
            method=name,
            code=fingerprint(cls),
            hyperparameters=cls.complete({}),
        )
        return spec, replace(site, methods=read_sources(folder))

    return make


def test_two_rows_share_a_first_stage_and_differ_in_the_second(
    user_spec: Callable[..., tuple[TrialSpec, Site]], site: Site, place: Site, steps: Steps
) -> None:
    first, _ = user_spec(site, "retrained", STARTS_ALIKE)
    second = replace(first, hyperparameters={"rate": 0.1})
    alone = run_trial(second, user_spec(site, "retrained", STARTS_ALIKE)[1])
    trained = steps()
    _, taker = run_all([first, second], user_spec(place, "retrained", STARTS_ALIKE)[1])
    assert steps() == trained + trained // 2
    assert_same(alone, taker)
    assert taker.environment["trained_by"] == first.key


def fresh(run: Callable[..., Record], *given: Any) -> Record:
    """As in a new process: torch numbers its hooks."""
    RemovableHandle.next_id = 10_000
    return run(*given)


@pytest.mark.parametrize("what", [*PATCHES, *OPTIMIZERS])
def test_methods_that_change_the_training_unseen_train_themselves(
    what: str, user_spec: Callable[..., tuple[TrialSpec, Site]], place: Site
) -> None:
    """Two that override no hook but `stages`, and look the same by every name and weight when the stage begins; they
    differ in a number."""
    optimizer = f"optimizer={OPTIMIZERS[what]}" if what in OPTIMIZERS else ""
    code = f"""
class Sly(Method):
    '''Not what it seems.'''
    def stages(self, model):
        {PATCHES.get(what, "pass")}
        yield Stage({optimizer})
"""
    first, _ = user_spec(place, "sly", TOOLS + code)
    second, there = user_spec(place, "slyer", (TOOLS + code).replace("0.5", "0.25"))
    shared = replace(there, shared=Sharing([first, second], there).groups)
    before, alone, other = (
        fresh(run_trial, *given)
        for given in ((first, shared), (second, replace(there, checkpoints=None)), (second, shared))
    )
    assert_same(alone, other)
    assert "trained_by" not in other.environment
    assert other.curves != before.curves


def test_the_dice_of_the_network_go_on_where_they_were(
    user_spec: Callable[..., tuple[TrialSpec, Site]], site: Site, place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout draws from torch's own generator in every step."""

    def dropping(*given: Any) -> torch.nn.Module:
        inner = build_backbone(*given)
        backbone = torch.nn.Sequential(inner, torch.nn.Dropout(0.3))
        backbone.dim = inner.dim
        return backbone

    monkeypatch.setattr("ltbench.training.assemble.build_backbone", dropping)
    code = """
class Later(Method):
    '''A stage after plain training.'''
    rate: float = hp(0.01, "of the second stage")
    def stages(self, model):
        yield Stage(share=0.5)
        yield Stage(share=0.5, optimizer=self.task.optimizer(model.parameters(), lr=self.rate))
"""
    first, _ = user_spec(site, "later", code)
    second = replace(first, hyperparameters={"rate": 0.1})
    alone = run_trial(second, user_spec(site, "later", code)[1])
    _, taker = run_all([first, second], user_spec(place, "later", code)[1])
    assert_same(alone, taker)
    assert taker.environment["trained_by"] == first.key


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def left_by(spec: TrialSpec, others: Sequence[TrialSpec], place: Site) -> tuple[Site, Path]:
    """The site after the first trial of a group has run, and what it left."""
    shared = replace(place, shared=Sharing([spec, *others], place).groups)
    assert run_trial(spec, shared).status == "ok"
    assert isinstance(place.checkpoints, Path)
    (file,) = place.checkpoints.glob("shared-*/*.ckpt")
    return shared, file


@pytest.mark.parametrize("harm", ["cut", "a bit", "empty", "a folder", "other"])
def test_damaged_training_of_another_trial_is_said_and_done_again(
    harm: str, make_spec: Make, site: Site, place: Site, steps: Steps
) -> None:
    first, spec = make_spec("ce", recipe=TINY), make_spec("tau_norm", recipe=TINY)
    alone = run_trial(spec, site)
    trained = steps()
    there, file = left_by(first, [spec], place)
    content = file.read_bytes()
    if harm == "other":  # whole, but not what it should be: the objects are filled half-way when it shows
        found = unpack(content)
        found["state"]["optimizer"] = found["state"]["order"]
        file.write_bytes(pack(found))
    elif harm == "a folder":
        file.unlink()
        file.mkdir()
    else:
        middle = len(content) // 2
        harmed = {"cut": content[:middle], "empty": b"", "a bit": content[:middle] + b"#" + content[middle + 1 :]}
        file.write_bytes(harmed[harm])
    steps()
    record = run_trial(spec, there)
    assert steps() == trained
    assert_same(alone, record)
    assert "trained_by" not in record.environment
    (message,) = record.environment["checkpoint_messages"][:1]
    assert "the trial trained itself" in message


def test_a_disk_without_room_costs_the_sharing_and_nothing_else(
    make_spec: Make, site: Site, place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    monkeypatch.setattr("ltbench.training.checkpoints.files.write_atomically", full)
    specs = [make_spec(name, recipe=TINY) for name in ("ce", "tau_norm")]
    for record, spec in zip(run_all(specs, place), specs, strict=True):
        assert_same(run_trial(spec, site), record)
        assert "No space left" in record.environment["checkpoint_messages"][0]


def test_an_interrupted_trial_still_leaves_what_it_trained(
    make_spec: Make, site: Site, place: Site, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half trained, stopped, taken up: its first stage ends as that of an undisturbed trial, and is taken over."""
    first, spec = make_spec("ce", recipe=TINY), make_spec("tau_norm", recipe=TINY)
    shared = replace(place, shared=Sharing([first, spec], place).groups, checkpoint_seconds=0.0)
    run_trial(first, site)
    whole = steps()
    asked = iter([False] * (whole // 2) + [True])
    with pytest.raises(Stopped):
        run_trial(first, shared, stop=lambda: next(asked))
    assert isinstance(place.checkpoints, Path)
    assert not list(place.checkpoints.glob("shared-*"))
    steps()
    resumed = run_trial(first, shared)
    assert 0 < steps() < whole
    taker = run_trial(spec, shared)
    assert steps() == 0
    assert resumed.environment["resumed"] == 1
    assert_same(run_trial(spec, site), taker)


def test_a_trial_that_took_training_over_can_be_interrupted_later(
    user_spec: Callable[..., tuple[TrialSpec, Site]], site: Site, place: Site, steps: Steps
) -> None:
    """In its own second stage; it goes on from its own checkpoint."""
    first, there = user_spec(place, "retrained", STARTS_ALIKE)
    second = replace(first, hyperparameters={"rate": 0.1})
    alone = run_trial(second, replace(there, checkpoints=None))
    trained = steps()
    there = replace(there, shared=Sharing([first, second], there).groups, checkpoint_seconds=0.0)
    run_trial(first, there)
    steps()
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        run_trial(second, there, stop=lambda: next(asked))
    assert steps() == 3
    resumed = run_trial(second, there)
    assert steps() == trained // 2 - 3
    assert_same(alone, resumed)


def test_a_trial_with_a_checkpoint_of_its_own_goes_on_from_there(
    make_spec: Make, site: Site, place: Site, steps: Steps
) -> None:
    """Half trained when another trial left the same training whole."""
    first, spec = make_spec("ce", recipe=TINY), make_spec("tau_norm", recipe=TINY)
    alone = run_trial(spec, site)
    there = replace(place, shared=Sharing([first, spec], place).groups, checkpoint_seconds=0.0)
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        run_trial(spec, there, stop=lambda: next(asked))
    run_trial(first, there)
    whole = steps() // 2
    record = run_trial(spec, there)
    assert 0 < steps() < whole
    assert_same(alone, record)
    assert record.environment["resumed"] == 1


def test_a_stage_that_a_checkpoint_jumps_over_is_not_left_untrained(
    user_spec: Callable[..., tuple[TrialSpec, Site]], site: Site, place: Site
) -> None:
    first, there = user_spec(place, "retrained", STARTS_ALIKE)
    second = replace(first, hyperparameters={"rate": 0.1})
    alone = run_trial(second, replace(there, checkpoints=None))
    there = replace(there, shared=Sharing([first, second], there).groups, checkpoint_seconds=0.0)
    whole = run_trial(first, replace(there, checkpoints=None))
    folder = there.checkpoints
    assert isinstance(folder, Path)
    with pytest.raises(Stopped):
        run_trial(first, there, stop=lambda: any(folder.glob("shared-*")))
    (left,) = folder.glob("shared-*")
    shutil.rmtree(left)
    assert_same(whole, run_trial(first, there))
    assert_same(alone, run_trial(second, there))


def test_a_node_that_does_not_see_the_folder_trains_itself(make_spec: Make, site: Site, place: Site) -> None:
    specs = [make_spec(name, recipe=TINY) for name in ("ce", "tau_norm")]
    shared = Sharing(specs, place).groups
    away = replace(place, checkpoints=Path("/not/there"), shared=shared)
    for spec in specs:
        record = run_trial(spec, away)
        assert_same(run_trial(spec, site), record)
        assert len(record.environment["checkpoint_messages"]) == 1


def test_training_is_shared_through_a_uri(make_spec: Make, site: Site, tmp_path: Path, steps: Steps) -> None:
    specs = [make_spec(name, recipe=TINY) for name in ("ce", "tau_norm")]
    place = Remote(f"file://{tmp_path}/away/test")
    away = replace(site, checkpoints=place)
    sharing = Sharing(specs, away)
    run_trial(specs[0], site)
    alone = run_trial(specs[1], site)
    whole = steps() // 2
    _, taker = run_all(specs, away)
    assert steps() == whole
    assert_same(alone, taker)
    assert [name.partition("-")[0] for name in place.names()] == ["shared"]
    for spec in specs:
        sharing.finished(spec.key)
    assert place.names() == []
