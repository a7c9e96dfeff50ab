"""Code from outside ltbench, by name: methods, backbones and data sets of installed packages and of users' folders.

Installed packages name them by entry points of the groups `ltbench.methods`, `ltbench.backbones` and
`ltbench.datasets`. A folder (`--plugins DIR`, `plugins:` of a suite) has a file for each. Whoever looks a name up asks
`entries`, and need not know which of the two it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ltbench.errors import UserError
from ltbench.plugins.checks import refuse_broken
from ltbench.plugins.folder import (
    BACKBONES,
    BUILD,
    DATASETS,
    METHODS,
    NOUNS,
    files_in,
    forget,
    group_of,
    import_file,
    only_class,
    package_of,
    refuse_bad_name,
)
from ltbench.plugins.sources import Sources, checked_folder, read_sources, unpack_sources

__all__ = ["BACKBONES", "DATASETS", "METHODS", "NOUNS", "Entry", "Sources", "entries", "entry_of", "in_use",
           "read_sources", "unpack_sources", "use", "use_sources"]  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """Something from outside ltbench.

    Attributes:
        group: METHODS, BACKBONES or DATASETS. name: what suites call it.
        origin: where it comes from, in words. value: the same for a message: an entry point's value, or a file.
        file: of a folder's file; None for an installed package's.
    """

    group: str
    name: str
    origin: str
    value: str
    _load: Callable[[type], Any]
    file: Path | None = None

    def load(self, base: type) -> Any:
        """The class or function; runs its code. A file has exactly one class with this `base`, or a function `build`.

        Raises:
            UserError: it cannot be loaded.
        """
        return self._load(base)


def entries(group: str) -> dict[str, Entry]:
    """All there are of a group, by name: those of the folders in use, then those of installed packages.

    Raises:
        UserError: two folders, or a folder and a package, bring the same name.
    """
    found: dict[str, Entry] = {}
    for entry in (*_of_folders(_in_use, _stamps(_in_use)), *_installed()):
        if entry.group != group:
            continue
        if entry.name in found and found[entry.name].file is not None:
            raise UserError(f"{NOUNS[group]} {entry.name!r} is defined by {found[entry.name].origin} and by "
                            f"{entry.origin}; rename one")  # fmt: skip
        found[entry.name] = entry
    return found


def in_use() -> tuple[Path, ...]:
    """The folders whose code this process finds."""
    return _in_use


def use(folders: Sequence[Path], said: str = "--plugins") -> None:
    """Find the code of these folders from now on, in place of those before.

    Args:
        said: how the user named them, for messages.

    Raises:
        UserError: no such folder, a file that is no Python, that hides behind a module of its name, or a name that two
            of them have.
    """
    wanted = tuple(dict.fromkeys(checked_folder(folder, said) for folder in folders))
    if wanted != _in_use:
        _change(())  # a helper of another folder may have the name of one here
    refuse_broken(wanted, said)
    _change(wanted)


def use_sources(sent: Sequence[Sources]) -> None:
    """On a worker: the same for folders that were sent there. Where these very files are in use already, nothing
    changes."""
    if [*sent] != [read_sources(folder, "--plugins") for folder in _in_use]:
        _change(tuple(unpack_sources(sources).resolve() for sources in sent))


def entry_of(file: Path, group: str, said: str) -> Entry:
    """A file of a user's folder as what it brings; runs nothing."""
    made = package_of(file.parent, said)

    def load(base: type) -> Any:
        module = import_file(f"{made.__name__}.{file.stem}", group)
        return getattr(module, BUILD) if group == BACKBONES else only_class(module, base, group)

    return Entry(group, file.stem, f"the folder {next(iter(made.__path__))}", str(file), load, file)


_in_use: tuple[Path, ...] = ()


def _change(folders: tuple[Path, ...]) -> None:
    global _in_use
    for folder in set(_in_use) - set(folders):
        forget(folder)
    _in_use = folders


def _stamps(folders: Sequence[Path]) -> tuple[tuple[str, int], ...]:
    """What changes when a file does: a notebook's process outlives many versions of one."""
    return tuple((str(file), file.stat().st_mtime_ns) for folder in folders for file in files_in(folder).values())


@cache
def _of_folders(folders: tuple[Path, ...], stamps: tuple[tuple[str, int], ...]) -> tuple[Entry, ...]:
    found = []
    for folder in folders:
        for stem, file in files_in(folder).items():
            if (group := group_of(file)) is not None:
                refuse_bad_name(stem, file, group)
                found.append(entry_of(file, group, "--plugins"))
    return tuple(found)


@cache
def _installed() -> tuple[Entry, ...]:
    return tuple(_entry_of_package(point, group) for group in NOUNS for point in entry_points(group=group))


def _entry_of_package(point: EntryPoint, group: str) -> Entry:
    def load(base: type) -> Any:
        try:
            return point.load()
        except (Exception, SystemExit) as error:
            raise UserError(f"{NOUNS[group]} {point.name!r}: its entry point {point.value!r} cannot be loaded: {error}"
                            ) from error  # fmt: skip

    return Entry(group, point.name, f"the installed package of {point.value!r}", point.value, load)
