"""What code a method is: a hash of its files, which changes when, and only when, their meaning does."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from pathlib import Path

from ltbench.errors import UserError

_PACKAGE = Path(__file__).parent
"""`ltbench.api` and `ltbench.parts` lie here: they are covered by `spec.NUMERICS`."""


def text_of(file: Path) -> str:
    """A file's text.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from error


def collect(file: Path, files: dict[str, Path]) -> None:
    """Put `file` and, recursively, the files of the same folder that it imports into `files`, by their stems."""
    if file.stem in files or file.parent == _PACKAGE:
        return
    files[file.stem] = file
    for node in ast.walk(ast.parse(text_of(file))):
        modules: list[str] = []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module] if node.module else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            neighbour = file.parent / f"{module.rpartition('.')[2]}.py"
            if neighbour.exists():
                collect(neighbour, files)


def fingerprint_of(files: Mapping[str, Path]) -> str:
    """12 hex digits of the syntax trees of these files, without docstrings and comments."""
    whole = hashlib.sha256()
    for name in sorted(files):
        tree = ast.parse(text_of(files[name]))
        whole.update(f"{name}\0{_shape(tree)}\0".encode())
    return whole.hexdigest()[:12]


def fingerprint_of_file(file: Path) -> str:
    """The fingerprint of the method in a file whose bases lie in the same folder; nothing is imported."""
    files: dict[str, Path] = {}
    collect(file, files)
    return fingerprint_of(files)


def _shape(node: object) -> str:
    """A syntax tree as text, without positions and docstrings; the same on every supported version of Python
    (`ast.dump` is not)."""
    if isinstance(node, list):
        return "[" + ",".join(_shape(n) for n in node if not _is_docstring(n)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (f"{k}={_shape(v)}" for k, v in ast.iter_fields(node) if v is not None and v != [] and k != "kind")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_docstring(node: object) -> bool:
    """A text that stands alone: of a module, class or function, or under a field."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
