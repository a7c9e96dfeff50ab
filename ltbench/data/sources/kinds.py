"""The kinds of data set there are, by the name a suite uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from ltbench.data.sources.source import Facts, Source
from ltbench.errors import UserError, did_you_mean
from ltbench.fingerprints import collect, files_read_by, fingerprint_of
from ltbench.plugins import DATASETS, Entry, entries
from ltbench.spec import Cell, digest

OWN: tuple[type[Source], ...] = (
    *(Digits, Cifar10, Cifar100, Svhn, Stl10, TinyImageNet),
    *(ImageNetLT, PlacesLT, INaturalist2018, INaturalist2019, INaturalist2021),
    *(Folder, Lists, Features),
)
"""Those that come with ltbench."""


def source_kinds() -> dict[str, type[Source]]:
    """All kinds of data set, by the name a suite uses: those that come with ltbench, installed packages' and those of
    folders of plugins.

    Raises:
        UserError: one from outside cannot be loaded, is no `Source`, or has a name that is taken.
    """
    kinds: dict[str, type[Source]] = {cls.kind: cls for cls in OWN}
    for entry in entries(DATASETS).values():
        cls = _loaded(entry)
        if cls.kind in kinds:
            where = cls.__module__ if entry.file is None else entry.file
            raise UserError(f"the data set {cls.kind!r} of {where} has the name of one of ltbench's; rename it")
        kinds[cls.kind] = cls
    return kinds


def _loaded(entry: Entry) -> type[Source]:
    loaded = entry.load(Source)
    if not (isinstance(loaded, type) and issubclass(loaded, Source) and loaded.kind == entry.name):
        what = f"entry point {entry.name!r} of {DATASETS} must name" if entry.file is None else f"{entry.file}: must be"
        raise UserError(f"{what} a subclass of ltbench.data.sources.source.Source whose `kind` is {entry.name!r}")
    return loaded if entry.file is None else _with_code(loaded, entry.file)


def _with_code(cls: type[Source], file: Path) -> type[Source]:
    """A data set whose code, which may change what is read of the same files, is part of what identifies its images."""
    code: dict[str, Path] = {}
    collect(file, code)
    fingerprint = fingerprint_of(code, files_read_by(code.values(), file.parent))
    known = _coded.get((cls, fingerprint))
    if known is None:

        def facts(self: Source) -> Facts:
            found = cls.facts(self)
            return replace(found, fingerprint=digest([found.fingerprint, fingerprint]))

        known = type(cls.__name__, (cls,), {"facts": facts, "__doc__": cls.__doc__, "__module__": cls.__module__})
        _coded[cls, fingerprint] = known
    return known


_coded: dict[tuple[type[Source], str], type[Source]] = {}


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
