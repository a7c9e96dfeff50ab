"""Names -> Method classes: the files of methods/, a folder given by the user, installed packages' entry points.

The file's name is the method's name. There is no list to edit: a file that appears is a method that exists.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ltbench.api import Method
from ltbench.errors import UserError, did_you_mean, place_of
from ltbench.fingerprints import collect, files_read_by, fingerprint_of, text_of
from ltbench.registry.compose import JOIN, compose
from ltbench.registry.sources import Sources, announce, checked_folder, read_sources, unpack_sources

__all__ = ["ENTRY_POINTS", "Registry", "Sources", "fingerprint", "read_sources", "unpack_sources"]
ENTRY_POINTS = "ltbench.methods"


class Registry:
    """All methods this process can run.

    Args:
        folder: a user's folder of methods, beside the built-in ones. Its files may import each other.

    Raises:
        UserError: no such folder, or a name that two places claim.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._builtin = _builtin_package()
        self._user = _user_package(folder) if folder is not None else None
        self._entry_points: dict[str, EntryPoint] = {e.name: e for e in entry_points(group=ENTRY_POINTS)}
        self._origins: dict[str, str] = {}
        for origin, names in self._claims():
            for name in names:
                if name in self._origins:
                    raise UserError(f"method {name!r} is defined by {self._origins[name]} and by {origin}; rename one")
                self._origins[name] = origin

    def _claims(self) -> Iterator[tuple[str, list[str]]]:
        yield "ltbench", _stems(self._builtin)
        if self._user is not None:
            yield f"the folder {next(iter(self._user.__path__))}", _stems(self._user)
        for name, entry in self._entry_points.items():
            yield f"the installed package of {entry.value!r}", [name]

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
            yours = "" if self._user is not None else " A method of your own: --methods FOLDER."
            raise UserError(f"unknown method {name!r}. {did_you_mean(name, self._origins)}{yours}")
        if name in self._entry_points:
            cls = self._load_entry_point(name)
        else:
            user = self._user is not None and name in _stems(self._user)
            cls = _method_in((self._user if user else self._builtin).__name__ + "." + name)  # type: ignore[union-attr]
        cls.name = name
        return cls

    def _load_entry_point(self, name: str) -> type[Method]:
        try:
            loaded = self._entry_points[name].load()
        except (Exception, SystemExit) as error:
            value = self._entry_points[name].value
            raise UserError(f"method {name!r}: its entry point {value!r} cannot be loaded: {error}") from error
        if not (isinstance(loaded, type) and issubclass(loaded, Method)):
            raise UserError(f"entry point {name!r} of {ENTRY_POINTS} must name a subclass of ltbench.api.Method")
        return loaded


def _builtin_package() -> types.ModuleType:
    """`ltbench.methods`: installed, or, in a checkout that is only on the path, the folder beside the package."""
    try:
        return importlib.import_module("ltbench.methods")
    except ModuleNotFoundError:
        return _package("ltbench.methods", Path(__file__).parents[2] / "methods")


def _user_package(folder: Path) -> types.ModuleType:
    folder = checked_folder(folder)
    announce(folder)
    name = "ltbench_user_" + hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # so that `import helper` works beside `from .helper import ...`
    return sys.modules.get(name) or _package(name, folder)


def _package(name: str, folder: Path) -> types.ModuleType:
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    return package


def _stems(package: types.ModuleType) -> list[str]:
    files = Path(next(iter(package.__path__))).glob("*.py")
    methods = sorted(f.stem for f in files if not f.stem.startswith("_") and _mentions_a_class(f))
    for stem in methods:
        if not stem.isidentifier():
            where = Path(next(iter(package.__path__))) / f"{stem}.py"
            raise UserError(f"{where}: a method's file is named like a Python name: letters, digits and '_'")
    return methods


def _mentions_a_class(file: Path) -> bool:
    """A file without a class is a helper of its neighbours, not a method."""
    return any(line.startswith("class ") for line in text_of(file).splitlines())


def _method_in(module_name: str) -> type[Method]:
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a method that ends the process would end it with nothing done
        file = importlib.util.find_spec(module_name)
        where = file.origin if file and file.origin else module_name
        line = place_of(error, [Path(where)])
        said = "it calls sys.exit, as argparse does" if isinstance(error, SystemExit) else ""
        said = said or f"{type(error).__name__}: {error}"
        raise UserError(f"{where}: the method could not be imported: {said}{line}") from error
    found = [
        c for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Method) and c.__module__ == module_name
    ]  # fmt: skip
    if len(found) != 1:
        raise UserError(
            f"{module.__file__}: a method's file defines exactly one subclass of Method, this one defines {len(found)}"
        )
    return found[0]


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
