"""What every backbone and every data set from outside must do, tried in seconds. For their authors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltbench.checks.tried import Trials
from ltbench.data.sources.kinds import open_source, source_kinds
from ltbench.data.sources.source import Arrays, Facts, Source
from ltbench.errors import UserError
from ltbench.models.installed import build

SHAPES = ((32, 32, 3), (8, 8, 1), (28, 28, 1), (64, 64, 3), (224, 224, 3))
"""Height, width and channels of images that a backbone is tried on, until it reads some."""
_ROWS = 4
_CLOSE = 1e-4
"""How far features may move with the size of the batch: sums are made in another order."""


def check_backbone_code(name: str, trials: Trials) -> None:
    """Hold a backbone against what ltbench relies on; `trials` collects what is found."""
    with trials.of("images that it reads"):
        shape = _readable_shape(name, trials)
    if shape is None:
        return
    x = torch.randn(_ROWS, shape[2], *shape[:2], generator=torch.Generator().manual_seed(0))
    with trials.of("features of a batch"):
        network = _built(name, shape, 0)
        trials.problems += _feature_problems(network, x)
    if trials.problems:
        return
    with trials.of("initial weights of a seed"):
        trials.problems += _seed_problems(name, shape)
    with trials.of("a training step"):
        trials.problems += _gradient_problems(network, x)
    with trials.of("weights that are written and read again"):
        trials.problems += _state_problems(network, _built(name, shape, 1), x)


def _built(name: str, shape: tuple[int, int, int], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(name, shape)


def _readable_shape(name: str, trials: Trials) -> tuple[int, int, int] | None:
    reasons = []
    for shape in SHAPES:
        try:
            with torch.no_grad():
                _built(name, shape, 0).eval()(torch.zeros(2, shape[2], *shape[:2]))
            return shape
        except UserError as error:
            reasons.append(str(error))
        except Exception as error:  # somebody else's code
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            reasons.append(f"images of {shape[0]}x{shape[1]} pixels and {shape[2]} channels: {said}")
    trials.problems.append(f"it reads no images that were tried: {reasons[0]}")
    return None


def _feature_problems(network: nn.Module, x: Tensor) -> Iterator[str]:
    dim: Any = network.dim
    rows = len(x)
    network.eval()
    with torch.no_grad():
        features = network(x)
        if not isinstance(features, Tensor) or tuple(features.shape) != (rows, dim):
            found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            yield f"it says it has {dim} features and gives {found} for {rows} images; expected ({rows}, {dim})"
            return
        if not features.is_floating_point() or not bool(torch.isfinite(features).all()):
            yield "its features are not finite numbers"
            return
        if not torch.equal(features, network(x)):
            yield "in eval mode it gives other features of the same images when asked again"
        elif not torch.allclose(features[:1], network(x[:1]), rtol=_CLOSE, atol=_CLOSE):
            yield "in eval mode an image's features depend on the other images of the batch"


def _seed_problems(name: str, shape: tuple[int, int, int]) -> Iterator[str]:
    first, again, other = (list(_built(name, shape, seed).parameters()) for seed in (0, 0, 1))
    if not first:
        return
    if not all(torch.equal(one, two) for one, two in zip(first, again, strict=True)):
        yield "two networks of one seed have other weights: draw them from torch's own generator"
    elif all(torch.equal(one, two) for one, two in zip(first, other, strict=True)):
        yield "networks of two seeds have the same weights: the seed is ignored"


def _gradient_problems(network: nn.Module, x: Tensor) -> Iterator[str]:
    network.train()
    network(x).square().sum().backward()
    wanted = {name: p for name, p in network.named_parameters() if p.requires_grad}
    idle = [name for name, p in wanted.items() if p.grad is None]
    if idle:
        shown = ", ".join(idle[:3]) + (" ..." if len(idle) > 3 else "")
        yield f"no gradient reaches {shown}: `forward` does not use them"
    if not all(bool(torch.isfinite(p.grad).all()) for p in wanted.values() if p.grad is not None):
        yield "a gradient is not finite"


def _state_problems(network: nn.Module, fresh: nn.Module, x: Tensor) -> Iterator[str]:
    fresh.load_state_dict(network.state_dict())
    with torch.no_grad():
        if not torch.equal(network.eval()(x), fresh.eval()(x)):
            yield "a network that is given another one's state_dict gives other features: keep what changes in " \
                  "parameters and buffers, which checkpoints hold"  # fmt: skip


def check_dataset_code(kind: str, data: Path, path: str | None, options: dict[str, Any], trials: Trials) -> None:
    """Hold a data set against what ltbench relies on, on the images that lie there.

    Args:
        data: where data sets lie. path, options: as in a suite. trials: collects what is found.

    Raises:
        UserError: it does not read what lies there.
    """
    cls = source_kinds()[kind]
    with trials.of("what the class states", at_once=True):
        trials.problems += [] if getattr(cls, "summary", "") else ["`summary` is not stated"]

    def opened() -> Source:
        return open_source(kind, data, path, options)

    with trials.of("what is known of its images"):
        facts = opened().facts()
        trials.problems += _facts_problems(facts, opened().facts())
    if trials.problems:
        return
    with trials.of("its images, read twice"):
        trials.problems += _array_problems(facts, opened)


def _facts_problems(facts: Facts, again: Facts) -> Iterator[str]:
    classes = len(facts.class_names)
    for name, counts in (("train_counts", facts.train_counts), ("test_counts", facts.test_counts)):
        if len(counts) != classes:
            yield f"`{name}` has {len(counts)} numbers for {classes} class names"
    if classes < 2:
        yield f"it has {classes} class; a benchmark needs at least 2"
    if len(set(facts.class_names)) < classes:
        yield "two classes have the same name"
    if not facts.fingerprint:
        yield "`fingerprint` is empty: it must change when the images do"
    elif facts.fingerprint != again.fingerprint:
        yield "`fingerprint` is another one when asked again: it must change only when the images do"


def _array_problems(facts: Facts, opened: Callable[[], Source]) -> Iterator[str]:
    arrays, again = opened().read(), opened().read()
    for part, x, y, counts in _parts(facts, arrays):
        yield from _part_problems(facts, part, x, y, counts)
    if not facts.streams and not all(
        np.array_equal(one, two) for (_, one, *_), (_, two, *_) in zip(_parts(facts, arrays), _parts(facts, again),
                                                                      strict=True)
    ):  # fmt: skip
        yield "two readings give other images, or another order: sort what a folder lists"


def _parts(facts: Facts, arrays: Arrays) -> list[tuple[str, Any, Any, tuple[int, ...]]]:
    return [("training", arrays.train_x, arrays.train_y, facts.train_counts),
            ("test", arrays.test_x, arrays.test_y, facts.test_counts)]  # fmt: skip


def _part_problems(facts: Facts, part: str, x: Any, y: Any, counts: tuple[int, ...]) -> Iterator[str]:
    y = np.asarray(y)
    if y.dtype != np.int64 or y.ndim != 1:
        yield f"labels of the {part} images must be int64 (N,), they are {y.dtype} {y.shape}"
        return
    if len(y) and (y.min() < 0 or y.max() >= len(counts)):
        yield f"labels of the {part} images must be from 0 to {len(counts) - 1}"
        return
    found = tuple(np.bincount(y, minlength=len(counts)).tolist())
    if found != tuple(counts):
        yield f"the {part} images of the classes are {_shown(found)}, `facts` says {_shown(tuple(counts))}"
    if facts.streams:
        return
    vectors = facts.shape[:2] == (1, 1)
    shape, dtype = ((len(y), facts.shape[2]), np.float32) if vectors else ((len(y), *facts.shape), np.uint8)
    if x.dtype != dtype or tuple(x.shape) != shape:
        yield f"the {part} images must be {np.dtype(dtype)} {shape}, they are {x.dtype} {tuple(x.shape)}"


def _shown(counts: tuple[int, ...]) -> str:
    return re.sub(r"\)$", "", str(counts[:6])) + (" ...)" if len(counts) > 6 else ")")
