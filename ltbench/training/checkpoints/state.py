"""The state of live objects as plain data, and back: what a checkpoint of a running trial holds.

`capture` walks everything that can be reached from the given objects through attributes and containers: modules,
optimizers, tensors, arrays, random generators, numbers, and objects of any class, the user's included. `restore` walks
the same objects, made afresh, and puts the state in place; which of them are one and the same object, and which tensors
share memory, comes back too. What it cannot hold or put back is refused, never guessed.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltbench.training.checkpoints.attributes import attributes_of, has_state, name_of, shows_nothing, text_of

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
"""Stored as they are; all of them are read back by `torch.load(weights_only=True)`."""
_MAKEABLE: dict[str, Callable[[], Any]] = {c.__qualname__: c for c in (list, dict, set, OrderedDict, Counter)}
_GENERATOR = "dice"
"""What checkpoints call the state of a random generator."""
_ABSENT = object()


class NotResumable(Exception):
    """State that a checkpoint cannot hold, or that cannot be put back; the message says where and why."""


def capture(roots: Mapping[str, Any]) -> dict[str, Any]:
    """The state of named objects as plain data and tensors on the CPU, all of it copied.

    Raises:
        NotResumable: an iterator, a sparse tensor or the like is among it.
    """
    walk = _Capture()
    return {name: walk(value, name) for name, value in roots.items()}


def restore(roots: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Put captured state into the same objects, made afresh by the same code.

    Raises:
        NotResumable: something is not there to be filled. The objects are then half filled, and of no use any more.
    """
    walk = _Restore()
    for name, node in saved.items():
        if walk(node, roots[name], name) is not roots[name]:
            raise NotResumable(f"{name}: is not the same object as before")


class _Capture:
    """Value -> plain value, or [kind, number, ...]: objects are numbered as they are met."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._met: list[Any] = []  # kept alive: an id means one object only as long as that lives
        self._memory: dict[Any, Any] = {}

    def __call__(self, value: Any, place: str) -> Any:
        if type(value) in PLAIN:
            return value
        if id(value) in self._numbers:
            return ["again", self._numbers[id(value)]]
        number = self._numbers[id(value)] = len(self._met)
        self._met.append(value)
        kind, *content = self._node(value, place)
        return [kind, number, *content]

    def _node(self, value: Any, place: str) -> list[Any]:
        if isinstance(value, Tensor):
            return ["tensor", *self._tensor(value, place)]
        if isinstance(value, np.ndarray):
            return ["array", *self._array(value, place)]
        if isinstance(value, np.generic):
            return ["scalar", value.dtype.str, value.tobytes()]
        if isinstance(value, np.random.Generator | torch.Generator | random.Random):
            return [_GENERATOR, *self._generator(value, place)]
        if isinstance(value, Enum):
            return ["enum", value.name]
        if isinstance(value, dict):
            pairs = [[self(k, f"{place} key"), self(v, _at(place, k))] for k, v in value.items()]
            return ["container", name_of(value), pairs, self._inside(value, place)]
        if isinstance(value, list | set | deque):
            items = [self(v, _at(place, i)) for i, v in enumerate(value)]
            return ["container", name_of(value), items, self._inside(value, place)]
        if isinstance(value, tuple | frozenset):
            return ["frozen", name_of(value), [self(v, _at(place, i)) for i, v in enumerate(value)]]
        if callable(value) and isinstance(getattr(value, "__qualname__", None), str):
            return ["code", value.__qualname__, self(getattr(value, "__self__", None), f"{place}.__self__")]
        if has_state(value):
            return ["object", name_of(value), self._inside(value, place)]
        if hasattr(type(value), "__next__") or isinstance(value, np.random.BitGenerator | np.random.RandomState):
            raise NotResumable(f"{place}: is a {name_of(value)}, whose position cannot be saved")
        if shows_nothing(value):
            raise NotResumable(f"{place}: is a {name_of(value)}, whose state cannot be seen")
        return ["constant", name_of(value), text_of(value)]

    def _inside(self, value: Any, place: str) -> list[list[Any]]:
        return [[name, self(v, f"{place}.{name}")] for name, v in attributes_of(value).items()]

    def _tensor(self, value: Tensor, place: str) -> list[Any]:
        strided = value.layout == torch.strided and not value.is_quantized and not (value.is_conj() or value.is_neg())
        if type(value) not in (Tensor, nn.Parameter) or not strided or value.device.type == "meta":
            raise NotResumable(f"{place}: is a {name_of(value)} of a kind that cannot be saved")
        storage = value.untyped_storage()
        where = ("tensor", value.device, storage.data_ptr())
        if where not in self._memory:
            self._memory[where] = _on_the_cpu(storage)
        copy = _view(self._memory[where], value)
        return [copy, type(value) is nn.Parameter, value.is_leaf and value.requires_grad, value.device.type]

    def _array(self, value: Any, place: str) -> list[Any]:
        """Bytes of the array that owns the memory, and how this one lies in it."""
        owner = value
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if not owner.flags.forc:
            value = owner = np.array(value, order="C")
        if type(value) is not np.ndarray or value.dtype.hasobject or value.dtype.names:
            raise NotResumable(f"{place}: is an array of {value.dtype} of a kind that cannot be saved")
        if id(owner) not in self._memory:
            self._met.append(owner)
            flat = np.array(owner, order="K", copy=True).ravel(order="K")
            self._memory[id(owner)] = torch.from_numpy(flat.view(np.uint8)) if flat.nbytes else torch.empty(0)
        offset = value.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
        return [self._memory[id(owner)], value.dtype.str, list(value.shape), list(value.strides), offset]

    def _generator(self, value: Any, place: str) -> list[Any]:
        if isinstance(value, np.random.Generator):
            seeds = getattr(value.bit_generator, "seed_seq", None)
            return ["numpy", self(value.bit_generator.state, place), getattr(seeds, "n_children_spawned", 0)]
        if isinstance(value, torch.Generator):
            return ["torch", value.get_state(), 0]
        return ["python", self(value.getstate(), place), 0]


class _Restore:
    """Node and live object -> the live object, filled, or a new value where plain data suffice to make it."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        self._used: dict[int, Any] = {}
        self._owners: dict[int, Any] = {}
        self._memory: dict[int, Any] = {}

    def __call__(self, node: Any, live: Any, place: str) -> Any:
        if not isinstance(node, list):
            return node
        kind, number, *content = node
        if kind == "again":
            if number not in self._made:
                raise NotResumable(f"{place}: contains itself")
            return self._made[number]
        if id(live) in self._used:  # one live object stands for one saved object
            live = _ABSENT
        elif live is not _ABSENT:
            self._used[id(live)] = live
        fill = self._generator if kind == _GENERATOR else getattr(self, f"_{kind}")
        self._made[number] = fill(number, live, place, *content)
        return self._made[number]

    def _tensor(self, number: int, live: Any, place: str, copy: Tensor, parameter: bool, grad: bool, on: str) -> Any:
        kept = copy.untyped_storage()
        if kept.data_ptr() not in self._memory:
            self._memory[kept.data_ptr()] = kept if on == "cpu" else kept.to(device=torch.device(on))
        value = _view(self._memory[kept.data_ptr()], copy)
        kind = nn.Parameter if parameter else Tensor
        if type(live) is kind and live.is_leaf and (live.dtype, live.device.type) == (value.dtype, on):
            live.data = value  # the tensor stays the one that optimizers and closures know
            return live.requires_grad_(grad)
        return nn.Parameter(value, requires_grad=grad) if parameter else value.requires_grad_(grad)

    def _array(self, number: int, live: Any, place: str, memory: Tensor, dtype: str, *lie: Any) -> Any:
        shape, strides, offset = lie
        if memory.numel() == 0:
            return np.empty(shape, dtype)
        # One array owns the memory, so that the next checkpoint sees which arrays lie in it together.
        owner = self._owners.setdefault(memory.data_ptr(), memory.numpy())
        return np.ndarray(tuple(shape), dtype, owner, offset, tuple(strides))

    def _scalar(self, number: int, live: Any, place: str, dtype: str, content: bytes) -> Any:
        return np.frombuffer(content, dtype)[0]

    def _generator(self, number: int, live: Any, place: str, kind: str, state: Any, children: int) -> Any:
        if kind == "numpy":
            state = self(state, _ABSENT, place)
            live = live if isinstance(live, np.random.Generator) else np.random.default_rng(0)
            if live.bit_generator.state["bit_generator"] != state["bit_generator"]:
                live = np.random.Generator(getattr(np.random, state["bit_generator"])())
            live.bit_generator.state = state
            missing = children - getattr(live.bit_generator.seed_seq, "n_children_spawned", 0)
            if missing > 0:
                live.bit_generator.seed_seq.spawn(missing)
        elif kind == "torch":
            live = live if isinstance(live, torch.Generator) else torch.Generator()
            live.set_state(state)
        else:
            live = live if isinstance(live, random.Random) else random.Random()
            live.setstate(self(state, _ABSENT, place))
        return live

    def _enum(self, number: int, live: Any, place: str, name: str) -> Any:
        if not isinstance(live, Enum):
            raise NotResumable(f"{place}: was set while training")
        return type(live)[name]

    def _container(self, number: int, live: Any, place: str, cls: str, items: list[Any], inside: list[Any]) -> Any:
        if name_of(live) != cls:
            if cls not in _MAKEABLE:
                raise NotResumable(f"{place}: this {cls} was made while training")
            live = _MAKEABLE[cls]()
        self._made[number] = live
        if isinstance(live, dict):
            keys = [self(k, _ABSENT, f"{place} key") for k, _ in items]
            values = [self(v, live.get(k, _ABSENT), _at(place, k)) for k, (_, v) in zip(keys, items, strict=True)]
            live.clear()
            for key, value in zip(keys, values, strict=True):
                live[key] = value
        else:
            new = self._items(items, list(live) if isinstance(live, list | deque) else [], place)
            live.clear()
            live.update(new) if isinstance(live, set) else live.extend(new)
        self._fill(live, place, inside)
        return live

    def _frozen(self, number: int, live: Any, place: str, cls: str, items: list[Any]) -> Any:
        new = self._items(items, list(live) if isinstance(live, tuple) else [], place)
        if isinstance(live, tuple) and name_of(live) == cls and _equal(tuple(new), tuple(live)):
            return live
        if cls in ("tuple", "frozenset"):
            return tuple(new) if cls == "tuple" else frozenset(new)
        if name_of(live) != cls or not hasattr(live, "_make"):
            raise NotResumable(f"{place}: this {cls} was made while training")
        return live._make(new)

    def _items(self, items: list[Any], old: list[Any], place: str) -> list[Any]:
        return [self(v, old[i] if i < len(old) else _ABSENT, _at(place, i)) for i, v in enumerate(items)]

    def _code(self, number: int, live: Any, place: str, name: str, owner: Any) -> Any:
        if getattr(live, "__qualname__", None) != name:
            raise NotResumable(f"{place}: was set to {name} while training")
        self(owner, getattr(live, "__self__", None), f"{place}.__self__")
        return live

    def _object(self, number: int, live: Any, place: str, cls: str, inside: list[Any]) -> Any:
        if live is _ABSENT or name_of(live) != cls:
            raise NotResumable(f"{place}: this {cls} was made while training; make it in __init__, head or stages")
        self._made[number] = live
        self._fill(live, place, inside)
        return live

    def _constant(self, number: int, live: Any, place: str, cls: str, text: str | None) -> Any:
        if live is _ABSENT or name_of(live) != cls or text_of(live) != text:
            raise NotResumable(f"{place}: this {cls} was set while training")
        return live

    def _fill(self, live: Any, place: str, inside: list[Any]) -> None:
        old = attributes_of(live)
        if isinstance(live, torch.optim.Optimizer):
            inside = [[name, _renumbered(node, old.get(name))] for name, node in inside]
        new = {name: self(node, old.get(name, _ABSENT), f"{place}.{name}") for name, node in inside}
        for name in old.keys() - new.keys():
            object.__delattr__(live, name)
        for name, value in new.items():
            if value is not old.get(name, _ABSENT):
                object.__setattr__(live, name, value)


def _renumbered(node: Any, live: Any) -> Any:
    """An optimizer's hooks, under the numbers that they have in this process: torch numbers all hooks of a process in
    the order in which they are registered, so that the first trial of a worker has other numbers than the second."""
    if not isinstance(live, OrderedDict) or not all(callable(hook) for hook in live.values()):
        return node
    if node[0] != "container" or len(node[3]) != len(live):
        return node
    kind, number, cls, pairs, inside = node
    return [kind, number, cls, [[key, hook] for key, (_, hook) in zip(live, pairs, strict=True)], inside]


def _equal(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """The same objects, or plain values that are equal to the bit: 0.0 is not -0.0, NaN is NaN."""
    pairs = zip(a, b, strict=False)
    return len(a) == len(b) and all(x is y or (type(x) in PLAIN and repr(x) == repr(y)) for x, y in pairs)


def _view(storage: Any, like: Tensor) -> Tensor:
    """A tensor that lies in `storage` as `like` lies in its own."""
    empty = torch.empty(0, dtype=like.dtype, device=storage.device)
    return empty.set_(storage, like.storage_offset(), like.size(), like.stride())


def _on_the_cpu(storage: Any) -> Any:
    return storage.clone() if storage.device.type == "cpu" else storage.cpu()


def _at(place: str, key: Any) -> str:
    return f"{place}[{key!r:.40}]" if isinstance(key, str | int) else f"{place}[{name_of(key)}]"
