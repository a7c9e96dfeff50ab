"""Names -> Method classes: the files of methods/, a folder given by the user, plugins.

The file's name is the method's name. There is no list to edit: a file that appears is a method that exists.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Iterator
from pathlib import Path

from ltbench.api import Method
from ltbench.errors import UserError, did_you_mean
from ltbench.fingerprints import collect, files_read_by, fingerprint_of, text_of
from ltbench.plugins import METHODS, Entry, Sources, entries, entry_of, in_use, read_sources, unpack_sources
from ltbench.plugins.folder import import_file, methods_in, only_class, package, package_of
from ltbench.registry.compose import JOIN, compose
from ltbench.registry.taken import refuse_taken_names

__all__ = ["Registry", "Sources", "fingerprint", "read_sources", "unpack_sources"]


class Registry:
    """All methods this process can run.

    Args:
        folder: a user's folder of methods, beside the built-in ones. Its files may import each other.

    Raises:
        UserError: no such folder, or a name that two places claim.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._builtin = _builtin_package()
        self._folder = None if folder is None else package_of(folder, "--methods")
        self._outside: dict[str, Entry] = {}
        self.own: list[str] = []
        """The methods of the user's folder."""
        self._origins: dict[str, str] = {}
        for origin, names in self._claims():
            for name in names:
                if name in self._origins:
                    raise UserError(f"method {name!r} is defined by {self._origins[name]} and by {origin}; rename one")
                self._origins[name] = origin
        refuse_taken_names()

    def _claims(self) -> Iterator[tuple[str, list[str]]]:
        yield "ltbench", list(methods_in(self.builtin_folder))
        if self._folder is not None:
            own = methods_in(Path(next(iter(self._folder.__path__))))
            self._outside |= {stem: entry_of(file, METHODS, "--methods") for stem, file in own.items()}
            self.own = list(own)
            yield f"the folder {next(iter(self._folder.__path__))}", self.own
        for name, entry in entries(METHODS).items():
            if not self._twice(name, entry):
                self._outside[name] = entry
                yield entry.origin, [name]

    def _twice(self, name: str, entry: Entry) -> bool:
        """Whether the very same file is in the folder of methods and in one of plugins."""
        return entry.file is not None and name in self._outside and self._outside[name].file == entry.file

    @property
    def builtin_folder(self) -> Path:
        """Where the methods that come with ltbench lie."""
        return Path(next(iter(self._builtin.__path__))).resolve()

    @property
    def template(self) -> str:
        """A method's file to start from."""
        return text_of(self.builtin_folder / "_template.py")

    def names(self) -> list[str]:
        """All method names, sorted. Imports nothing."""
        return sorted(self._origins)

    def origin(self, name: str) -> str:
        """Where a method comes from, in words."""
        return self._origins[name]

    def get(self, name: str) -> type[Method]:
        """The class of a method, or of several composed, their names joined by `+`.

        Raises:
            UserError: unknown name (with the nearest known one), a file that fails to import or defines no method,
                methods that cannot be composed.
        """
        if JOIN in name and name not in self._origins:
            composed = compose([self.get(part) for part in name.split(JOIN)])
            composed.name = name
            return composed
        if name not in self._origins:
            yours = "" if self._folder is not None or in_use() else " A method of your own: --methods FOLDER."
            raise UserError(f"unknown method {name!r}. {did_you_mean(name, self._origins)}{yours}")
        cls: type[Method]
        if name in self._outside:
            cls = self._outside[name].load(Method)
        else:
            module = import_file(f"{self._builtin.__name__}.{name}", METHODS)
            cls = only_class(module, Method, METHODS)
        if not (isinstance(cls, type) and issubclass(cls, Method)):
            raise UserError(f"entry point {name!r} of {METHODS} must name a subclass of ltbench.api.Method")
        cls.name = name
        return cls


def _builtin_package() -> types.ModuleType:
    """`ltbench.methods`: installed, or, in a checkout that is only on the path, the folder beside the package."""
    try:
        return importlib.import_module("ltbench.methods")
    except ModuleNotFoundError:
        return package("ltbench.methods", Path(__file__).parents[2] / "methods")


def fingerprint(cls: type[Method]) -> str:
    """Hash of the code that makes a method what it is: 12 hex digits, computed once per class.

    Covers the files of the class and of its bases, what these import from their folder and below it, and the files
    there that the code names, such as a table of weights. Of code the syntax trees without docstrings and comments, so
    that only a change of meaning changes it. `ltbench.api` and `ltbench.parts` are covered by `spec.NUMERICS`.
    """
    if cls not in _fingerprints:
        _fingerprints[cls] = _fingerprint(cls)
    return _fingerprints[cls]


_fingerprints: dict[type[Method], str] = {}


def _fingerprint(cls: type[Method]) -> str:
    code, read = dict[str, Path](), dict[str, Path]()
    for file in [Path(inspect.getfile(base)) for base in cls.__mro__ if base not in (Method, object)]:
        collect(file, code)
        read |= files_read_by(code.values(), file.parent)
    return fingerprint_of(code, read)
