"""What is wrong with folders of plugins, found before anything in them runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from ltbench.errors import UserError
from ltbench.plugins.folder import files_in, group_of, of_users


def refuse_broken(folders: Sequence[Path], said: str) -> None:
    """Look at every file of these folders, running none.

    Args:
        said: how the user named them, for messages.

    Raises:
        UserError: a folder that brings nothing, a file that is no Python, a name that is a module's, or that two of the
            folders have.
    """
    seen: dict[str, Path] = {}
    for folder in folders:
        if not any(group_of(file) for file in files_in(folder).values()):
            raise UserError(f"{said} {folder}: has no method, backbone or data set in it: a .py file with a class, or "
                            f"with a function `build`")  # fmt: skip
        for file in sorted(folder.glob("*.py")):
            if file.stem == "__init__":
                continue
            group_of(file)
            if file.stem in seen:
                raise UserError(f"two folders of plugins have a {file.name}: {seen[file.stem].parent} and {folder}; "
                                f"rename one")  # fmt: skip
            seen[file.stem] = file
            if (module := _module_named(file)) is not None:
                raise UserError(f"{file}: has the name of a module of Python's or of an installed package ({module}), "
                                f"so `import {file.stem}` means that one; rename the file")  # fmt: skip


def _module_named(file: Path) -> str | None:
    """Where another module with the name of a file lies; None: there is none."""
    if file.stem in sys.stdlib_module_names:
        return "Python's own"
    found = PathFinder.find_spec(file.stem, [place for place in sys.path if place not in of_users])
    if found is None or (found.origin is not None and Path(found.origin).resolve() == file.resolve()):
        return None
    places = [found.origin] if found.origin else list(found.submodule_search_locations or ())
    return next(iter(places), "loaded already")
