"""A user's folder of code: which of its files is a method, which a backbone, which a data set, and how one is loaded.

What a file is can be seen without running it: one that defines a function `build` is a backbone, one with a class that
states a `kind` is a data set, any other with a class is a method. The file's name is the name that suites use.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

from ltbench.errors import UserError, place_of
from ltbench.fingerprints import parsed, text_of
from ltbench.plugins.sources import announce, checked_folder

METHODS, BACKBONES, DATASETS = "ltbench.methods", "ltbench.backbones", "ltbench.datasets"
"""The groups of entry points that installed packages use."""
NOUNS = {METHODS: "method", BACKBONES: "backbone", DATASETS: "data set"}
BUILD = "build"
"""The function that makes a backbone."""


def package_of(folder: Path, said: str) -> types.ModuleType:
    """A user's folder as a package, so that its files may import each other. Imports none of them.

    Args:
        said: how the user named the folder, for messages: `--methods`.

    Raises:
        UserError: there is no such folder.
    """
    folder = checked_folder(folder, said)
    announce(folder)
    name = "ltbench_user_" + hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # so that `import helper` works beside `from .helper import ...`
        of_users.add(str(folder))
    return sys.modules.get(name) or package(name, folder)


of_users: set[str] = set()
"""The places on Python's path that are users' folders of code."""


def forget(folder: Path) -> None:
    """Take a folder off Python's path, with what was imported from it by bare names: another folder may have files of
    the same names."""
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    inside = os.path.join(folder, "")
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and str(file).startswith(inside) and not name.startswith("ltbench_user_"):
            del sys.modules[name]


def package(name: str, folder: Path) -> types.ModuleType:
    """A package that is a folder, whatever lies in it."""
    made = types.ModuleType(name)
    made.__path__ = [str(folder)]
    sys.modules[name] = made
    return made


def files_in(folder: Path) -> dict[str, Path]:
    """The files of a folder that may be more than a helper of others, by their names without `.py`. A name that begins
    with `_` is a helper's."""
    return {file.stem: file for file in sorted(folder.glob("*.py")) if not file.stem.startswith("_")}


def methods_in(folder: Path) -> dict[str, Path]:
    """The files of a folder of methods: those with a class.

    Raises:
        UserError: one whose name cannot be imported.
    """
    found = {stem: file for stem, file in files_in(folder).items() if _mentions_a_class(file)}
    for stem, file in found.items():
        refuse_bad_name(stem, file, METHODS)
    return found


def refuse_bad_name(stem: str, file: Path, group: str) -> None:
    """Raise UserError for a file that Python cannot import."""
    if not stem.isidentifier():
        raise UserError(f"{file}: a {NOUNS[group]}'s file is named like a Python name: letters, digits and '_'")


def _mentions_a_class(file: Path) -> bool:
    """A file without a class is a helper of its neighbours, not a method. A file that is no Python is listed, too, and
    says so when it is asked for."""
    return any(line.startswith("class ") for line in text_of(file).splitlines())


def group_of(file: Path) -> str | None:
    """What a file brings: the group that an installed package would name it in; None for a helper of others.

    Raises:
        UserError: it is no Python.
    """
    tree = parsed(file)
    if any(isinstance(node, ast.FunctionDef) and node.name == BUILD for node in tree.body):
        return BACKBONES
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    if any(_states_a_kind(node) for node in classes):
        return DATASETS
    return METHODS if classes else None


def _states_a_kind(node: ast.ClassDef) -> bool:
    targets: list[ast.expr] = []
    for line in node.body:
        targets += line.targets if isinstance(line, ast.Assign) else []
        targets += [line.target] if isinstance(line, ast.AnnAssign) and line.value is not None else []
    return any(isinstance(target, ast.Name) and target.id == "kind" for target in targets)


def import_file(module_name: str, group: str) -> types.ModuleType:
    """Import a file of a package.

    Raises:
        UserError: it fails, in whichever way, with the line.
    """
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a file that ends the process would end it with nothing done
        found = importlib.util.find_spec(module_name)
        where = found.origin if found and found.origin else module_name
        line = place_of(error, [Path(where)])
        said = "it calls sys.exit, as argparse does" if isinstance(error, SystemExit) else ""
        said = said or f"{type(error).__name__}: {error}"
        raise UserError(f"{where}: the {NOUNS[group]} could not be imported: {said}{line}") from error


def only_class(module: types.ModuleType, base: type, group: str) -> Any:
    """The one subclass of `base` that a file defines. Raises UserError for none or several."""
    found = [
        c for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, base) and c.__module__ == module.__name__
    ]  # fmt: skip
    if len(found) != 1:
        raise UserError(f"{module.__file__}: a {NOUNS[group]}'s file defines exactly one subclass of {base.__name__}, "
                        f"this one defines {len(found)}")  # fmt: skip
    return found[0]
