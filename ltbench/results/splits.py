"""A pinned subset as a file: which images of a data set train and test, for use in any other repository."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError
from ltbench.spec import Cell
from ltbench.spec.validation import CELL, check
from ltbench.system.arrays import read_npz
from ltbench.system.files import write_together

SCHEMA = 1
Index = NDArray[np.int64]
_ARRAYS = ("train_index", "train_labels", "test_labels")


@dataclass(frozen=True, eq=False)
class Split:
    """A long-tailed subset of a data set, and its test set.

    Attributes:
        cell: the data set, how it was made long-tailed, and the manifest.
        class_names: C names in label order.
        train_index: (N,) rows of the data set's training part, class by class in ascending label.
        train_labels: (N,) their labels. test_labels: (n,) of the test images, in the data set's order.
        train_files, test_files: the same images as paths from the data set's folder; empty where they are no files.
    """

    cell: Cell
    class_names: tuple[str, ...]
    train_index: Index
    train_labels: Index
    test_labels: Index
    train_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()

    @property
    def manifest(self) -> str:
        """Hash of the data set, how it is read, and the chosen images."""
        return self.cell.manifest

    @property
    def class_counts(self) -> list[int]:
        """Training images per class, in label order."""
        return [int(n) for n in np.bincount(self.train_labels, minlength=len(self.class_names))]

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        counts = self.class_counts
        span = f"{max(counts):,} to {min(counts):,} a class"
        return (f"{self.cell.label}: {sum(counts):,} training images ({span}), {len(self.test_labels):,} test images, "
                f"manifest {self.manifest}")  # fmt: skip

    def lines(self, part: str) -> list[str]:
        """`PATH LABEL` for every image of `train` or `test`, as list files of the field have it; `INDEX LABEL` where
        the images are no files."""
        labels = self.train_labels if part == "train" else self.test_labels
        files = self.train_files if part == "train" else self.test_files
        rows = self.train_index.tolist() if part == "train" else range(len(labels))
        return [f"{name} {label}" for name, label in zip(files or rows, labels.tolist(), strict=True)]


def write_split(split: Split, file: Path) -> list[Path]:
    """Write a split in the form that the file's ending asks for.

    `.json` and `.npz` hold all of it. `.txt` is the list form: FILE for training, FILE_test.txt for testing, and
    FILE.json beside them, because lists say nothing of the manifest.

    Returns:
        What was written, FILE first.

    Raises:
        UserError: another ending, or a file that cannot be written.
    """
    contents = _contents(split, file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_together(contents)
    except OSError as error:
        raise UserError(f"--out {file}: cannot be written ({error.strerror})") from error
    return list(contents)


def _contents(split: Split, file: Path) -> dict[Path, bytes]:
    ending = file.suffix.lower()
    if ending == ".json":
        return {file: _as_json(split)}
    if ending == ".npz":
        return {file: _as_npz(split)}
    if ending == ".txt":
        train, test = ("".join(f"{line}\n" for line in split.lines(part)).encode() for part in ("train", "test"))
        return {file: train, file.with_name(f"{file.stem}_test.txt"): test,
                file.with_suffix(".json"): _as_json(split)}  # fmt: skip
    raise UserError(f"--out {file}: a split is written as .json, .npz or .txt (lists of `path label` lines)")


def _as_json(split: Split) -> bytes:
    data = {
        "schema": SCHEMA,
        "manifest": split.manifest,
        "cell": asdict(split.cell),
        "class_names": list(split.class_names),
        "class_counts": split.class_counts,
        **{name: getattr(split, name).tolist() for name in _ARRAYS},
        **{name: list(getattr(split, name)) for name in ("train_files", "test_files") if getattr(split, name)},
    }
    return (json.dumps(data, allow_nan=False) + "\n").encode()


def _as_npz(split: Split) -> bytes:
    stream = io.BytesIO()
    arrays: dict[str, Any] = {
        "manifest": np.array(split.manifest),
        "cell": np.array(json.dumps(asdict(split.cell), allow_nan=False)),
        "class_names": np.array(split.class_names, dtype=str),
        "class_counts": np.array(split.class_counts),
        **{name: getattr(split, name) for name in _ARRAYS},
        **{name: np.array(getattr(split, name)) for name in ("train_files", "test_files") if getattr(split, name)},
    }
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def read_split(file: Path) -> Split:
    """Inverse of `write_split`, of its `.json` or `.npz`.

    Raises:
        UserError: no such file, or no split.
    """
    data = _arrays_of(file) if file.suffix.lower() == ".npz" else _json_of(file)
    try:
        check(data["cell"], CELL)
        split = Split(
            Cell(**data["cell"]),
            tuple(map(str, data["class_names"])),
            *(np.asarray(data[name], dtype=np.int64) for name in _ARRAYS),  # type: ignore[arg-type]
            *(tuple(map(str, data.get(name, ()))) for name in ("train_files", "test_files")),
        )
        _refuse_nonsense(split)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{file}: is no split ({error}); `ltbench split` writes one") from error
    return split


def _refuse_nonsense(split: Split) -> None:
    classes = len(split.class_names)
    for name in _ARRAYS:
        if getattr(split, name).ndim != 1 or not len(getattr(split, name)):
            raise ValueError(f"`{name}` is no list of numbers")
    for labels in (split.train_labels, split.test_labels):
        if not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(f"its labels are not between 0 and {classes - 1}")
    if len(split.train_index) != len(split.train_labels) or not split.manifest:
        raise ValueError("it has not as many training labels as images, or no manifest")


def _json_of(file: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        hint = "; of a split as lists, name the .json beside them" if file.suffix == ".txt" else ""
        raise UserError(f"{file}: is no split (no JSON){hint}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise UserError(f"{file}: is no split of this version of ltbench (no `schema: {SCHEMA}`)")
    return data


def _arrays_of(file: Path) -> Mapping[str, Any]:
    arrays = read_npz(file)
    try:
        return {**arrays, "cell": json.loads(str(arrays["cell"]))}
    except (KeyError, ValueError) as error:
        raise UserError(f"{file}: is no split ({error}); `ltbench split` writes one") from error
