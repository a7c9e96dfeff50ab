"""The gradients of a stage's steps: step by step at first, then recorded once and run again without Python.

A training step of a small network is hundreds of kernels of a few microseconds each, and Python needs longer to launch
one than the GPU to run it. A CUDA graph launches them all at once (benchmarks/README.md has the figures). It repeats
what it recorded, so what is recorded must be the same in every step: this is looked at before, and compared with a pass
step by step now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ltbench.api import Method, Moment
from ltbench.training.graph.lean import Lean, order_in_memory
from ltbench.training.graph.ops import Recorded
from ltbench.training.graph.screen import Screen
from ltbench.training.graph.watched import Tape, Watched

Pass = Callable[[Tensor, Any, Moment], Tensor]
"""Images, targets and the moment -> the loss; the gradients are then in the parameters."""
WATCHED = 2
"""So many passes are watched before one is recorded: what is made for the first is not part of every step."""
MOST_WAYS = 8
"""Passes that differ by what `progress` was compared with, or by shapes, and are recorded each by itself."""
CHECK_EVERY = 1000
"""After so many replays at the latest a recorded pass is compared with a pass step by step, before that at 0, 1, 2, 4,
8, ... replays."""


class Unfaithful(Exception):
    """A recorded pass does not compute what the method does; the trial must be trained step by step, from its start."""


@dataclass
class Way:
    """One kind of pass: same shapes, and `progress` compares alike.

    Attributes:
        key: shapes and types of the batch. tape: what the last watched pass asked for. watched: how many were.
        recorded: None until it is. inputs: where the recorded pass reads the batch. held: where it reads the tensors of
        the method that other hooks make anew, by their names. loss: where it leaves the loss.
        gradients: of all parameters, where it leaves them. replays: how often it ran. unchecked: since it was compared.
    """

    key: Any
    tape: Tape
    watched: int = 1
    recorded: Recorded | None = None
    inputs: list[Any] = field(default_factory=list)
    held: dict[str, Tensor] = field(default_factory=dict)
    loss: Tensor | None = None
    gradients: list[tuple[nn.Parameter, Tensor | None]] = field(default_factory=list)
    replays: int = 0
    unchecked: int = 0

    @property
    def due(self) -> bool:
        """Whether the next replay is to be compared."""
        return self.replays & (self.replays - 1) == 0 or self.unchecked >= CHECK_EVERY


class RecordedPasses:
    """Gives the gradients of every step of a stage.

    Args:
        eager: a pass step by step. model, method, parameters: what it works on; parameters are those that train.
        make: a new recording that may share the memory of an earlier one, `None` for the first.
        strict: a pass that cannot be recorded is an error instead of being run step by step.
        lean: makes the network leaner while a pass is recorded; None: it stays as it is.

    Attributes:
        problem: why passes run step by step; None: they are recorded, or will be.
        replayed: what gave the gradients that are there now; None: a pass step by step did.
    """

    def __init__(
        self,
        eager: Pass,
        model: nn.Module,
        method: Method,
        parameters: list[nn.Parameter],
        make: Callable[[Any], Recorded],
        lean: Callable[[], Lean] | None = None,
        *,
        strict: bool = False,
    ) -> None:
        self._eager, self._model, self._method, self._parameters = eager, model, method, parameters
        self._make, self._lean, self._strict = make, lean, strict
        self._ways: list[Way] = []
        self._pool: Any = None
        self._last: dict[str, Any] = {}
        self._renewed: set[str] = set()
        self.problem: str | None = None
        self.replayed: Way | None = None

    def __call__(self, x: Tensor, target: Any, now: Moment) -> Tensor:
        """The loss of a batch at the present weights; the gradients are then in the parameters.

        Raises:
            Unfaithful: what was recorded is not what the method does.
        """
        self.replayed = None
        if self.problem is not None:
            if self._strict:
                raise Unfaithful(self.problem)
            return self._eager(x, target, now)
        self._look_for_renewed()
        leaves, tree = tree_flatten((x, target))
        key = (tree, *((t.shape, t.stride(), t.dtype) if isinstance(t, Tensor) else t for t in leaves))
        way = next((w for w in self._ways if w.key == key and w.tape.fits(now.progress)), None)
        if way is None:
            return self._watch(key, x, target, now)
        if way.recorded is None and way.watched < WATCHED:
            return self._watch_again(way, x, target, now)
        if way.recorded is None:
            self._record(way, leaves, tree, now)
        return self._compare(way, leaves, x, target, now) if way.due else self._replay(way, leaves, now)

    def _look_for_renewed(self) -> None:
        """Note the tensors of the method that are others than in the pass before."""
        if all(way.recorded is not None for way in self._ways) and self._ways:
            return
        held = {name: value for name, value in vars(self._method).items() if isinstance(value, Tensor)}
        self._renewed |= {name for name, value in held.items() if self._last.get(name, value) is not value}
        self._last = held

    # -- before a pass is recorded -------------------------------------------------------------------------------------

    def _watch(self, key: Any, x: Tensor, target: Any, now: Moment) -> Tensor:
        """The first pass of its kind, step by step."""
        if len(self._ways) == MOST_WAYS:
            self.problem = f"its passes are of more than {MOST_WAYS} kinds, by their shapes or by now.progress"
            return self._eager(x, target, now)
        tape = Tape()
        loss = self._watched(tape, x, target, now)
        self._ways.append(Way(key, tape))
        return loss

    def _watch_again(self, way: Way, x: Tensor, target: Any, now: Moment) -> Tensor:
        """The next one, which must ask for the same."""
        tape, before = Tape(), dict(vars(self._method))
        loss = self._watched(tape, x, target, now)
        if not way.tape.same_draws(tape):
            self.problem = "`forward` or `loss` draws other random numbers from step to step"
        for name, value in vars(self._method).items():
            if name in before and not _same_object(before[name], value):
                self.problem = f"`forward` or `loss` sets self.{name} anew; a tensor can be changed in place"
        way.tape, way.watched = tape, way.watched + 1
        return loss

    def _watched(self, tape: Tape, x: Tensor, target: Any, now: Moment) -> Tensor:
        screen = Screen()
        with screen:
            loss = self._eager(x, target, Watched.of(now, tape))
        found = [*tape.reasons, *screen.reasons]
        if found and self._ways:  # what the very first pass makes for all others may be read and moved
            self.problem = found[0]
        return loss

    # -- recording and running -----------------------------------------------------------------------------------------

    def _record(self, way: Way, leaves: list[Any], tree: Any, now: Moment) -> None:
        way.inputs = [t.clone() if isinstance(t, Tensor) else t for t in leaves]
        x, target = tree_unflatten(way.inputs, tree)
        kept, tape = [t.clone() for _, _, t in way.tape.draws], Tape()
        way.held = {name: vars(self._method)[name].clone() for name in self._renewed if name in vars(self._method)}
        vars(self._method).update(way.held)
        before = dict(vars(self._method))
        recorded = self._make(self._pool)
        moment = Watched.of(now, tape, kept)

        def work() -> Tensor:
            if self._lean is None:
                return self._eager(x, target, moment)
            with self._lean() as lean:
                loss = self._eager(x, target, moment)
            lean.settle()
            return loss

        try:
            way.loss = recorded.record(work)
        except Exception as error:
            raise Unfaithful(first_words(error)) from error
        changed = [k for k, v in vars(self._method).items() if not _same_object(before.get(k), v)]
        if changed:
            raise Unfaithful(f"`forward` or `loss` sets self.{changed[0]} anew; a tensor can be changed in place")
        if tape.reasons or not way.tape.same_draws(tape):
            raise Unfaithful(next(iter(tape.reasons), "`forward` or `loss` draws other numbers from step to step"))
        way.tape, way.recorded = tape, recorded
        way.gradients = [(p, p.grad) for p in self._parameters]
        self._pool = getattr(recorded, "pool", None)

    def _replay(self, way: Way, leaves: list[Any], now: Moment) -> Tensor:
        assert way.recorded is not None
        assert way.loss is not None
        for kept, given in zip(way.inputs, leaves, strict=True):
            if isinstance(kept, Tensor):
                kept.copy_(given)
        for name, kept in way.held.items():
            given = vars(self._method)[name]
            if given is not kept:
                kept.copy_(given)
                vars(self._method)[name] = kept
        way.tape.draw_again(now)
        for parameter, gradient in way.gradients:
            if parameter.grad is not gradient:
                parameter.grad = gradient
        way.recorded.replay()
        way.replays, way.unchecked, self.replayed = way.replays + 1, way.unchecked + 1, way
        return way.loss.clone()

    def _compare(self, way: Way, leaves: list[Any], x: Tensor, target: Any, now: Moment) -> Tensor:
        """A replay, then the same pass step by step, whose results are taken."""
        state = list(tensors_of({"model": dict(self._model.named_buffers()), "method": vars(self._method)}))
        before, generators = [t.detach().clone() for t in state], _generators(now)
        loss = self._replay(way, leaves, now)
        replayed = [loss, *self._results(state)]
        with torch.no_grad():
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
        _put_back(generators, now)
        self.replayed = None
        loss = self._eager(x, target, now)
        if not all(_equal(a, b) for a, b in zip(replayed, [loss, *self._results(state)], strict=True)):
            raise Unfaithful("a recorded pass gives other numbers than a pass step by step")
        way.unchecked = 0
        return loss

    def _results(self, state: list[Tensor]) -> list[Tensor]:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        return [t.detach().clone() for t in (*gradients, *state)]


def first_words(error: BaseException) -> str:
    """Of the error that ended a recording: CUDA's own at its end only says that there was one."""
    if "captur" in str(error) and error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def tensors_of(value: Any, seen: set[int] | None = None) -> Iterator[Tensor]:
    """Every tensor within containers and modules, each once. Of a method's task there is nothing to change."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        for tensor in (*value.parameters(), *value.buffers()):
            yield from tensors_of(tensor, seen)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name != "task":
                yield from tensors_of(item, seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item, seen)


def _same_object(a: Any, b: Any) -> bool:
    """The same tensor or object, or an equal number or text."""
    plain = (bool, int, float, str, type(None))
    return a is b or (type(a) is type(b) and isinstance(a, plain) and a == b)


def _equal(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit, and alike in memory."""
    if (a.shape, a.dtype, order_in_memory(a)) != (b.shape, b.dtype, order_in_memory(b)):
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())


def _generators(now: Moment) -> tuple[Any, ...]:
    on_gpu = now.device.type == "cuda"
    return now.rng.bit_generator.state, torch.get_rng_state(), torch.cuda.get_rng_state() if on_gpu else None


def _put_back(saved: tuple[Any, ...], now: Moment) -> None:
    now.rng.bit_generator.state = saved[0]
    torch.set_rng_state(saved[1])
    if saved[2] is not None:
        torch.cuda.set_rng_state(saved[2])
