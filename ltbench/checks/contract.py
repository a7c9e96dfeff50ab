"""The contract: what every method must do, checked on a made-up task in seconds. For authors, and for our own tests.

Other benchmarks test that a method runs; published code shows that this is not enough: options that do nothing,
samplers that never reach the loader, seeds that are ignored. So it is also tested that a method does something.
"""

from __future__ import annotations

import inspect
import math
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from ltbench.api import Choice, LogUniform, Method, Uniform
from ltbench.checks.held import HeldOptimizers
from ltbench.checks.one_batch import batch_problems
from ltbench.checks.rehearsal import method_files, rehearse
from ltbench.checks.tried import Trials, Tried
from ltbench.data.stream import AHEAD
from ltbench.errors import UserError, place_of
from ltbench.training.checkpoints.checkpoint import Checkpoints
from ltbench.training.engine import Clock
from ltbench.training.evaluation import logits_of
from ltbench.training.graph.passes import Unfaithful
from ltbench.training.graph.use import GraphUse
from ltbench.training.madeup import (
    RECIPE,
    DrawnAhead,
    Variation,
    batches,
    images,
    model_for,
    task_for,
    train_on_it,
)

HOOKS = ("head", "stages", "draw", "mix", "forward", "loss", "step", "predict", "fit")


class Checked(NamedTuple):
    """What is to be said of a method, as sentences.

    Attributes:
        problems: everything in which it breaks the contract; none is a pass.
        waits: where every step would wait for a GPU: right, but slow.
        eager: why its steps would not run as CUDA graphs: right, but slow; None: they would.
        tried: what was tried.
    """

    problems: list[str]
    waits: list[str]
    eager: str | None = None
    tried: tuple[Tried, ...] = ()


def check_method(cls: type[Method], tell: Callable[[str], None] = lambda what: None) -> Checked:
    """Hold a method against the contract, in seconds; `tell` is told what is tried now."""
    trials = Trials(tell)
    with trials.of("what the class states", at_once=True):
        trials.problems += _unstated(cls)
    try:
        with trials.of("one batch through all hooks"):
            trials.problems += batch_problems(cls)
        with trials.of("three short trainings, two of them with one seed"):
            held = HeldOptimizers()
            first, again, other = _logits(cls, 0, checkpoints=held), _logits(cls, 0), _logits(cls, 1)
            trials.problems += [*_seed_problems(first, again, other), *held.problems()]
    except UserError as error:
        return Checked([*trials.problems, str(error)], [], None, trials.tried)
    except Exception as error:  # an author's mistake can be any exception; it is what we are here to show
        problem = f"training fails: {type(error).__name__}: {error}{place_of(error, method_files(cls))}"
        return Checked([*trials.problems, problem], [], None, trials.tried)
    if np.array_equal(first, again):
        with trials.of("a training that is interrupted twice and goes on"):
            trials.problems += _resume_problems(cls, first)
        if cls.draw is not Method.draw:
            with trials.of("two trainings whose batches are drawn in time and ahead of it"):
                trials.problems += _ahead_problems(cls)
    with trials.of("a training whose passes are recorded, as in a CUDA graph") as recorded:
        eager, wrong = _recorded(cls, first)
        trials.problems += wrong
        recorded.note = "" if eager is None else "runs step by step"
    with trials.of("a training in bf16"):
        trials.problems += _bf16_problems(cls)
    with trials.of("a training without numbers, as on a GPU") as rehearsed:
        rehearsal = rehearse(cls)
        trials.problems += [f"on a GPU training would fail: {rehearsal.failure}"] if rehearsal.failure else []
        rehearsed.note = "slow" if rehearsal.waits else ""
    for field in cls.hyperparameters:
        with trials.of(f"trainings with other values of {field}"):
            trials.problems += _idle_option(cls, field, first)
    return Checked(trials.problems, rehearsal.waits, eager, trials.tried)


def _unstated(cls: type[Method]) -> Iterator[str]:
    """What a class does not say of itself, and what it says that nothing hears."""
    yield from (f"`{field}` is not stated" for field in ("paper", "defaults_from") if not getattr(cls, field))
    if not cls.summary():
        yield "the class has no docstring, so `ltbench methods` has nothing to show"
    yield from _idle_functions(cls)


def _seed_problems(first: NDArray[np.float32], again: NDArray[np.float32], other: NDArray[np.float32]) -> Iterator[str]:
    """Of two trainings with one seed and one with another."""
    if not np.isfinite(first).all():
        yield "the test logits are not finite"
    if not np.array_equal(first, again):
        yield (
            "two runs with one seed differ: every random number must come from `now` or torch's own generator, and "
            "what changes while training must be an attribute of self (no global, no class attribute)"
        )
    if np.array_equal(first, other):
        yield "two seeds give the same result: the seed is ignored"


def _idle_functions(cls: type[Method]) -> Iterator[str]:
    """Functions that nothing calls: most often a misspelt hook, whose method would train as plain cross-entropy."""
    own = [base for base in cls.__mro__ if issubclass(base, Method) and base is not Method]
    code = "\n".join(file.read_text(encoding="utf-8") for file in method_files(cls))
    for name in dict.fromkeys(n for base in own for n, value in vars(base).items() if inspect.isfunction(value)):
        if not name.startswith("_") and not hasattr(Method, name) and not re.search(rf"\.{name}\b", code):
            near = get_close_matches(name, HOOKS, n=1)
            yield f"`{name}` is no hook, and nothing calls it" + (f"; did you mean `{near[0]}`?" if near else "")


def _ahead_problems(cls: type[Method]) -> Iterator[str]:
    """A training whose batches are drawn 33 ahead, as for streamed images, on the batches of one that draws in time:
    whatever differs was handed from `draw` to another hook by the order of the calls."""
    script: list[NDArray[np.int64]] = []
    found = []
    for ahead in (0, AHEAD):
        clock = Clock(np.random.default_rng([0, 2]), torch.device("cpu"), np.random.default_rng([0, 6]))
        try:
            found.append(_logits(cls, 0, source=DrawnAhead(ahead, script, len(cls.views)), clock=clock))
        except Exception as error:  # as in check_method
            place = place_of(error, method_files(cls))
            yield f"where `draw` runs ahead training fails: {type(error).__name__}: {error}{place}"
            return
    if not np.array_equal(found[0], found[1]):
        yield (
            "on streamed images the method would mix up its batches: there `draw` runs 33 batches ahead of the other "
            "hooks, and what it leaves on self is of another batch; look it up by `now.index`, or make it in `mix`"
        )


class _Interrupted(Exception):
    """Stands for whatever ends a process."""


class _BeforeTheInterruption(Checkpoints):
    """Takes a checkpoint after the step before the one in which training is interrupted, and between stages.

    Args:
        folder: as of Checkpoints. interrupted: the step, from 1; 0 for none.
    """

    def __init__(self, folder: Path, interrupted: int) -> None:
        super().__init__(folder, seconds=0.0)
        self._interrupted = interrupted

    def _save(self, step: int, roots: Mapping[str, Any], last: bool = False) -> None:
        _, steps_of_stage = self._stages[-1]
        if self.step == self._interrupted - 1 or step == steps_of_stage:
            super()._save(step, roots, last)


def _resume_problems(cls: type[Method], plain: NDArray[np.float32]) -> Iterator[str]:
    """A training that is interrupted in its middle and again in its last step, and goes on in fresh objects."""

    def stop_at(epoch: float) -> Callable[[float, float], None]:
        def watch(epochs: float, loss: float) -> None:
            if epochs >= epoch > 0:
                raise _Interrupted

        return watch

    with tempfile.TemporaryDirectory() as folder:
        for epoch in (RECIPE["epochs"] / 2, RECIPE["epochs"], 0.0):
            step = math.ceil(epoch * len(images()[1]) / RECIPE["batch_size"])
            checkpoints, resumed = _BeforeTheInterruption(Path(folder) / "trial", step), None
            try:
                with suppress(_Interrupted):
                    resumed = _logits(cls, 0, checkpoints=checkpoints, watch=stop_at(epoch))
            except Exception as error:  # as in check_method
                checkpoints.messages.append(f"{type(error).__name__}: {error}")
            if checkpoints.messages:
                yield f"an interrupted training cannot go on: {'; '.join(checkpoints.messages)}"
                return
    if resumed is None or not np.array_equal(plain, resumed):
        yield (
            "a training that was interrupted and resumed ends in another result: the method keeps state where a "
            "checkpoint cannot see it (a global, a class attribute, a closure); keep it in attributes of self"
        )


def _recorded(cls: type[Method], plain: NDArray[np.float32]) -> tuple[str | None, list[str]]:
    """A training whose passes are recorded and run again: why they cannot be, and what is wrong where they are."""
    graphs = GraphUse.emulated()
    try:
        logits = _logits(cls, 0, graphs=graphs)
    except Unfaithful as error:
        return str(error), []
    if not np.array_equal(plain, logits):
        return None, ["recorded as a CUDA graph, `forward` and `loss` give other numbers: what changes from step to "
                      "step must be a tensor that is changed in place, or come from `now`"]  # fmt: skip
    graphs.close()
    return graphs.problem, []


def _bf16_problems(cls: type[Method]) -> Iterator[str]:
    """A training under autocast, where features and images meet in two precisions."""
    try:
        logits = _logits(cls, 0, precision="bf16")
    except Exception as error:  # as in check_method
        yield f"in bf16 training fails: {type(error).__name__}: {error}{place_of(error, method_files(cls))}"
        return
    if not np.isfinite(logits).all():
        yield "in bf16 the test logits are not finite"


def _idle_option(cls: type[Method], field: str, plain: NDArray[np.float32]) -> Iterator[str]:
    """Whether the change of a hyper-parameter changes nothing at all."""
    declared = cls.hyperparameters[field]
    others = list(_other_values(declared.default, declared.search, declared.choices))
    legal = [v for v in others if _legal(cls, field, v)]
    if not legal:
        yield f"{field}: no other legal value was found to try; declare `search=` or `choices=`"
    elif all(np.array_equal(plain, _logits(cls, 0, {field: v})) for v in legal):
        yield f"{field} has no effect: the result is the same for {', '.join(map(str, [declared.default, *legal]))}"


def _legal(cls: type[Method], field: str, value: Any) -> bool:
    try:
        cls.complete({field: value})
    except UserError:
        return False
    return True


def _other_values(default: Any, search: Any, choices: tuple[Any, ...] | None) -> Iterator[Any]:
    options: list[Any] = list(choices or ())
    if isinstance(search, Choice):
        options += search.values
    if isinstance(search, Uniform | LogUniform):
        options += [search.low, search.high]
    if isinstance(default, bool):
        options.append(not default)
    elif isinstance(default, float):
        options += [default / 2, default * 2 + 0.1, 0.5]
    elif isinstance(default, int):
        options += [default + 1, max(default - 1, 0)]
    yield from (value for value in dict.fromkeys(options) if value != default)


def _logits(
    cls: type[Method], seed: int, values: Mapping[str, Any] | None = None, **how: Unpack[Variation]
) -> NDArray[np.float32]:
    """Corrected test logits after a short training."""
    task = task_for(cls, seed)
    torch.manual_seed(seed)
    method = cls(task, **(values or {}))
    model = model_for(method)
    how["checkpoints"] = checkpoints = how.get("checkpoints") or Checkpoints()
    checkpoints.begin()
    train_on_it(method, model, seed, **how)
    raw = torch.from_numpy(logits_of(model, batches(), {**RECIPE, "precision": how.get("precision", "fp32")}))
    method.fit(raw, torch.from_numpy(images()[1]))  # stands for a hold-out
    return np.asarray(method.predict(raw).numpy())
