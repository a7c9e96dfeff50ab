"""The kinds of data set there are, by the name a suite uses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ltbench.data.sources.digits import Digits
from ltbench.data.sources.downloaded.cifar import Cifar10, Cifar100
from ltbench.data.sources.downloaded.stl10 import Stl10
from ltbench.data.sources.downloaded.svhn import Svhn
from ltbench.data.sources.downloaded.tiny_imagenet import TinyImageNet
from ltbench.data.sources.features import Features
from ltbench.data.sources.folder import Folder
from ltbench.data.sources.inaturalist import INaturalist2018, INaturalist2019, INaturalist2021
from ltbench.data.sources.lists import Lists
from ltbench.data.sources.published_lists import ImageNetLT, PlacesLT
from ltbench.data.sources.source import Source
from ltbench.errors import UserError, did_you_mean
from ltbench.spec import Cell

ENTRY_POINTS = "ltbench.datasets"
"""Of installed packages: each names a subclass of `Source` whose `kind` is the entry point's name."""
OWN: tuple[type[Source], ...] = (
    *(Digits, Cifar10, Cifar100, Svhn, Stl10, TinyImageNet),
    *(ImageNetLT, PlacesLT, INaturalist2018, INaturalist2019, INaturalist2021),
    *(Folder, Lists, Features),
)
"""Those that come with ltbench."""


def source_kinds() -> dict[str, type[Source]]:
    """All kinds of data set, by the name a suite uses: those that come with ltbench, and installed packages'.

    Raises:
        UserError: an installed one cannot be loaded, is no `Source`, or has a name that is taken.
    """
    kinds: dict[str, type[Source]] = {cls.kind: cls for cls in OWN}
    for cls in _installed():
        if cls.kind in kinds:
            raise UserError(
                f"the data set {cls.kind!r} of {cls.__module__} has the name of one of ltbench's; rename it"
            )
        kinds[cls.kind] = cls
    return kinds


@cache
def _installed() -> tuple[type[Source], ...]:
    found = []
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            loaded = entry.load()
        except (Exception, SystemExit) as error:
            raise UserError(f"data set {entry.name!r}: its entry point {entry.value!r} cannot be loaded: {error}"
                            ) from error  # fmt: skip
        if not (isinstance(loaded, type) and issubclass(loaded, Source) and loaded.kind == entry.name):
            raise UserError(f"entry point {entry.name!r} of {ENTRY_POINTS} must name a subclass of "
                            f"ltbench.data.sources.source.Source whose `kind` is {entry.name!r}")  # fmt: skip
        found.append(loaded)
    return tuple(found)


def open_source(kind: str, data: Path, path: str | None = None, options: Mapping[str, Any] | None = None) -> Source:
    """The source of a kind, with its images under `data` (or, for kinds that need one, at `path`).

    Args:
        options: those of the kind, and the places it takes beside `path`.

    Raises:
        UserError: unknown kind or option, or a path that is missing or not wanted.
    """
    kinds = source_kinds()
    if kind not in kinds:
        raise UserError(f"unknown data set {kind!r}. {did_you_mean(kind, kinds)}")
    cls = kinds[kind]
    options = dict(options or {})
    allowed = [*cls.options, *cls.places]
    for name in options:
        if name not in allowed:
            raise UserError(f"data set {kind!r} has no option {name!r}. {did_you_mean(name, allowed)}")
    if cls.needs_path and path is None:
        raise UserError(f"data set {kind!r} needs `path:`, {cls.path_is}")
    if path is not None and not (cls.needs_path or cls.may_have_path):
        raise UserError(f"data set {kind!r} takes no `path:`; its images live under the data folder (--data)")
    return cls(data, Path(path).expanduser() if path else None, **options)


def source_of(cell: Cell, data: Path, paths: Mapping[str, str], decoded_cache: bool | None = None) -> Source:
    """The source of a cell on this machine. Raises UserError as `open_source` does.

    Args:
        paths: as `paths_of` gives them. decoded_cache: whether large images are kept decoded; None: if there is room.
    """
    kinds = source_kinds()
    known = kinds[cell.kind].places if cell.kind in kinds else {}
    beside = {place: paths[f"{cell.dataset}:{place}"] for place in known if f"{cell.dataset}:{place}" in paths}
    source = open_source(cell.kind, data, paths.get(cell.dataset), {**cell.data_options, **beside})
    source.decoded_cache = decoded_cache
    return source


def paths_of(sources: Mapping[str, Source]) -> dict[str, str]:
    """Where the data sets lie: under its name the path of each, under NAME:PLACE what it has beside that. No name of a
    data set has a colon."""
    found = {name: str(source.path) for name, source in sources.items() if source.path is not None}
    return found | {f"{name}:{place}": str(value) for name, source in sources.items()
                    for place, value in source.beside.items()}  # fmt: skip
