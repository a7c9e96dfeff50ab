"""Images named by list files, as the field's large data sets are: a line is `relative/path label`."""

from __future__ import annotations

import gzip
import hashlib
import posixpath
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ltbench.data.sources.files import MEAN, OPTIONS, STD, FileSource, check_files
from ltbench.data.sources.notes import plain, same_images_note, untested_note
from ltbench.data.sources.source import Facts
from ltbench.errors import UserError
from ltbench.spec import digest

_LINE_END = re.compile("\r\n|\r|\n")
"""Nothing else ends a line, as in files that other programs read: a name may hold U+2028 or U+0085."""
_MOST_CLASSES = 1 << 16
"""Predictions are kept as 16-bit labels."""


@dataclass(frozen=True)
class Listed:
    """What a list file says: image i is at paths[i], of class labels[i]."""

    file: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    blob: str = ""
    """git's id of the file, unpacked, byte for byte."""

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pairs in their order: path, NUL, label, newline each."""
        whole = hashlib.sha256()
        for path, label in zip(self.paths, self.labels.tolist(), strict=True):
            whole.update(f"{path}\0{label}\n".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()

    @cached_property
    def ids(self) -> frozenset[str]:
        """git's ids of the file as it is, and of the same rows as plain `path label` lines: so a list is known again
        with other line ends, without the last one, or with tabs."""
        rows = (f"{path} {label}\n" for path, label in zip(self.paths, self.labels.tolist(), strict=True))
        return frozenset({self.blob, git_id("".join(rows).encode("utf-8", "surrogateescape"))})


def git_id(content: bytes) -> str:
    """The id under which git keeps a file: SHA-1 of `blob SIZE`, NUL and its bytes, 40 hex digits."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def read_list(file: Path) -> Listed:
    """Read a list, gzipped where its name ends in .gz. Raises UserError naming the line that is none."""
    try:
        raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        lines = _LINE_END.split(raw.decode("utf-8-sig"))  # other systems begin a text with a byte order mark
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: is not a list file ({error})") from error
    paths, labels = list[str](), list[int]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(" ") if "\t" not in line else line.strip().rpartition("\t")
        if not path or "\0" in path or not label.isascii() or not label.isdigit() or len(label) > 6:
            raise UserError(
                f"{file}, line {number}: expected `relative/path label`, with a label from 0, got {line[:80]!r}"
            )
        path = path.strip()
        if path.startswith("/") or ".." in path.split("/"):
            raise UserError(
                f"{file}, line {number}: {path!r} leads out of the folder of images; names are relative to it, without "
                f"a / at their beginning"
            )
        paths.append(path)
        labels.append(int(label))
    if not paths:
        raise UserError(f"{file}: lists no images")
    return Listed(file, tuple(paths), np.array(labels, dtype=np.int64), git_id(raw))


class Lists(FileSource):
    """A data set of your own by two list files. Its identity is what they say; the images are taken to be the same
    wherever the lists are."""

    kind = "lists"
    summary = "images by list files: `relative/path label` a line in train.txt and test.txt (or .txt.gz)"
    options: ClassVar[Mapping[str, Any]] = {**OPTIONS, "size": 224}
    needs_path = True
    native = True
    path_is = "the folder that the names in the lists start from"
    places: ClassVar[Mapping[str, str]] = {
        "lists": "the folder with the list files; without it, that of the images",
        "train": "the file's name of the training list, train.txt by default",
        "test": "the file's name of the test list, test.txt by default",
        "class_names": "a file with a class name a line, in label order",
    }
    mean: ClassVar[tuple[float, ...]] = MEAN
    std: ClassVar[tuple[float, ...]] = STD

    def facts(self) -> Facts:
        """Class names and counts as the lists say. Raises UserError if they contradict each other."""
        return self._facts

    @cached_property
    def _facts(self) -> Facts:
        train, test = self.listed("train"), self.listed("test")
        num_classes = int(train.labels.max()) + 1
        counts = {p.file: np.bincount(p.labels, minlength=num_classes) for p in (train, test)}
        if len(counts[test.file]) > num_classes:
            raise UserError(
                f"{test.file}: has labels up to {int(test.labels.max())}, {train.file} up to {num_classes - 1}"
            )
        if num_classes < 2 or (counts[train.file] == 0).any():
            empty = np.flatnonzero(counts[train.file] == 0)[:8].tolist()
            raise UserError(f"{train.file}: labels must be 0 to C-1, at least 2, each with an image; it has "
                            f"{num_classes} of which {empty} have none")  # fmt: skip
        if num_classes > _MOST_CLASSES:
            raise UserError(
                f"{train.file}: has {num_classes:,} classes; at most {_MOST_CLASSES:,} can be kept in records"
            )
        _refuse_twice(train, test)
        self.verify(train, test)
        names = self._names_of_classes(num_classes)
        size = self.chosen["size"]
        return Facts(
            class_names=names or tuple(f"class_{c}" for c in range(num_classes)),
            train_counts=tuple(counts[train.file].tolist()),
            test_counts=tuple(counts[test.file].tolist()),
            fingerprint=f"lists-{digest([self.identity(train), self.identity(test)], 32)}",
            shape=(size, size, 3),
            streams=self.streams,
            named=names is not None,
            notes=(
                *untested_note(names or [f"class_{c}" for c in range(num_classes)], counts[test.file].tolist()),
                *self.same_images(train, test),
            ),
            mean=self.mean if self.streams else None,
            std=self.std if self.streams else None,
        )

    def verify(self, train: Listed, test: Listed) -> None:
        """Whether these are the lists that the name of the data set promises. Raises UserError."""

    def same_images(self, train: Listed, test: Listed) -> list[str]:
        """What is to be told of test images that are training images under another name."""
        return same_images_note(self.root, train.paths, test.paths)

    def identity(self, listed: Listed) -> str:
        """What stands for a list in the data set's fingerprint."""
        return listed.digest

    def class_names(self, train: Listed, test: Listed) -> Sequence[str] | None:
        """The names as far as the lists tell; None: they do not. Here: the folders, where each class has its own."""
        folders = [path.rpartition("/")[0] for path in train.paths]
        last = [folder.rpartition("/")[2] for folder in folders]
        pairs = {(label, name) for label, name in zip(train.labels.tolist(), last, strict=True)}
        names = [name for _, name in sorted(pairs)]
        one_each = len(pairs) == int(train.labels.max()) + 1 and len(set(names)) == len(names)
        return names if one_each and all(any(c.isalpha() for c in name) for name in names) else None

    def names(self, part: str) -> tuple[str, ...]:
        """The files of a part, in the order of its list."""
        return self.listed(part).paths

    def labels(self, part: str) -> NDArray[np.int64]:
        """The label of each file, (N,), as its list says."""
        return self.listed(part).labels

    def content(self) -> str:
        """The fingerprint, and what the files' own contents add to it."""
        return self._content

    @cached_property
    def _content(self) -> str:
        fingerprint = self.facts().fingerprint
        remembered = self.data / "packed" / f"files-{digest([str(self.root.absolute()), fingerprint])}.json"
        names = [name for part in ("train", "test") for name in self.names(part)]
        return f"{fingerprint}-{check_files(self.root, names, remembered)}"

    @property
    def root(self) -> Path:
        """The folder that the names in the lists start from."""
        return self.path if self.path is not None else self.data / self.kind

    @property
    def lists(self) -> Path:
        """The folder with the list files."""
        return Path(self.beside["lists"]).expanduser() if "lists" in self.beside else self.root

    def file_names(self, part: str) -> Sequence[str]:
        """What the list of a part may be called."""
        name = str(self.beside.get(part, f"{part}.txt"))
        return (name, f"{name}.gz")

    def listed(self, part: str) -> Listed:
        """The list of a part, read once."""
        if part not in self._read:
            self._read[part] = self.parsed(self.find(part))
        return self._read[part]

    def parsed(self, file: Path) -> Listed:
        """What a list's file says."""
        return read_list(file)

    @cached_property
    def _read(self) -> dict[str, Listed]:
        return {}

    def find(self, part: str) -> Path:
        """The file of a part's list. Raises UserError if there is none."""
        names = self.file_names(part)
        for name in names:
            if (self.lists / name).is_file():
                return self.lists / name
        where = "" if "lists" in self.beside else "; `lists:` names another folder for them"
        if self.path is None:
            where += ", `path:` the folder of the images (--set datasets.0.path=IMAGES --set datasets.0.lists=LISTS)"
        raise UserError(f"{self.kind}: there is no {' or '.join(names)} in {self.lists}{where}")

    def _names_of_classes(self, num_classes: int) -> tuple[str, ...] | None:
        if "class_names" not in self.beside:
            found = self.class_names(self.listed("train"), self.listed("test"))
            return None if found is None else tuple(found)
        file = Path(self.beside["class_names"]).expanduser()
        try:
            lines = [line.strip() for line in _LINE_END.split(file.read_text(encoding="utf-8-sig"))]
        except (OSError, ValueError) as error:
            raise UserError(f"{self.kind}: class_names: {file} cannot be read ({error})") from error
        names = tuple(line for line in lines if line)
        different = len(set(map(plain, names)))
        if len(names) != num_classes or different != num_classes:
            raise UserError(
                f"{self.kind}: class_names: {file} has {len(names)} names, {different} of them different; one a "
                f"line for each of {num_classes} classes is needed, in label order"
            )
        return names


def _refuse_twice(train: Listed, test: Listed) -> None:
    """An image must not be listed twice, least of all for training and for testing. `./a.jpg` and `a.jpg` are one."""
    seen = set(map(posixpath.normpath, train.paths))
    if both := [path for path in test.paths if posixpath.normpath(path) in seen]:
        raise UserError(f"{test.file}: {len(both):,} of its images are in {train.file} as well, such as {both[0]}; "
                        f"what is tested on must not be trained on")  # fmt: skip
    for listed in (train, test):
        paths = [posixpath.normpath(path) for path in listed.paths]
        if len(set(paths)) < len(paths):
            once = set[str]()
            twice = next(path for path in paths if path in once or once.add(path))  # type: ignore[func-returns-value]
            raise UserError(f"{listed.file}: lists {twice} twice")
