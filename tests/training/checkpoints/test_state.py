"""State as plain data and back: values, which objects are one and the same, shared memory, and what is refused."""

from __future__ import annotations

import copy
import enum
import io
import itertools
import queue
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from ltbench.training.checkpoints.state import NotResumable, capture, restore


class Phase(enum.Enum):
    """Something that has a few values."""

    EARLY = 1
    LATE = 2


class Pair(NamedTuple):
    """A tuple with names."""

    a: Any
    b: Any


class Slotted:
    """An object without a __dict__."""

    __slots__ = ("inner", "value")

    def __init__(self, value: Any) -> None:
        self.value = value


class Box:
    """What a method is to the walk: an object with attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def carried(make: Callable[[], Box], change: Callable[[Box], None]) -> tuple[Box, Box]:
    """A box that was changed, and a fresh one that was given the changed one's state through a file."""
    changed, fresh = make(), make()
    change(changed)
    stream = io.BytesIO()
    torch.save(capture({"box": changed}), stream)
    change(changed)  # what was captured is a copy
    stream.seek(0)
    restore({"box": fresh}, torch.load(stream, weights_only=True))
    expected = make()
    change(expected)
    return fresh, expected


VALUES: list[Any] = [
    None, True, -3, 2**200, 0.1, float("inf"), 1 + 2j, "text", b"bytes", (1, (2.0, "x")), [1, [2]], {1: {"a": (3,)}},
    {(1, 2): 3}, {1, 2}, frozenset({4}), np.float64(0.1), np.int16(-3), np.bool_(True), torch.float16, torch.Size([2]),
    torch.device("cpu"), OrderedDict(a=1), Counter("aab"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_come_back_as_they_were_even_where_there_was_none(value: Any) -> None:
    fresh, _ = carried(Box, lambda box: setattr(box, "value", value))
    assert (fresh.value, type(fresh.value)) == (value, type(value))  # type: ignore[attr-defined]


ARRAYS: list[Any] = [
    np.arange(6.0).reshape(2, 3), np.arange(6, dtype=np.uint16).reshape(2, 3).T, np.zeros((0, 3)), np.array(3.5),
    np.array(["a", "bcd"]), np.arange(10)[::-2], np.array([True, False]), np.broadcast_to(np.arange(3.0), (4, 3)),
    np.array([1, 2], dtype="datetime64[D]"), torch.arange(10)[::2].numpy(),
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_of_any_kind_and_layout_come_back(array: Any) -> None:
    fresh, _ = carried(Box, lambda box: setattr(box, "value", array))
    value = fresh.value  # type: ignore[attr-defined]
    assert (value.dtype, value.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(value, array)


TENSORS: list[Any] = [
    torch.arange(6.0).view(2, 3).t(), torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    torch.zeros(3, dtype=torch.bool), torch.tensor(2), torch.arange(3.0).expand(4, 3), torch.randn(3).bfloat16(),
    torch.empty(0, 3), torch.ones(2, requires_grad=True), nn.Parameter(torch.ones(2)),
]  # fmt: skip


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda t: f"{t.dtype}{tuple(t.shape)}")
@pytest.mark.parametrize("there", [True, False])
def test_tensors_keep_values_layout_and_kind(tensor: torch.Tensor, there: bool) -> None:
    def make() -> Box:
        return Box(value=torch.zeros(1)) if there else Box()

    fresh, _ = carried(make, lambda box: setattr(box, "value", tensor))
    value = fresh.value  # type: ignore[attr-defined]
    assert torch.equal(value, tensor)
    assert value.dtype == tensor.dtype
    assert (type(value), value.stride(), value.requires_grad) == (type(tensor), tensor.stride(), tensor.requires_grad)


def test_tensors_that_share_memory_still_do_and_others_do_not() -> None:
    def make() -> Box:
        bank = torch.zeros(4, 2)
        return Box(bank=bank, row=bank[1], mean=bank[2])

    def change(box: Any) -> None:
        box.row += 1
        box.mean = box.mean * 0.5 + 7  # parts from the bank

    fresh, expected = carried(make, change)
    for box in (fresh, expected):
        box.row += 1  # type: ignore[attr-defined]
        box.mean += 1  # type: ignore[attr-defined]
    assert torch.equal(fresh.bank, expected.bank)  # type: ignore[attr-defined]
    assert torch.equal(fresh.mean, expected.mean)  # type: ignore[attr-defined]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_arrays_that_share_memory_still_do(times: int) -> None:
    """Also where the state was brought back before: a class cycle deals from memory that its decks are shuffled in."""

    def make() -> Box:
        table = np.zeros((4, 2))
        return Box(row=table[1], table=table)

    fresh, _ = carried(make, lambda box: box.row.__iadd__(1))  # type: ignore[attr-defined]
    for _ in range(times - 1):
        again = make()
        restore({"box": again}, capture({"box": fresh}))
        fresh = again
    fresh.row += 5  # type: ignore[attr-defined]
    np.testing.assert_array_equal(fresh.table[1], [6, 6])  # type: ignore[attr-defined]


def test_two_names_of_one_object_stay_two_names_of_one_object() -> None:
    def change(box: Any) -> None:
        box.a = box.b = [1]
        box.ring = [box.a]
        box.ring.append(box.ring)
        box.c, box.d = box.d, box.c

    fresh, _ = carried(lambda: Box(c=[3], d=[4]), change)
    value: Any = fresh
    assert value.a is value.b
    assert value.ring[0] is value.a
    assert value.ring[1] is value.ring
    assert (value.c, value.d) == ([4], [3])


def test_a_tensor_stays_the_one_that_was_there() -> None:
    """Optimizers and closures know it."""
    box, changed = Box(value=nn.Parameter(torch.zeros(2))), Box(value=nn.Parameter(torch.ones(2)))
    known = box.value  # type: ignore[attr-defined]
    restore({"box": box}, capture({"box": changed}))
    assert box.value is known  # type: ignore[attr-defined]
    assert known.tolist() == [1, 1]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_a_module_and_its_optimizer_go_on_alike(optimizer: Any) -> None:
    def make() -> Box:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        settings = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
        chosen = optimizer(net.parameters(), lr=0.1, **settings)
        return Box(net=net, optimizer=chosen, schedule=torch.optim.lr_scheduler.StepLR(chosen, 2))

    def train(box: Any) -> None:
        for step in range(3):
            box.optimizer.zero_grad()
            box.net(torch.randn(8, 3, generator=torch.Generator().manual_seed(step))).square().sum().backward()
            box.optimizer.step()
            box.schedule.step()

    fresh, expected = carried(make, train)
    train(fresh)
    train(expected)
    for (name, a), b in zip(fresh.net.state_dict().items(), expected.net.state_dict().values(), strict=True):  # type: ignore[attr-defined]
        assert torch.equal(a, b), name
    assert fresh.schedule.state_dict()["last_epoch"] == 6  # type: ignore[attr-defined]


def test_dice_go_on_where_they_were() -> None:
    def make() -> Box:
        return Box(a=np.random.default_rng(0), b=torch.Generator().manual_seed(0), c=random.Random(0))

    def throw(box: Any) -> list[float]:
        child = box.a.spawn(1)[0]
        new = [] if not hasattr(box, "d") else [box.d.random()]
        return [box.a.random(), torch.rand(1, generator=box.b).item(), box.c.random(), child.random(), *new]

    def change(box: Any) -> None:
        throw(box)
        box.d = np.random.Generator(np.random.MT19937(5))

    fresh, expected = carried(make, change)
    assert throw(fresh) == throw(expected)


def test_objects_of_any_class_are_filled_in_place() -> None:
    def make() -> Box:
        inner = Box(n=0)
        return Box(
            inner=inner, slotted=Slotted(1), space=SimpleNamespace(n=0), phase=Phase.EARLY, pair=Pair(1, inner),
            recent=deque([0], maxlen=2), by_class=defaultdict(list), method=inner.__init__,
        )  # fmt: skip

    def change(box: Any) -> None:
        box.inner.n, box.slotted.value, box.slotted.inner, box.space.n, box.phase = 5, 6, box.inner, 7, Phase.LATE
        box.pair = Pair(2, box.inner)
        box.recent.extend([1, 2, 3])
        box.by_class[1].append(8)

    fresh, _ = carried(make, change)
    value: Any = fresh
    assert (value.inner.n, value.slotted.value, value.space.n, value.phase) == (5, 6, 7, Phase.LATE)
    assert Phase.EARLY.value == 1
    assert value.slotted.inner is value.inner
    assert isinstance(value.pair, Pair)
    assert value.pair == (2, value.inner)
    assert (list(value.recent), value.recent.maxlen) == ([2, 3], 2)
    assert value.by_class[1] == [8]
    assert value.by_class[2] == []


def test_what_was_deleted_or_not_yet_there_is_gone() -> None:
    fresh, _ = carried(lambda: Box(old=1, more={"a": 1}), lambda box: box.__dict__.__init__() or box.__dict__.clear())  # type: ignore[misc]
    assert vars(fresh) == {}


class Tables(Box):
    """Tables that are made once: only of the first is it certain that it is still what it was."""

    @cached_property
    def fixed(self) -> Any:
        table = np.arange(100_000.0)
        table.setflags(write=False)
        return table

    @cached_property
    def open_to_changes(self) -> Any:
        return np.arange(3.0)

    @cached_property
    def seen_through(self) -> Any:
        table = np.arange(3.0)
        self.owner = table
        view = table[:]
        view.setflags(write=False)
        return view


def test_a_table_that_nobody_can_have_changed_is_made_again_instead_of_kept() -> None:
    def change(box: Any) -> None:
        box.plain = np.array(box.fixed[:3] + 1)
        box.plain.setflags(write=False)
        box.open_to_changes[0] = 7.0
        box.seen_through.sum()
        box.owner[1] = 9.0

    fresh, expected = carried(Tables, change)
    assert "fixed" not in vars(fresh)
    for name in ("fixed", "open_to_changes", "seen_through", "plain"):
        assert np.array_equal(getattr(fresh, name), getattr(expected, name)), name
    box = Tables()
    change(box)
    stream = io.BytesIO()
    torch.save(capture({"box": box}), stream)
    assert stream.tell() < 10_000


@pytest.mark.parametrize(
    "value",
    [itertools.count(), iter([1]), (i for i in range(3)), np.array([object()]), torch.eye(2).to_sparse(),
     np.random.RandomState(0), np.random.PCG64(0), torch.empty(2, device="meta"), queue.Queue()],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_what_cannot_be_held_is_refused_by_its_place(value: Any) -> None:
    with pytest.raises(NotResumable, match=r"^box\.inner\[1\]: is a"):
        capture({"box": Box(inner=[0, value])})


def first() -> int:
    return 1


def second() -> int:
    return 2


@pytest.mark.parametrize("value", [Slotted(1), nn.Linear(1, 1), second, Phase.LATE, deque([1]), Pair(1, 2), range(3)],
                         ids=lambda v: type(v).__name__)  # fmt: skip
def test_what_is_not_there_to_be_filled_is_refused_by_its_place(value: Any) -> None:
    with pytest.raises(NotResumable, match=r"^box\.value: "):
        restore({"box": Box(value=first)}, capture({"box": Box(value=value)}))


def test_the_same_code_and_constants_are_accepted() -> None:
    box = Box(f=first, g=torch.relu, h=nn.ReLU, m=np, r=range(3), t=torch.strided, p=partial(first, 0.5, a=[1]))
    other = copy.copy(box)
    restore({"box": other}, capture({"box": box}))
    assert vars(other) == vars(box)
