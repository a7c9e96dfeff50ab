"""What code a method is: a hash of its files, which changes when, and only when, their meaning does."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ltbench.errors import UserError

_PACKAGE = Path(__file__).parent
"""`ltbench.api` and `ltbench.parts` lie here: they are covered by `spec.NUMERICS`."""


def text_of(file: Path) -> str:
    """The text of a file of code, as Python reads it: a byte order mark is no part of it.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from error


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


def collect(file: Path, files: dict[str, Path], root: Path | None = None) -> None:
    """Put `file` and, recursively, the files of its folder and of packages below it that it imports into `files`, by
    their paths from the root without `.py`.

    Args:
        root: the folder of methods; None: that of `file`.
    """
    root = root or file.parent
    name = file.relative_to(root).with_suffix("").as_posix()
    if name in files or file.parent == _PACKAGE:
        return
    files[name] = file
    for node in ast.walk(parsed(file)):
        for found in _imported_by(node, file, root):
            collect(found, files, root)


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


def files_read_by(code: Iterable[Path], root: Path) -> dict[str, Path]:
    """The files beside files of code, or in folders beside them, whose names stand in the code as texts: by their paths
    from the root. Code is not among them, nor what lies outside the root."""
    found: dict[str, Path] = {}
    for file in code:
        constants = [node.value for node in ast.walk(parsed(file)) if isinstance(node, ast.Constant)]
        texts = {value for value in constants if isinstance(value, str) and _may_be_a_path(value)}
        folders = [file.parent, *(file.parent / text for text in texts if _is_there(file.parent / text, folder=True))]
        places = [folder / text for folder in folders for text in texts if _is_there(folder / text)]
        for place in places:
            if place.suffix != ".py" and place.resolve().is_relative_to(root.resolve()):
                found[place.resolve().relative_to(root.resolve()).as_posix()] = place
    return found


def _may_be_a_path(value: str) -> bool:
    return 0 < len(value) <= 200 and "\0" not in value and "\n" not in value


def _is_there(place: Path, *, folder: bool = False) -> bool:
    try:
        return place.is_dir() if folder else place.is_file()
    except (OSError, ValueError):
        return False


def fingerprint_of(files: Mapping[str, Path], read: Mapping[str, Path] | None = None) -> str:
    """12 hex digits of the syntax trees of these files, without docstrings and comments.

    Args:
        read: files that the code reads, with their contents.
    """
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{_shape(parsed(files[name]))}\0".encode())
    for name, file in sorted((read or {}).items()):
        whole.update(f"{name}\0{hashlib.sha256(bytes_of(file)).hexdigest()}\0".encode())
    return whole.hexdigest()[:12]


def fingerprint_of_files(methods: Iterable[Path]) -> str:
    """The fingerprint of the methods in files whose bases lie in the same folder, of one or of several composed;
    nothing is imported."""
    code, read = dict[str, Path](), dict[str, Path]()
    for file in methods:
        collect(file, code)
        read |= files_read_by(code.values(), file.parent)
    return fingerprint_of(code, read)


class Stated(NamedTuple):
    """What a method's file says of it: the first line of its class's docstring, its paper, whose code its defaults are
    from; empty where it says nothing."""

    summary: str
    paper: str
    defaults_from: str


def stated_in(file: Path) -> Stated:
    """What a method's file states, or, of paper and defaults, the method that it builds on. Nothing is imported: boards
    and reports are made without torch.

    Raises:
        UserError: the file is no Python.
    """
    tree, found, summary = parsed(file), dict[str, str](), ""
    for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        if not any("Module" in ast.unparse(base) for base in cls.bases):  # else it is a part of the network
            summary = (ast.get_docstring(cls) or "").partition("\n")[0]
            for node in cls.body:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                    found |= {ast.unparse(target): str(node.value.value) for target in node.targets}
    beside = (
        file.parent / f"{node.module}.py" for node in tree.body if isinstance(node, ast.ImportFrom) and node.level
    )
    for base in map(stated_in, filter(Path.is_file, beside)):
        found = {"paper": base.paper, "defaults_from": base.defaults_from} | found
    return Stated(summary, found.get("paper", ""), found.get("defaults_from", ""))


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
