"""A user's folder of code on its way to a worker that may not see that folder."""

from __future__ import annotations

import atexit
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ltbench.errors import UserError
from ltbench.fingerprints import bytes_of, collect, files_read_by, text_of
from ltbench.system.messages import say

Sources = Mapping[str, str | bytes]
"""Path from the folder -> text of a file of code, or bytes of a file that the code reads."""
_MOST_BYTES = 64 << 20
_ABOUT = re.compile(r"readme|licen[cs]e|requirements|changelog|notes|citation", re.IGNORECASE)
"""Files for people."""
_DATA = frozenset(
    {".csv", ".json", ".npy", ".npz", ".pkl", ".pt", ".pth", ".safetensors", ".tsv", ".txt", ".yaml", ".yml"}
)
_READS = re.compile(r"\b(open|load\w*|read_\w+|genfromtxt|fromfile|memmap)\(")
"""How code looks that reads files: of folders where nothing does, nothing is said."""


def checked_folder(folder: Path, said: str = "--methods") -> Path:
    """A folder of the user's code, in full.

    Args:
        said: how the user named it, for messages.

    Raises:
        UserError: it is none.
    """
    full = folder.expanduser().resolve()
    if full.is_file():
        raise UserError(f"{said} {folder}: is a file; name its folder, {said} {folder.parent}")
    if not full.is_dir():
        raise UserError(f"{said} {folder}: no such folder")
    return full


def read_sources(folder: Path, said: str = "--methods") -> Sources:
    """The Python files of a user's folder, what they import from below it, and the files there that they read.

    Args:
        said: how the user named the folder, for messages.

    Raises:
        UserError: no such folder, a file that cannot be read, or files too large to be sent with every trial.
    """
    root = checked_folder(folder, said)
    announce(root)
    files = sorted(root.glob("*.py"))
    code = _collected(files)
    sources: dict[str, str | bytes] = {file.name: text_of(file) for file in files}
    sources |= {f"{name}.py": text_of(file) for name, file in code.items()}
    read = files_read_by(code.values(), root)
    total = 0
    for name, file in read.items():
        total += file.stat().st_size
        if total > _MOST_BYTES:
            raise UserError(f"{file}: the files that the code of {root} reads have more than {_MOST_BYTES >> 20} MB, "
                            f"too much to be sent with every trial; give them by an absolute path")  # fmt: skip
        sources[name] = bytes_of(file)
    return sources


def unnamed_files(folder: Path) -> list[str]:
    """Files of data in a user's folder that no code there names, and that so are in no fingerprint and on no worker: by
    their paths from the folder.

    Raises:
        UserError: no such folder, or a file that cannot be read.
    """
    root = checked_folder(folder)
    code = _collected(sorted(root.glob("*.py")))
    named = files_read_by(code.values(), root)
    if not any(_reads_files(file) for file in code.values()):
        return []
    folders = [root, *sorted({file.parent for file in [*code.values(), *named.values()]} - {root})]
    found = [file for place in folders for file in sorted(place.iterdir()) if file.is_file()]
    data = [file for file in found if file.suffix.lower() in _DATA and not _ABOUT.match(file.name)]
    return [name for name in (file.relative_to(root).as_posix() for file in data) if name not in named]


def _reads_files(file: Path) -> bool:
    return _READS.search(text_of(file)) is not None


def _collected(files: Iterable[Path]) -> dict[str, Path]:
    """What `collect` finds from all of these files. One that is no Python is a matter of whoever imports it."""
    code = dict[str, Path]()
    for file in files:
        own = dict(code)
        with suppress(UserError):
            collect(file, own)
            code = own
    return code


def announce(folder: Path) -> None:
    """Before code from outside ltbench runs, say once which; on a worker, which got it from here, not again."""
    if folder not in _announced and folder not in map(Path.resolve, _unpacked.values()):
        _announced.add(folder)
        names = ", ".join(f.name for f in sorted(folder.glob("*.py")))
        say(f"code from outside ltbench will run: {folder}: {names or 'no files'}")


_announced: set[Path] = set()


def unpack_sources(sources: Sources) -> Path:
    """The inverse of `read_sources` on a worker: a private folder with the files, one per content and process."""
    content = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()
    if content not in _unpacked:
        folder = Path(tempfile.mkdtemp(prefix="ltbench-methods-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        write_sources(sources, folder)
        _unpacked[content] = folder
    return _unpacked[content]


_unpacked: dict[str, Path] = {}


def write_sources(sources: Sources, folder: Path) -> None:
    """Put the files into a folder. Raises OSError."""
    for name, held in sources.items():
        place = folder / _inside(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(held.encode("utf-8") if isinstance(held, str) else held)


def _inside(name: str) -> PurePosixPath:
    """A name from elsewhere leads out of no folder."""
    path = PurePosixPath(name)
    return PurePosixPath(path.name) if path.is_absolute() or ".." in path.parts else path
