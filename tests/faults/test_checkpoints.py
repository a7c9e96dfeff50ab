"""Trials that are interrupted, killed, or find their checkpoint damaged: the record is that of an undisturbed trial."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ltbench.execution.resources import Resources
from ltbench.execution.run_plan import run_plan
from ltbench.planning.resolve import Inputs
from ltbench.registry import Registry, fingerprint, read_sources
from ltbench.results.folders import Folders
from ltbench.spec import Plan, Record, TrialSpec
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.checkpoints.files import Files, discard
from ltbench.training.engine import LossMeter
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.methods.made import ALWAYS
from tests.sampling import sampled

Make = Callable[..., TrialSpec]
Interrupt = Callable[[float], None]
TINY = {"epochs": 2.0, "batch_size": 64}


@pytest.fixture
def saving(site: Site, tmp_path: Path) -> Site:
    """A site where a checkpoint is taken after every step."""
    (tmp_path / "checkpoints").mkdir()
    return replace(site, checkpoints=tmp_path / "checkpoints", checkpoint_seconds=0.0)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interrupt]:
    """`interrupt(7)`: the user's Ctrl-C in the 7th step from here on, before it is complete; once."""
    left, add = [math.inf], LossMeter.add

    def adding(meter: LossMeter, loss: torch.Tensor) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        add(meter, loss)

    monkeypatch.setattr(LossMeter, "add", adding)
    yield lambda step: left.__setitem__(0, step)
    assert left[0] <= 0 or left[0] == math.inf, "the interrupt never came"


def broken_off(spec: TrialSpec, site: Site, interrupt: Interrupt, step: int) -> None:
    interrupt(step)
    with pytest.raises(KeyboardInterrupt):
        run_trial(spec, site)


def assert_same(a: Record, b: Record) -> None:
    assert a.status == b.status == "ok", (a.error, b.error)
    assert a.numbers() == b.numbers()
    assert a.predictions == b.predictions


def files_of(site: Site, spec: TrialSpec) -> list[Path]:
    assert site.checkpoints is not None
    return Files(site.checkpoints / spec.key).newest_first()


def stage_ends(spec: TrialSpec, site: Site) -> list[int]:
    """After which steps the stages of a trial end."""
    ends: list[int] = []

    class Noting(Checkpoints):
        def steps(self, live: Any, steps: int, *rest: Any) -> Any:
            ends.append(steps + (ends[-1] if ends else 0))
            return super().steps(live, steps, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ltbench.training.trial.Checkpoints", Noting)
        record = run_trial(spec, site)
        assert record.status == "ok", record.error
    return ends


# -- every method, interrupted anywhere --------------------------------------------------------------------------------


RESUMED = [name for name in Registry().names() if "words" not in Registry().get(name).needs]
"""All methods but those that want a text tower, whose test is beside their own."""


@sampled("name", RESUMED, [name for name in (*ALWAYS, "crt", "ldam_drw", "sam") if name in RESUMED])
def test_every_method_resumes_bit_equally_wherever_it_is_interrupted(
    name: str, make_spec: Make, site: Site, saving: Site, interrupt: Interrupt
) -> None:
    """In the middle of each stage, and in the first step of each: the last checkpoint is the end of the one before."""
    spec = replace(make_spec(name, recipe=TINY), curves="test")
    plain, ends = run_trial(spec, site), stage_ends(spec, site)
    points = sorted(
        {p for begin, end in zip([0, *ends], ends, strict=False) for p in (begin + 1, (begin + end + 1) // 2)}
    )
    for point in points:
        broken_off(spec, saving, interrupt, point)
        resumed = run_trial(spec, saving)
        assert resumed.environment["resumed"] == (0 if point == 1 else 1)
        assert "checkpoint_messages" not in resumed.environment
        assert_same(plain, resumed)
        discard(saving.checkpoints, spec.key)


@sampled("name", ["ldam_drw", "crt", "text_guided_mixup"], ["text_guided_mixup"])
def test_a_trial_that_is_interrupted_twice_is_resumed_twice(
    name: str, make_spec: Make, site: Site, saving: Site, interrupt: Interrupt
) -> None:
    recipe = {**TINY, "epochs": 8.0, "augment": "crop_flip", "backbone": "cnn_small"}  # decks are dealt out twice
    spec = make_spec(name, recipe=recipe)
    broken_off(spec, saving, interrupt, 4)
    broken_off(spec, saving, interrupt, 1)  # before any further checkpoint
    broken_off(spec, saving, interrupt, 9)
    resumed = run_trial(spec, saving)
    assert resumed.environment["resumed"] == 3
    assert_same(run_trial(spec, site), resumed)


@pytest.mark.parametrize("name", ["crt", "ce"])
def test_between_two_looks_at_the_clock_only_the_ends_of_stages_are_saved(
    name: str, make_spec: Make, site: Site, saving: Site, interrupt: Interrupt
) -> None:
    spec, rarely = make_spec(name, recipe=TINY), replace(saving, checkpoint_seconds=3600.0)
    ends = stage_ends(spec, site)
    broken_off(spec, rarely, interrupt, ends[-1])
    assert len(files_of(rarely, spec)) == len(ends) - 1
    resumed = run_trial(spec, rarely)
    assert resumed.environment["resumed"] == len(ends) - 1
    assert_same(run_trial(spec, site), resumed)


def test_nothing_is_saved_at_the_very_end_and_the_last_two_are_kept(make_spec: Make, saving: Site) -> None:
    spec = make_spec("ce", recipe=TINY)
    run_trial(spec, saving)
    newest, before = files_of(saving, spec)
    steps = [Files(newest.parent).read(f)["step"] for f in (before, newest)]
    assert steps == [int(newest.stem) - 1, int(newest.stem)]
    assert run_trial(spec, saving).environment["resumed"] == 1  # one step is left to take


def test_training_time_is_that_of_both_parts(make_spec: Make, saving: Site, interrupt: Interrupt) -> None:
    spec = make_spec("ce", recipe=TINY)
    broken_off(spec, saving, interrupt, 6)
    newest = files_of(saving, spec)[0]
    content = Files(newest.parent).read(newest)
    content["seconds"] += 1000.0
    Files(newest.parent).write(content)
    facts = run_trial(spec, saving).environment
    assert 1000.0 < facts["train_seconds"] < 1100.0
    images = spec.recipe["epochs"] * sum(run_trial(spec, saving).per_class["train_images"])
    assert facts["images_per_second"] == pytest.approx(images / facts["train_seconds"])


def test_off_is_the_default_and_leaves_nothing(make_spec: Make, site: Site, tmp_path: Path) -> None:
    assert site.checkpoints is None
    assert run_trial(make_spec("ce", recipe=TINY), site).environment["resumed"] == 0
    assert list(tmp_path.iterdir()) == []


# -- methods of users --------------------------------------------------------------------------------------------------

HEADER = """
import copy, numpy as np, torch
from collections import deque
from torch import nn
from ltbench.api import Method, Stage
"""
MINE = {
    "keeps_state": """
class Memory:
    def __init__(self):
        self.recent = deque(maxlen=3)

class Prototypes(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.seen = 0

class KeepsState(Method):
    "State of many kinds, all of which changes the loss."
    def __init__(self, task, **values):
        super().__init__(task, **values)
        self.memory, self.counts, self.own = Memory(), {}, torch.Generator().manual_seed(1)
        self.hardness, self.teacher, self.table = np.zeros(task.num_classes), None, np.zeros((2, 2))
        self.row = self.table[1]
    def head(self, dim):
        self.prototypes = Prototypes(self.task.num_classes)
        return super().head(dim)
    def stages(self, model):
        for number in range(3):
            weight = model.head.weight.detach().clone()
            yield Stage(f"part {number}", share=1 / 3, class_probs=self._probs() if number else None)
            self.teacher = copy.deepcopy(model.head)
            with torch.no_grad():
                model.head.weight.lerp_(weight, 0.1)
    def _probs(self):
        return (1 + self.hardness) / (1 + self.hardness).sum()
    def mix(self, x, y, now):
        for c in y.tolist():
            self.counts[c] = self.counts.get(c, 0) + 1
            self.hardness[c] += 0.01
        self.row += now.rng.random()
        return x + 0.01 * torch.randn(x.shape, generator=self.own) + 0.01 * torch.randn(x.shape), self.task.one_hot(y)
    def loss(self, logits, target, now):
        self.prototypes.seen += 1
        self.prototypes.mean += logits.detach().mean(dim=0)
        self.memory.recent.append(logits.detach().mean())
        self.late = getattr(self, "late", torch.zeros(())) + logits.detach().std()
        scale = 1 + 0.01 * float(sum(self.memory.recent) + self.late + self.table.sum()) + self.counts.get(1, 0) * 1e-3
        if self.teacher is not None:
            scale = scale + 1e-2 * self.teacher.weight.norm() + self.prototypes.seen * 1e-3
        return super().loss(logits - 1e-3 * self.prototypes.mean, target, now) * scale
""",
    "made_while_training": """
class MadeWhileTraining(Method):
    "Makes a module in the middle of training, which no fresh method has."
    extra = None
    def loss(self, logits, target, now):
        if self.extra is None and now.progress > 0.2:
            self.extra = nn.Linear(1, 1)
        return super().loss(logits, target, now)
""",
    "follows_training": """
class FollowsTraining(Method):
    "The second stage depends on a number that the first one led to."
    def stages(self, model):
        yield Stage("a", share=0.5)
        norm = model.head.weight.norm().item()
        self.factor = norm
        yield Stage("b", share=0.5)
""",
    "branches": """
class Branches(Method):
    "How many stages there are follows from the training."
    trained = False
    def stages(self, model):
        yield Stage("a", share=0.5)
        if self.trained:
            yield Stage("b", share=0.2)
        yield Stage("c", share=0.3 if self.trained else 0.5)
    def loss(self, logits, target, now):
        self.trained = True
        return super().loss(logits, target, now)
""",
    "asserts": """
class Asserts(Method):
    "Insists, between two stages, on having been trained."
    trained = False
    def stages(self, model):
        yield Stage("a", share=0.5)
        assert self.trained, "not trained yet"
        yield Stage("b", share=0.5)
    def loss(self, logits, target, now):
        self.trained = True
        return super().loss(logits, target, now)
""",
    "cannot_be_saved": """
class CannotBeSaved(Method):
    "Holds an iterator, whose place is nobody's business."
    def __init__(self, task, **values):
        super().__init__(task, **values)
        self.places = iter(range(10_000))
    def loss(self, logits, target, now):
        return super().loss(logits, target, now) * (1 + 1e-3 * next(self.places))
""",
    "fails": """
class Fails(Method):
    "Fails late."
    def loss(self, logits, target, now):
        if now.progress > 0.5:
            raise ValueError("a mistake of the author")
        return super().loss(logits, target, now)
""",
    "dies_once": """
import os, pathlib, signal
class DiesOnce(Method):
    "Its process is killed in the middle of its second stage, once."
    def stages(self, model):
        yield Stage("a", share=0.5)
        yield Stage("b", share=0.5)
    def loss(self, logits, target, now):
        marker = pathlib.Path(MARKER)
        if now.stage == "b" and now.progress > 0.5 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(logits, target, now)
""",
}


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    for name, text in MINE.items():
        first, _, last = text.rpartition("\nclass ")  # helpers go to a file of their own: one method per file
        (folder / f"{name}_parts.py").write_text(HEADER + first.replace("class ", "class ", 1))
        own = f"from .{name}_parts import *\nMARKER = {str(folder / 'marker')!r}\nclass " + last
        (folder / f"{name}.py").write_text(HEADER + own)
    return folder


@pytest.fixture
def of_mine(mine: Path, make_spec: Make) -> Callable[[str], TrialSpec]:
    def make(name: str) -> TrialSpec:
        cls = Registry(mine).get(name)
        return replace(make_spec("ce", recipe=TINY), label=name, method=name, code=fingerprint(cls))

    return make


def test_a_users_method_with_state_of_many_kinds_resumes_bit_equally(
    of_mine: Callable[[str], TrialSpec], mine: Path, site: Site, saving: Site, interrupt: Interrupt
) -> None:
    spec, plain, saving = of_mine("keeps_state"), replace(site, methods=read_sources(mine)), replace(
        saving, methods=read_sources(mine)
    )  # fmt: skip
    ends = stage_ends(spec, plain)
    assert len(ends) == 3
    whole = run_trial(spec, plain)
    for point in range(1, ends[-1] + 1):
        broken_off(spec, saving, interrupt, point)
        resumed = run_trial(spec, saving)
        assert "checkpoint_messages" not in resumed.environment
        assert_same(whole, resumed)
        discard(saving.checkpoints, spec.key)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("made_while_training", "method.extra: this Linear was made while training"),
        ("follows_training", "the variable 'norm' of `stages` follows from the training"),
        ("branches", "the method's stages end before the place of the checkpoint"),
        ("asserts", "AssertionError: not trained yet"),
        ("cannot_be_saved", "method.places: is a range_iterator, whose position cannot be saved"),
    ],
)
def test_state_that_cannot_be_brought_back_means_starting_over_and_says_so(
    name: str,
    said: str,
    of_mine: Callable[[str], TrialSpec],
    mine: Path,
    saving: Site,
    interrupt: Interrupt,
    site: Site,
) -> None:
    spec, methods = of_mine(name), read_sources(mine)
    saving = replace(saving, methods=methods)
    broken_off(spec, saving, interrupt, 12)
    resumed = run_trial(spec, saving)
    assert resumed.environment["resumed"] == 0
    assert len(resumed.environment["checkpoint_messages"]) == 1
    assert said in resumed.environment["checkpoint_messages"][0]
    assert_same(run_trial(spec, replace(site, methods=methods)), resumed)


# -- damaged, foreign and impossible checkpoints -----------------------------------------------------------------------


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)


class Stranger:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("/tmp/ltbench-was-here"),)


def strange(file: Path) -> None:
    payload = pickle.dumps(Stranger())
    file.write_bytes(b"ltbench checkpoint 1 " + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """`unread(errno.ESTALE, 3)`: the next three reads of a checkpoint fail."""
    monkeypatch.setattr("ltbench.system.files._PAUSES", (0.0, 0.0, 0.0))
    left, real = [0], Path.read_bytes

    def arm(number: int, times: int) -> None:
        def read(file: Path) -> bytes:
            if file.suffix == ".ckpt" and left[0] > 0:
                left[0] -= 1
                raise OSError(number, os.strerror(number), str(file))
            return real(file)

        left[0] = times
        monkeypatch.setattr(Path, "read_bytes", read)

    return arm


def test_a_read_error_that_passes_costs_nothing(
    make_spec: Make, site: Site, saving: Site, interrupt: Interrupt, unread: Callable[[int, int], None]
) -> None:
    spec = make_spec("crt", recipe=TINY)
    broken_off(spec, saving, interrupt, 6)
    unread(errno.ESTALE, 3)
    resumed = run_trial(spec, saving)
    assert resumed.environment["resumed"] == 1
    assert "checkpoint_messages" not in resumed.environment
    assert_same(run_trial(spec, site), resumed)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_checkpoints_that_cannot_be_read_are_kept_for_a_better_moment(
    number: int, make_spec: Make, site: Site, saving: Site, interrupt: Interrupt, unread: Callable[[int, int], None]
) -> None:
    spec = make_spec("crt", recipe=TINY)
    broken_off(spec, saving, interrupt, 6)
    before = {f.name: f.read_bytes() for f in files_of(saving, spec)}
    unread(number, 10**9)
    broken_off(spec, saving, interrupt, 9)
    unread(number, 0)
    assert {f.name: f.read_bytes() for f in files_of(saving, spec)} == before
    unread(number, 10**9)
    record = run_trial(spec, saving)
    assert record.environment["resumed"] == 0
    *each, last = record.environment["checkpoint_messages"]
    assert len(each) == 2
    assert all("cannot be read" in message and "kept" in message for message in each)
    assert last.startswith("no checkpoints are taken")
    assert_same(run_trial(spec, site), record)


@pytest.mark.parametrize("damage", [truncate, empty, flip, strange])
def test_the_checkpoint_before_a_damaged_one_is_used(
    damage: Callable[[Path], None], make_spec: Make, site: Site, saving: Site, interrupt: Interrupt
) -> None:
    spec = make_spec("crt", recipe=TINY)
    broken_off(spec, saving, interrupt, 6)
    damaged = files_of(saving, spec)[0]
    damage(damaged)
    resumed = run_trial(spec, saving)
    assert resumed.environment["resumed"] == 1
    (message,) = resumed.environment["checkpoint_messages"]
    assert message.startswith(f"the checkpoint {damaged.name} is damaged (")
    assert not Path("/tmp/ltbench-was-here").exists()
    assert_same(run_trial(spec, site), resumed)


def test_a_trial_whose_checkpoints_are_all_damaged_starts_over(
    make_spec: Make, site: Site, saving: Site, interrupt: Interrupt
) -> None:
    spec = make_spec("ce", recipe=TINY)
    broken_off(spec, saving, interrupt, 6)
    for file in files_of(saving, spec):
        flip(file)
    resumed = run_trial(spec, saving)
    assert resumed.environment["resumed"] == 0
    assert resumed.environment["checkpoint_messages"][-1] == "no checkpoint was whole; the trial started over"
    assert_same(run_trial(spec, site), resumed)


def test_a_file_that_a_killed_writer_left_is_swept_up(make_spec: Make, saving: Site, interrupt: Interrupt) -> None:
    spec = make_spec("ce", recipe=TINY)
    broken_off(spec, saving, interrupt, 3)
    left = files_of(saving, spec)[0].with_name(".00000003.ckpt-abc")
    left.write_bytes(b"half")
    assert run_trial(spec, saving).environment["resumed"] == 1
    assert not left.exists()


@pytest.mark.parametrize("other", ["key", "numerics", "curves", "threads", "torch", "device"])
def test_a_checkpoint_of_something_else_is_left_out(
    other: str, make_spec: Make, site: Site, saving: Site, interrupt: Interrupt
) -> None:
    spec = make_spec("ce", recipe=TINY)
    broken_off(spec, saving, interrupt, 6)
    folder = Files(files_of(saving, spec)[0].parent)
    for content in [folder.read(file) for file in reversed(folder.newest_first())]:
        content["identity"][other] = "another"
        folder.write(content)
    resumed = run_trial(spec, saving)
    assert resumed.environment["resumed"] == 0
    assert f"is of another {other}; it was left out" in resumed.environment["checkpoint_messages"][0]
    assert_same(run_trial(spec, site), resumed)


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_trial_that_cannot_save_says_so_once_and_goes_on(
    code: int, make_spec: Make, site: Site, saving: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path, content: bytes) -> None:
        raise OSError(code, "no way", str(file))

    monkeypatch.setattr("ltbench.training.checkpoints.files.write_atomically", refuse)
    spec = make_spec("ce", recipe=TINY)
    record = run_trial(spec, saving)
    assert record.environment["checkpoint_messages"] == [
        f"a checkpoint could not be saved (no way in {saving.checkpoints})"
    ]
    assert_same(run_trial(spec, site), record)


def test_a_folder_that_cannot_be_written_fails_no_trial(
    make_spec: Make, site: Site, saving: Site, interrupt: Interrupt
) -> None:
    spec = make_spec("crt", recipe=TINY)
    broken_off(spec, saving, interrupt, 6)
    assert saving.checkpoints is not None
    folder = saving.checkpoints / spec.key
    folder.chmod(0o500)  # root may write nevertheless; then this is one more plain resumption
    try:
        resumed = run_trial(spec, saving)
    finally:
        folder.chmod(0o700)
    assert resumed.environment["resumed"] == 1
    assert_same(run_trial(spec, site), resumed)


def test_a_file_in_the_place_of_the_folder_fails_no_trial(make_spec: Make, site: Site, saving: Site) -> None:
    spec = make_spec("ce", recipe=TINY)
    assert saving.checkpoints is not None
    (saving.checkpoints / spec.key).write_text("in the way")
    record = run_trial(spec, saving)
    assert record.environment["checkpoint_messages"] == [
        f"a checkpoint could not be saved (File exists in {saving.checkpoints})"
    ]
    assert_same(run_trial(spec, site), record)


def test_a_machine_that_does_not_see_the_folder_takes_none_and_says_so(
    make_spec: Make, site: Site, tmp_path: Path
) -> None:
    record = run_trial(make_spec("ce", recipe=TINY), replace(site, checkpoints=tmp_path / "elsewhere"))
    assert record.status == "ok"
    (message,) = record.environment["checkpoint_messages"]
    assert message.startswith(f"no checkpoints are taken: there is no {tmp_path / 'elsewhere'} on ")
    assert list(tmp_path.iterdir()) == []


def test_an_error_before_training_does_not_cost_the_checkpoint(
    make_spec: Make, saving: Site, interrupt: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec("ce", recipe=TINY)
    broken_off(spec, saving, interrupt, 6)

    def offline(*_: object) -> None:
        raise OSError("the share is away")

    with monkeypatch.context() as patch:
        patch.setattr("ltbench.training.assemble.load_cell", offline)
        assert run_trial(spec, saving).status == "failed"
    assert run_trial(spec, saving).environment["resumed"] == 1


# -- the driver --------------------------------------------------------------------------------------------------------


class Nowhere:
    """Stands for MLflow."""

    def send(self, record: Record) -> None: ...


def run_inline(specs: list[TrialSpec], site: Site, folders: Folders, digits: Any) -> list[Record]:
    plan = Plan(suite="test", question="", trials=tuple(specs), skips=(), protocol={"primary": "balanced_accuracy"})
    inputs = Inputs({"digits": digits}, {})
    return run_plan(plan, inputs, site, folders.journal, Nowhere(), Resources(inline=True))


def test_the_driver_continues_an_interrupted_trial_and_then_removes_its_checkpoints(
    make_spec: Make,
    of_mine: Callable[[str], TrialSpec],
    mine: Path,
    site: Site,
    interrupt: Interrupt,
    digits: Any,
    tmp_path: Path,
) -> None:
    folders = Folders(tmp_path, "test")
    mine_too = replace(site, methods=read_sources(mine))
    saving = replace(mine_too, checkpoints=folders.checkpoints, checkpoint_seconds=0.0)
    stale = folders.checkpoints / "0123456789ab"
    stale.mkdir(parents=True)
    finished = make_spec("ce", recipe=TINY)
    folders.journal.write(Record(spec=finished, status="ok"))  # and the driver was killed before it could remove
    (folders.checkpoints / finished.key).mkdir()
    specs = [make_spec("crt", recipe=TINY), of_mine("fails")]
    interrupt(7)
    with pytest.raises(KeyboardInterrupt):
        run_inline(specs, saving, folders, digits)
    assert {f.name for f in folders.checkpoints.iterdir()} == {stale.name, specs[0].key}
    good, bad = run_inline(specs, saving, folders, digits)
    assert (good.status, bad.status) == ("ok", "failed")
    assert good.environment["resumed"] == 1
    assert_same(run_trial(specs[0], mine_too), good)
    assert [f.name for f in folders.checkpoints.iterdir()] == [stale.name]


# -- killed processes --------------------------------------------------------------------------------------------------


class Notes:
    """What the scheduler told."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def started(self, spec: TrialSpec) -> None: ...
    def progressed(self, spec: TrialSpec, fraction: float, loss: float | None = None) -> None: ...
    def noted(self, message: str) -> None: ...
    def finished(self, record: Record) -> None:
        self.records.append(record)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.usefixtures("on_cluster")
def test_a_trial_whose_ray_worker_was_killed_goes_on_in_another(
    of_mine: Callable[[str], TrialSpec], mine: Path, site: Site, saving: Site
) -> None:
    from ltbench.execution.tune import run_on_ray

    notes, spec, methods = Notes(), of_mine("dies_once"), read_sources(mine)
    run_on_ray([spec], replace(saving, methods=methods), Resources(retries=1), notes)
    (record,) = notes.records
    assert (mine / "marker").exists(), "the worker was never killed"
    assert record.environment["resumed"] == 1
    assert "checkpoint_messages" not in record.environment
    assert_same(run_trial(spec, replace(site, methods=methods)), record)


SUITE = """
suite: killed
text: {encoder: bundled}
datasets: [{name: digits, imbalance: [20]}]
recipes:
  scratch:
    backbone: cnn_small
    epochs: 20
    batch_size: 32
    optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
    augment: crop
methods: [crt, text_guided_mixup]
protocol: {final: {seeds: [0, 1]}, reference: crt}
resources: {checkpoint_seconds: 0.05}
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["ray", pytest.param("inline", marks=pytest.mark.nightly)])
def test_the_command_continues_after_a_kill_of_the_driver(
    executor: str, tmp_path: Path, data_root: Path, site: Site
) -> None:
    suite, results = tmp_path / "suite.yaml", tmp_path / "results"
    suite.write_text(SUITE)
    command = [sys.executable, "-m", "ltbench", "run", str(suite), "--results", str(results), "--data", str(data_root),
               "--set", f"resources.executor={executor}"]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
    environment |= {"RAY_worker_niceness": "0"}
    folders = Folders(results, "killed")

    def between() -> bool:
        """A trial is finished, and another has a checkpoint."""
        done = {f.stem for f in folders.journal.folder.glob("*.json")}
        return bool(done) and any(f.parent.name not in done for f in folders.checkpoints.glob("*/*.ckpt"))

    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)
        try:
            deadline = time.monotonic() + 120
            while not between():
                assert driver.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, "nothing to interrupt"
                time.sleep(0.02)
        finally:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
    finished = {f.stem: f.read_bytes() for f in folders.journal.folder.glob("*.json")}
    begun = {f.name for f in folders.checkpoints.iterdir() if Files(f).newest_first()} - set(finished)
    assert finished
    assert begun
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    records = folders.journal.records()
    assert len(records) == 4
    assert {f.stem: f.read_bytes() for f in folders.journal.folder.glob("*.json") if f.stem in finished} == finished
    assert {key: records[key].environment["resumed"] for key in begun} == dict.fromkeys(begun, 1)
    for key, record in records.items():
        record = replace(record, predictions=folders.journal.predictions(key))
        assert_same(run_trial(record.spec, site), replace(record, spec=TrialSpec.from_json(record.spec.to_json())))
    assert not list(folders.checkpoints.glob("*"))
    assert json.loads((folders.suite_folder / "suite.json").read_text())["resources"]["checkpoint_seconds"] == 0.05
