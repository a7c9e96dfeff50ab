"""Which trials of a run have training in common, and when what they share is of no more use."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ltbench.api import Method
from ltbench.errors import UserError
from ltbench.spec import TrialSpec, digest
from ltbench.system.process import one_thread
from ltbench.system.remote import Remote
from ltbench.training.assemble import method_of
from ltbench.training.checkpoints.files import discard, names_in
from ltbench.training.checkpoints.shared_stage import TRAINS, group_in, is_shared
from ltbench.training.madeup import model_for, task_for
from ltbench.training.site import Site


def group_of(spec: TrialSpec, cls: type[Method]) -> str | None:
    """Trials of one group begin alike, as far as can be told beforehand; None: a method that trains in a way of its
    own."""
    hooks = (*TRAINS, "predict") if spec.curves != "none" else TRAINS  # what is predicted shows in a curve
    if any(getattr(cls, hook) is not getattr(Method, hook) for hook in hooks):
        return None
    values = tuple(sorted(spec.hyperparameters.items()))
    if (cls, values) not in _first_stages:
        _first_stages[cls, values] = _first_stage(cls, dict(values))
    stage = _first_stages[cls, values]
    cell = {k: v for k, v in vars(spec.cell).items() if k != "dataset"}
    same = [cell, dict(spec.recipe), spec.text, spec.role, spec.seed, spec.curves, spec.numerics, stage]
    return None if stage is None else digest(same)


_first_stages: dict[tuple[type[Method], tuple[tuple[str, Any], ...]], str | None] = {}


def _first_stage(cls: type[Method], hyperparameters: Mapping[str, Any]) -> str | None:
    """What a method's first stage of training is on the made-up task: so that cRT, whose stage is shorter, does not
    wait for cross-entropy."""
    try:
        if any(_holds_open(base.__dict__["stages"]) for base in cls.__mro__ if "stages" in base.__dict__):
            return None
        with one_thread(), torch.random.fork_rng(devices=[]):
            method = cls(task_for(cls), **hyperparameters)
            model = model_for(method)
            stage = next(stage for stage in method.stages(model) if stage.train and stage.share > 0 and not stage.plain)
            names = {p: name for name, p in model.named_parameters()}
            made = stage.optimizer
            groups = (
                [] if made is None else [{**g, "params": [names[p] for p in g["params"]]} for g in made.param_groups]
            )
            probs = None if stage.class_probs is None else stage.class_probs.tolist()
            return repr([stage.share, probs, type(made).__qualname__, groups, *vars(stage).get("schedule", ())])
    except Exception:  # it fails on that task: what it does on the user's is seen there
        return None


def _holds_open(stages: Callable[..., Any]) -> bool:
    """Whether a `with` is around a stage: what it does to the training is out of sight."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(stages)))
    around = [node for node in ast.walk(tree) if isinstance(node, ast.With)]
    return any(isinstance(inner, ast.Yield | ast.YieldFrom) for node in around for inner in ast.walk(node))


def groups_of(trials: Iterable[TrialSpec], class_of: Callable[[TrialSpec], type[Method]]) -> dict[str, str]:
    """Key of a trial -> its group, for all that have one. A method that is unknown here, or other code, has none: its
    trials say so."""
    classes: dict[str, type[Method] | None] = {}
    found = {}
    for spec in trials:
        if spec.method not in classes:
            classes[spec.method] = None
            with suppress(UserError):
                classes[spec.method] = class_of(spec)
        cls = classes[spec.method]
        if cls is not None and (group := group_of(spec, cls)) is not None:
            found[spec.key] = group
    return found


def trainers(trials: Sequence[TrialSpec], groups: Mapping[str, str]) -> dict[str, TrialSpec]:
    """Key of a trial -> the one whose training it will take over, as the first of its group that runs."""
    first: dict[str, TrialSpec] = {}
    found = {}
    for spec in trials:
        group = groups.get(spec.key)
        if group is not None and first.setdefault(group, spec) is not spec:
            found[spec.key] = first[group]
    return found


def sharing_text(trials: Sequence[TrialSpec], taken: Mapping[str, TrialSpec]) -> str:
    """Which rows take over the training of which.

    Args:
        trials: those that are to run. taken: key of a trial -> the one whose first stage, most often all of its
            training, it takes over.
    """
    if not taken:
        return ""
    rows: dict[str, dict[str, None]] = {}
    for spec in trials:
        if (by := taken.get(spec.key)) is not None:
            rows.setdefault(by.row, {})[spec.row] = None
    said = "; ".join(
        f"{by} for {' and '.join('its other settings' if row == by else row for row in others)}"
        for by, others in rows.items()
    )
    return f"trained once: {said}. {len(taken)} of {len(trials)} trials take training over"


class Sharing:
    """The groups of a run, and what their trials leave for each other.

    Args:
        trials: those that are to run. site: theirs; nothing is shared where it has no place for checkpoints.
    """

    def __init__(self, trials: Sequence[TrialSpec], site: Site) -> None:
        self.groups: dict[str, str] = {}
        """Key of a trial -> its group, for trials that are not alone in theirs."""
        self._place = site.checkpoints
        if self._place is None:
            return
        found = groups_of(trials, lambda spec: method_of(spec, site))
        there, size = {group_in(name) for name in _shared_in(self._place)}, Counter(found.values())
        self.groups = {key: group for key, group in found.items() if size[group] > 1 or group in there}
        self._left = Counter(self.groups.values())
        for group in there - set(self._left):  # of an earlier run, for trials that this one does not have
            self._discard(group)

    def finished(self, key: str) -> None:
        """A trial has its record. With the last one of a group goes what they shared."""
        if (group := self.groups.get(key)) is not None:
            self._left[group] -= 1
            if self._left[group] <= 0:
                self._discard(group)

    def _discard(self, group: str) -> None:
        for name in _shared_in(self._place):
            if group_in(name) == group:
                discard(self._place, name)


def _shared_in(place: Path | Remote | None) -> list[str]:
    with suppress(Exception):  # a folder that is not there yet, a network that comes and goes
        return [] if place is None else [name for name in names_in(place) if is_shared(name)]
    return []
