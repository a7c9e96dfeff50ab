"""The code that makes a method what it is: its file, what that imports from its folder, the files it reads there."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path

from ltbench.api import Method
from ltbench.errors import UserError

_LTBENCH = Path(__file__).parents[1]


def text_of(file: Path) -> str:
    """A file of Python code, as Python reads it: a byte order mark is no part of it.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from error


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
    for base in cls.__mro__:
        file = Path(inspect.getfile(base)) if base not in (Method, object) else None
        if file is not None:
            collect(file, file.parent, code)
            for used in code.values():
                read |= files_read_by(used, file.parent)
    whole = hashlib.sha256()
    for name in sorted(code):
        whole.update(f"{name}\0{_shape(parsed(code[name]))}\0".encode())
    for name in sorted(read):
        whole.update(f"{name}\0{hashlib.sha256(bytes_of(read[name])).hexdigest()}\0".encode())
    return whole.hexdigest()[:12]


def parsed(file: Path) -> ast.Module:
    """Its syntax tree.

    Raises:
        UserError: it is no Python.
    """
    try:
        return ast.parse(text_of(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise UserError(f"{file}{f', line {line}' if line else ''}: is no Python code: {error}") from error


def bytes_of(file: Path) -> bytes:
    """What a file holds.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error


def collect(file: Path, root: Path, code: dict[str, Path]) -> None:
    """`file` and, recursively, the files of its folder and of packages below `root` that it imports: into `code`, by
    their path from the root without `.py`."""
    name = file.relative_to(root).with_suffix("").as_posix() if file.is_relative_to(root) else file.stem
    if name in code or file.parent == _LTBENCH:
        return
    code[name] = file
    for node in ast.walk(parsed(file)):
        for found in _imported_by(node, file, root):
            collect(found, root, code)


def _imported_by(node: ast.AST, file: Path, root: Path) -> Iterator[Path]:
    if isinstance(node, ast.ImportFrom):
        names = [alias.name for alias in node.names]
        base = root if not node.level else file.parents[node.level - 1]
        dotted = [f"{node.module}.{name}" if node.module else name for name in names]
        last = [node.module] if node.module else names
    elif isinstance(node, ast.Import):
        base, last = root, [alias.name for alias in node.names]
        dotted = last
    else:
        return
    for module in last:  # of the same folder, in whichever way it is spelled
        neighbour = file.parent / f"{module.rpartition('.')[2]}.py"
        if neighbour.exists():
            yield neighbour
    for module in dotted:
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            place = base.joinpath(*parts[:length])
            if place.parent != root or place.is_dir():  # what lies in the root itself is found above
                yield from (p for p in (place / "__init__.py", place.with_name(f"{place.name}.py"))
                            if p.is_file() and p.is_relative_to(root))  # fmt: skip


def files_read_by(file: Path, root: Path) -> dict[str, Path]:
    """The files beside a file of code, or in folders beside it, whose names stand in it as texts: by their path from
    the root. Code is not among them."""
    constants = [node.value for node in ast.walk(parsed(file)) if isinstance(node, ast.Constant)]
    texts = {value for value in constants if isinstance(value, str) and _may_be_a_path(value)}
    folders = [file.parent, *(file.parent / text for text in texts if _is_there(file.parent / text, folder=True))]
    found: dict[str, Path] = {}
    for folder in folders:
        for text in texts:
            place = folder / text
            if _is_there(place) and place.suffix != ".py" and place.resolve().is_relative_to(root.resolve()):
                found[place.resolve().relative_to(root.resolve()).as_posix()] = place
    return found


def _may_be_a_path(value: str) -> bool:
    return 0 < len(value) <= 200 and "\0" not in value and "\n" not in value


def _is_there(place: Path, *, folder: bool = False) -> bool:
    try:
        return place.is_dir() if folder else place.is_file()
    except (OSError, ValueError):
        return False


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
