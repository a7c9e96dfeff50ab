"""What lies in a folder of images: which files are images, what is left out, and what the files hold."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ltbench.data.sources.notes import plain, some
from ltbench.errors import UserError, harmless
from ltbench.system.files import write_atomically

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})
HASH_LIMIT = 4 << 30
"""Above this many bytes the fingerprint covers names and sizes only: hashing contents would take minutes."""
_OF_SYSTEMS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "lost+found"})
"""What systems leave among a user's files, beside names that begin with a dot; in small letters."""


class Listing(NamedTuple):
    """The files of a class folder: images, and what is not read though it may have been meant to be."""

    images: list[Path]
    no_files: list[Path]
    """Links to nothing, pipes, sockets."""
    other_endings: list[Path]
    nested: list[Path]
    """Images in sub-folders."""


class Contents(NamedTuple):
    """What a data set's files hold."""

    fingerprint: str
    in_both: tuple[str, ...]
    """The test images that are identical to a training image, by their names from the root."""


def is_of_system(name: str) -> bool:
    """Neither an image nor a class, but left by an operating system, or hidden."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def list_images(folder: Path) -> Listing:
    """The images of a class folder, sorted by name, and what is left out of it."""
    found = Listing([], [], [], [])
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        file = folder / entry.name
        if is_of_system(entry.name):
            continue
        if entry.is_dir():
            found.nested.extend(_images_below(file))
        elif not entry.is_file():
            found.no_files.append(file)
        elif file.suffix.lower() in EXTENSIONS:
            found.images.append(file)
        else:
            found.other_endings.append(file)
    return found


def _images_below(folder: Path) -> Iterable[Path]:
    for above, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_of_system(name)]
        yield from (
            Path(above, n) for n in sorted(names) if not is_of_system(n) and Path(n).suffix.lower() in EXTENSIONS
        )


def left_out_notes(root: Path, listings: Mapping[str, Mapping[str, Listing]]) -> list[str]:
    """Sentences with the number and the first names of what is not read.

    Args:
        listings: part -> class -> its files.
    """
    everything = [listing for classes in listings.values() for listing in classes.values()]
    absent, others, nested = (
        [file for listing in everything for file in getattr(listing, what)]
        for what in ("no_files", "other_endings", "nested")
    )
    notes = []
    for what, files in (("broken link", [f for f in absent if f.is_symlink()]),
                        ("pipe or socket", [f for f in absent if not f.is_symlink()])):  # fmt: skip
        if files:
            notes.append(f"{_counted(files, what)} ({_names(root, files)}) left out; repair or remove them")
    if others:
        endings = Counter(file.suffix.lower() or "none" for file in others)
        told = ", ".join(f"{harmless(ending, lines=False)}: {count:,}" for ending, count in endings.most_common(6))
        notes.append(f"{_counted(others, 'file')} left out for their ending ({told}), such as "
                     f"{_names(root, others, 2)}; images end in {', '.join(sorted(EXTENSIONS))}")  # fmt: skip
    if nested:
        notes.append(f"{_counted(nested, 'image')} in sub-folders ({_names(root, nested, 2)}) left out; images lie "
                     f"directly in the folder of their class")  # fmt: skip
    return notes


def hidden_notes(folders: Sequence[Path]) -> list[str]:
    """A sentence about folders beside the classes whose names begin with a dot and that hold images: `.net` may be a
    class.

    Args:
        folders: train/ and test/.
    """
    hidden = [
        f"{folder.name}/{entry.name}"
        for folder in folders
        for entry in sorted(os.scandir(folder), key=lambda e: e.name)
        if entry.name.startswith(".") and entry.is_dir() and any(_images_below(folder / entry.name))
    ]
    if not hidden:
        return []
    what = "a folder with images is" if len(hidden) == 1 else f"{len(hidden)} folders with images are"
    return [f"{what} left out for the dot at the beginning of the name ({some(hidden)}); rename what is a class"]


def _counted(files: Sequence[Path], what: str) -> str:
    return f"{len(files):,} {what.replace(' or ', 's or ') + 's' if len(files) > 1 else what}"


def _names(root: Path, files: Sequence[Path], most: int = 4) -> str:
    return some([file.relative_to(root).as_posix() for file in files], most)


def refuse_not_utf8(files: Collection[Path]) -> None:
    """Names are kept in records and caches, as text.

    Raises:
        UserError: a file or folder whose name is not UTF-8.
    """
    for file in files:
        try:
            file.name.encode("utf-8")
        except UnicodeEncodeError as error:
            shown = harmless(file.name, lines=False)
            raise UserError(f"{file.parent}: the name '{shown}' is not UTF-8; rename it, for example "
                            f"with `convmv -f latin1 -t utf8 -r --notest`") from error  # fmt: skip


def refuse_alike(root: Path, train: Collection[str], test: Collection[str]) -> None:
    """Names that look equal are not told apart by people.

    Raises:
        UserError: two class folders differ only in their Unicode form, or in blanks around the name.
    """
    by_form: dict[str, set[str]] = {}
    for name in (*train, *test):
        by_form.setdefault(plain(name), set()).add(name)
    for form, names in by_form.items():
        if len(names) > 1:
            spelled = " and ".join(repr(name.encode("unicode_escape").decode()) for name in sorted(names))
            blanks = any(name != name.strip() for name in names)
            how, cure = ("with blanks around its name and without", "without blanks") if blanks else (
                "in two Unicode forms", "composed letters (NFC) for example")  # fmt: skip
            raise UserError(f"{root}: class {form!r} is there {how} ({spelled}), which look equal; rename its folders "
                            f"to one, {cure}")  # fmt: skip


def contents_of(root: Path, files: Mapping[str, Sequence[Path]], packed: Path) -> Contents:
    """A hash of names, sizes and contents, and which test images are identical to training images.

    Args:
        files: those of `train` and of `test`, in order.
        packed: the folder where what was found is remembered, by the files' marks.

    Raises:
        UserError: a file that cannot be read.
    """
    stats = {file: file.stat() for part in files.values() for file in part}
    names = {file: file.relative_to(root).as_posix() for file in stats}
    # Inode and ctime as well: a file replaced by one of equal size and time is another file.
    marks = [[names[f], s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for f, s in stats.items()]
    listing = json.dumps([str(root.resolve()), marks])
    remembered = packed / f"folder-contents-{hashlib.sha256(listing.encode()).hexdigest()[:24]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        before = json.loads(remembered.read_text(encoding="utf-8"))
        return Contents(str(before["fingerprint"]), tuple(map(str, before["in_both"])))
    whole, content = hashlib.sha256(), dict[Path, object]()
    by_content = sum(s.st_size for s in stats.values()) <= HASH_LIMIT
    for file, stat in stats.items():
        whole.update(f"{names[file]}\0{stat.st_size}\0".encode())
        content[file] = (stat.st_dev, stat.st_ino)  # of a link, that of what it leads to
        if by_content:
            content[file] = digest = hashlib.sha256(_read_bytes(file)).digest()
            whole.update(digest)
    trained = {content[file] for file in files["train"]}
    in_both = tuple(names[file] for file in files["test"] if content[file] in trained)
    found = Contents(f"folder-{'contents' if by_content else 'sizes'}-{whole.hexdigest()}", in_both)
    with suppress(OSError):  # a cache that cannot be written only means hashing again
        packed.mkdir(parents=True, exist_ok=True)
        write_atomically(remembered, json.dumps(found._asdict()).encode())
    return found


def _read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
