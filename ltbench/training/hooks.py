"""What a method's hooks return, looked at where they do: told with the method's file and line, not deep inside."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltbench.api import Method, Stage


class WrongResult(TypeError):
    """A hook of a method returned something else than it must."""


def checked_loss(method: Method, loss: Any) -> Tensor:
    """The loss of a step, where it is one number that can be trained on.

    Raises:
        WrongResult: it is not.
    """
    if isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad:
        return loss
    hint = ""
    if isinstance(loss, Tensor) and loss.numel() == 1:
        hint = "; this one does not depend on the logits (detach, item, torch.no_grad?), so nothing would be learned"
    elif isinstance(loss, Tensor):
        hint = "; take its mean, for example"
    raise WrongResult(f"{_place(method, 'loss')} must return one number as a tensor (shape ()) that depends on the "
                      f"logits, it returned {_words(loss)}{hint}")  # fmt: skip


def checked_mix(method: Method, mixed: Any, images: int) -> tuple[Tensor, Any]:
    """The images and targets that `mix` made of a batch.

    Args:
        images: how many there were.

    Raises:
        WrongResult: they are not a pair, or the images are not so many.
    """
    if isinstance(mixed, tuple | list) and len(mixed) == 2 and isinstance(mixed[0], Tensor) and len(mixed[0]) > 0:
        return mixed[0], mixed[1]
    raise WrongResult(f"{_place(method, 'mix')} must return a pair, the {images} images and their targets, it returned "
                      f"{_words(mixed)}")  # fmt: skip


def checked_scores(method: Method, scores: Any, images: int) -> Tensor:
    """What `predict` made of the logits: a row of scores for every image.

    Raises:
        WrongResult: it is something else.
    """
    wanted = (images, method.task.num_classes)
    if isinstance(scores, Tensor) and tuple(scores.shape) == wanted and not scores.is_complex():
        return scores
    labels = isinstance(scores, Tensor) and scores.ndim == 1
    hint = "; labels are not enough: metrics need the scores of all classes" if labels else ""
    raise WrongResult(f"{_place(method, 'predict')} must return scores of all classes for every image, a tensor of "
                      f"shape {wanted}, it returned {_words(scores)}{hint}")  # fmt: skip


def checked_stages(method: Method, stages: Any) -> Iterator[Stage]:
    """What `stages` yields, one after the other.

    Raises:
        WrongResult: it is no stage.
    """
    if not isinstance(stages, Iterable):
        raise WrongResult(f"{_place(method, 'stages')} must yield stages, such as `yield Stage()`, it returned "
                          f"{_words(stages)}")  # fmt: skip
    for stage in stages:
        if not isinstance(stage, Stage):
            raise WrongResult(f"{_place(method, 'stages')} must yield stages, such as `yield Stage()`, it yields "
                              f"{_words(stage)}")  # fmt: skip
        yield stage


class LearningRates:
    """The learning rates that stages left in their optimizers. The schedule of a later stage with the same optimizer
    goes on from the rate that it began with, so one that the method sets between the two would be overwritten."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[Any, float, float]] = {}

    def leave(self, optimizer: torch.optim.Optimizer) -> None:
        """A stage with this optimizer is over."""
        for group in optimizer.param_groups:
            self._left[id(group)] = (group, float(group["lr"]), float(group["initial_lr"]))

    def check(self, method: Method, optimizer: torch.optim.Optimizer) -> None:
        """A stage with this optimizer begins.

        Raises:
            WrongResult: a rate is another one than the stage before left.
        """
        for group in optimizer.param_groups:
            known, rate, initial = self._left.get(id(group), (None, 0.0, 0.0))
            if known is group and float(group["lr"]) != rate and float(group["initial_lr"]) == initial:
                raise WrongResult(
                    f"{_place(method, 'stages')} sets the learning rate of an optimizer between two stages "
                    f"({rate:g} -> {float(group['lr']):g}), which the recipe's schedule would overwrite: it scales the "
                    f"rate that the optimizer was made with ({initial:g}). Make another optimizer for the second "
                    f"stage, self.task.optimizer(parameters, lr=...), or set group['initial_lr'] to what is to be "
                    f"scaled"
                )


def try_predict(method: Method, logits: Tensor) -> None:
    """Before the training, what `predict` returns for made-up logits; on a copy, with torch's random numbers put back.
    One that fails may need what the training brings: it is tried again afterwards. One that wants logits of several
    experts, (N, K, C), gets those.

    Args:
        logits: (N, C).

    Raises:
        WrongResult: it is not a row of scores for every image.
    """
    if type(method).predict is Method.predict:
        return
    with torch.random.fork_rng(devices=[logits.device] if logits.device.type == "cuda" else []), torch.no_grad():
        try:
            scores = copy.copy(method).predict(logits)
        except Exception:
            return
        with suppress(Exception):
            of_experts = copy.copy(method).predict(torch.stack([logits, logits], dim=1))
            if isinstance(of_experts, Tensor) and of_experts.is_floating_point() and of_experts.shape == logits.shape:
                return
    checked_scores(method, scores, len(logits))


def predict_early(method: Method, logits: Tensor) -> Any:
    """What `predict` gives while the training is under way, for a learning curve; on a copy, with torch's random
    numbers put back, since a curve changes no result. The exception where it fails: it may read what comes later."""
    with torch.random.fork_rng(devices=[logits.device] if logits.device.type == "cuda" else []), torch.no_grad():
        try:
            return copy.copy(method).predict(logits)
        except Exception as error:
            return error


def _place(method: Method, hook: str) -> str:
    """`loss of mine (mine.py, line 12)`."""
    function: Callable[..., Any] = inspect.unwrap(getattr(type(method), hook))
    code = getattr(function, "__code__", None)
    where = "" if code is None else f" ({Path(code.co_filename).name}, line {code.co_firstlineno})"
    return f"{hook} of {method.name}{where}"


def _words(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"
