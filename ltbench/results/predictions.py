"""Predictions that were made elsewhere: a file with a label for every test image -> what each trained model said."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError, clipped, did_you_mean
from ltbench.spec.validation import is_name
from ltbench.system.arrays import read_npz

_NEEDED = ("method", "seed", "image", "label", "manifest")
_KNOWN = (*_NEEDED, "confidence")


class Predicted(NamedTuple):
    """What one trained model said of the test images.

    Attributes:
        label: (n,) the class of every test image, in the split's order.
        confidence: (n,) its probability, 0 to 1; None: not given.
        manifest: of the split that it was trained on.
    """

    method: str
    seed: int
    label: NDArray[np.int64]
    confidence: NDArray[np.float32] | None
    manifest: str


def read_predictions(file: Path) -> list[Predicted]:
    """What a file says, one entry per method and seed.

    `.csv`: the columns method, seed, image (row of the test set, from 0), label, manifest and, if you like, confidence;
    one line per image. `.npz`: `label` (n,) or, for R models, (R, n); `method`, `seed` and `manifest` one or R each;
    `confidence` as `label`, if you like.

    Raises:
        UserError: an unreadable file, a missing or unknown part, or a bad value, with its place.
    """
    if file.suffix.lower() == ".npz":
        found = _of_arrays(file)
    elif file.suffix.lower() == ".csv":
        found = _of_table(file)
    else:
        raise UserError(f"{file}: predictions are read from .csv or .npz")
    seen: set[tuple[str, int]] = set()
    for one in found:
        _check(file, one)
        if (one.method, one.seed) in seen:
            raise UserError(f"{file}: has {one.method} seed {one.seed} twice; keep one of the two")
        seen.add((one.method, one.seed))
    if not found:
        raise UserError(f"{file}: holds no predictions")
    return found


def _check(file: Path, one: Predicted) -> None:
    who = f"{file}: {clipped(one.method)} seed {one.seed}"
    if not is_name(one.method):
        raise UserError(f"{file}: {clipped(one.method)!r} is no usable name of a method; write letters, digits and "
                        f"_.+-, at most 80")  # fmt: skip
    if one.seed < 0:
        raise UserError(f"{who}: seeds count from 0 up")
    if one.confidence is not None and not ((one.confidence >= 0) & (one.confidence <= 1)).all():
        raise UserError(f"{who}: confidence must be a probability, from 0 to 1, for every image; leave it out where "
                        f"there is none")  # fmt: skip


def _of_arrays(file: Path) -> list[Predicted]:
    arrays = read_npz(file)
    _refuse_columns(file, list(arrays), ("method", "seed", "label", "manifest"))
    label = arrays["label"]
    if label.ndim not in (1, 2) or label.dtype.kind not in "iu":
        raise UserError(f"{file}: `label` is {label.dtype} of shape {label.shape}; whole numbers are needed, one for "
                        f"each test image, (n,), or (R, n) for R models")  # fmt: skip
    labels = np.atleast_2d(label).astype(np.int64)
    rows = len(labels)
    methods, seeds, manifests = (_one_each(file, name, arrays[name], rows) for name in ("method", "seed", "manifest"))
    confidence: list[Any] = [None] * rows
    if "confidence" in arrays:
        if arrays["confidence"].shape != label.shape or arrays["confidence"].dtype.kind != "f":
            raise UserError(
                f"{file}: `confidence` must have the shape of `label`, {label.shape}, as numbers from 0 to 1"
            )
        confidence = list(np.atleast_2d(arrays["confidence"]).astype(np.float32))
    return [
        Predicted(str(methods[i]), _seed(seeds[i], str(file)), labels[i], confidence[i], str(manifests[i]))
        for i in range(rows)
    ]


def _one_each(file: Path, name: str, given: NDArray[Any], rows: int) -> list[Any]:
    values: list[Any] = np.atleast_1d(given).tolist()
    if given.ndim > 1 or len(values) not in (1, rows):
        raise UserError(f"{file}: `{name}` has shape {given.shape}; one value, or one for each of {rows} models")
    return values * rows if len(values) == 1 else values


class _Table(NamedTuple):
    """A CSV. columns: name -> its texts. lines: where each row stands in the file."""

    columns: dict[str, list[str]]
    lines: list[int]


def _of_table(file: Path) -> list[Predicted]:
    table = _read_table(file)
    texts = table.columns
    seed, image, label = (_whole(file, table, name) for name in ("seed", "image", "label"))
    confidence = _confidence(file, table)
    models: dict[tuple[str, int], list[int]] = {}
    for row, model in enumerate(zip(texts["method"], seed.tolist(), strict=True)):
        models.setdefault(model, []).append(row)
    found = []
    for (method, number), listed in models.items():
        rows, who = np.array(listed), f"{file}: {clipped(method)} seed {number}"
        rows = rows[np.argsort(image[rows], kind="stable")]
        if not np.array_equal(image[rows], np.arange(len(rows))):
            raise UserError(f"{who}: `image` must be every row of the test set once, from 0; it has {len(rows)} lines "
                            f"and the rows {image[rows].min()} to {image[rows].max()}")  # fmt: skip
        manifests = sorted({texts["manifest"][row] for row in listed})
        if len(manifests) > 1:
            raise UserError(f"{who}: has {len(manifests)} manifests; one model is trained on one split")
        sure = None if confidence is None else confidence[rows]
        found.append(Predicted(method.strip(), number, label[rows], sure, manifests[0].strip()))
    return found


def _read_table(file: Path) -> _Table:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True, skipinitialspace=True)
            names = [name.strip() for name in next(reader, [])]
            _refuse_columns(file, names, _NEEDED)
            table = _Table({name: [] for name in names}, [])
            for row in filter(None, reader):  # an empty line is none
                if len(row) != len(names):
                    raise UserError(f"{file}, line {reader.line_num}: has not as many fields as the header")
                table.lines.append(reader.line_num)
                for name, text in zip(names, row, strict=True):
                    table.columns[name].append(text)
            return table
    except csv.Error as error:
        raise UserError(
            f"{file}, after line {reader.line_num}: is no CSV ({error}); close or double its quotes"
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as CSV in UTF-8 ({error})") from error


def _numbers(texts: Sequence[str]) -> NDArray[np.float64]:
    """NaN where a text is no number."""

    def number(text: str) -> float:
        try:
            return float("nan" if "_" in text else text)  # Python reads 1_000
        except ValueError:
            return float("nan")

    return np.array([number(text) for text in texts], np.float64)


def _whole(file: Path, table: _Table, name: str) -> NDArray[np.int64]:
    numbers = _numbers(table.columns[name])
    good = (numbers >= 0) & (numbers < 1 << 53)
    good[good] = numbers[good] % 1 == 0
    for row in np.flatnonzero(~good)[:1]:
        raise UserError(f"{file}, line {table.lines[row]}: {name} is {clipped(table.columns[name][row])!r}; expected a "
                        f"whole number from 0 up")  # fmt: skip
    return numbers.astype(np.int64)


def _confidence(file: Path, table: _Table) -> NDArray[np.float32] | None:
    texts = table.columns.get("confidence", [])
    if not any(text.strip() for text in texts):
        return None
    numbers = _numbers(texts)
    for row in np.flatnonzero(~np.isfinite(numbers))[:1]:
        raise UserError(f"{file}, line {table.lines[row]}: confidence is {clipped(texts[row])!r}; expected a number "
                        f"from 0 to 1")  # fmt: skip
    return numbers.astype(np.float32)


def _seed(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{where}: seed is {value!r}; expected a whole number")
    return value


def _refuse_columns(file: Path, names: list[str], needed: tuple[str, ...]) -> None:
    for name in names:
        if name not in _KNOWN:
            raise UserError(f"{file}: unknown column {clipped(name)!r}. {did_you_mean(name, _KNOWN)}")
    if missing := [name for name in needed if name not in names]:
        raise UserError(f"{file}: lacks {', '.join(missing)}; it needs {', '.join(needed)} and may have confidence")
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise UserError(f"{file}: has the column {twice[0]!r} twice; keep one of the two")
