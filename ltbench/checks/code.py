"""`ltbench check`, without a terminal: methods, backbones and data sets held against what ltbench relies on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ltbench.checks.contract import check_method
from ltbench.checks.outside import check_backbone_code, check_dataset_code
from ltbench.checks.tried import Trials, Tried
from ltbench.errors import UserError, did_you_mean
from ltbench.plugins import BACKBONES, DATASETS, METHODS, NOUNS, entries, use
from ltbench.plugins.folder import group_of
from ltbench.registry import Registry


@dataclass(frozen=True, kw_only=True)
class CheckRequest:
    """What a user asks of `ltbench check`.

    Attributes:
        target: a file, a folder of plugins, or a name.
        plugins: folders in which a name is looked for, beside what comes with ltbench or is installed.
        data: where data sets lie. path: what a data set's `path:` would be in a suite. options: its options there.
        tell: told what is tried now.
    """

    target: str
    data: Path
    plugins: Sequence[Path] = ()
    path: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[str], object] = lambda what: None


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a method, a backbone or a data set.

    Attributes:
        name: what suites call it. group: METHODS, BACKBONES or DATASETS.
        problems: in which it breaks the contract, as sentences. tried: what was tried.
        waits, eager: of a method, as in `contract.Checked`.
    """

    name: str
    group: str
    problems: Sequence[str]
    tried: Sequence[Tried]
    waits: Sequence[str] = ()
    eager: str | None = None


def check_code(request: CheckRequest) -> Iterator[Verdict]:
    """Check what the user names: everything in a folder, or one thing.

    Raises:
        UserError: there is no such thing, or it cannot be loaded.
    """
    place = Path(request.target).expanduser()
    if place.is_dir():
        use([place])
        registry = Registry()
        yield from _all_of(registry, request, place.resolve())
    elif place.is_file():
        yield _file(place, request)
    else:
        use(request.plugins)
        yield _named(request)


def _all_of(registry: Registry, request: CheckRequest, folder: Path) -> Iterator[Verdict]:
    for group in NOUNS:
        for name, entry in entries(group).items():
            if entry.file is not None and entry.file.parent == folder:
                yield _checked(name, group, registry, request)


def _file(file: Path, request: CheckRequest) -> Verdict:
    builtin = file.resolve().parent == Registry().builtin_folder
    group = METHODS if builtin else group_of(file)
    if group is None or file.suffix != ".py" or file.stem.startswith("_"):
        raise UserError(f"{file}: holds no method: a subclass of ltbench.api.Method, in a .py file whose name does not "
                        f"begin with '_' (`ltbench methods --template` prints one); nor a backbone or a data set"
                        )  # fmt: skip
    if group != METHODS:
        use([file.parent])
        return _checked(file.stem, group, None, request)
    registry = Registry(None if builtin else file.parent)
    if file.stem not in registry.names():
        raise UserError(f"{file}: holds no method: a subclass of ltbench.api.Method, in a .py file whose name does not "
                        f"begin with '_' (`ltbench methods --template` prints one)")  # fmt: skip
    return _checked(file.stem, METHODS, registry, request)


def _named(request: CheckRequest) -> Verdict:
    registry, name = Registry(), request.target
    if name in registry.names() or "+" in name:
        return _checked(name, METHODS, registry, request)
    for group in (BACKBONES, DATASETS):
        if name in entries(group):
            return _checked(name, group, registry, request)
    known = [*registry.names(), *entries(BACKBONES), *entries(DATASETS)]
    raise UserError(f"{name}: no such file or folder, nor a method, backbone or data set of that name. "
                    f"{did_you_mean(name, known)}")  # fmt: skip


def _checked(name: str, group: str, registry: Registry | None, request: CheckRequest) -> Verdict:
    def tell(what: str) -> None:
        request.tell(f"trying {what} ...")

    with _one_thread():
        if group == METHODS and registry is not None:
            found = check_method(registry.get(name), tell)
            return Verdict(name, group, found.problems, found.tried, found.waits, found.eager)
        trials = Trials(tell)
        if group == BACKBONES:
            _guarded(lambda: check_backbone_code(name, trials), trials)
        else:
            options = dict(request.options)
            _guarded(lambda: check_dataset_code(name, request.data, request.path, options, trials), trials)
        return Verdict(name, group, trials.problems, trials.tried)


@contextmanager
def _one_thread() -> Iterator[None]:
    """What is tried is so small that several threads mostly wait for each other, up to tenfold on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _guarded(check: Callable[[], None], trials: Trials) -> None:
    """What somebody else's code raises is one of its problems."""
    try:
        check()
    except UserError as error:
        trials.problems.append(str(error))
    except Exception as error:
        trials.problems.append(f"it fails: {type(error).__name__}: {error}")


def holds(verdicts: Iterable[Verdict]) -> bool:
    """Whether nothing is wrong with any of them."""
    return not any(verdict.problems for verdict in verdicts)
