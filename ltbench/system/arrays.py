"""Files of arrays that users bring (.npz, .npy): read without running code in them, refused with the cause."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltbench.errors import UserError

_LFS = b"version https://git-lfs"
_SHORTEST = 1e-17
"""A vector's length below which its squares vanish in float32."""
_PIECE = 1 << 16
"""Rows that are looked at together, so that a large array needs no second copy."""


def read_npz(file: Path, wanted: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name.

    Args:
        wanted: those that are read, if they are there; None: all.

    Raises:
        UserError: no file, not an .npz file, or a damaged one.
    """
    found = read_arrays(file, wanted)
    if isinstance(found, np.ndarray):
        raise UserError(f"{file}: is an .npy file, which holds one array; an .npz file with several named ones is "
                        f"needed (numpy.savez)")  # fmt: skip
    return found


def read_arrays(file: Path, wanted: Collection[str] | None = None) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name, or the one of an .npy file.

    Args:
        wanted: arrays of an .npz file that are read, if they are there; None: all.

    Raises:
        UserError: no file, neither of the two, or a damaged one.
    """
    name = ""
    try:
        with file.open("rb") as stream:
            _refuse_other(file, stream.read(len(_LFS)))
            stream.seek(0)
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            found = {}
            for name in loaded.files:
                if wanted is None or name in wanted:
                    found[name] = loaded[name]
            return found
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist") from error
    except MemoryError as error:
        raise UserError(f"{file}: does not fit into memory, or is damaged") from error
    except Exception as error:  # zipfile, zlib, lzma and numpy raise a dozen kinds for damaged files
        if "allow_pickle" in str(error):
            part = f"`{name}`" if name else "it"
            raise UserError(f"{file}: {part} holds Python objects, which cannot be read; save numbers, and names "
                            f"as text (numpy.array(names, dtype=str))") from error  # fmt: skip
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"{file} is not a readable .npz or .npy file: it is damaged or incomplete ({said}); copy or "
                        f"make it again") from error  # fmt: skip


def _refuse_other(file: Path, head: bytes) -> None:
    """numpy takes whatever has another beginning for a pickle, and advises to load it unsafely."""
    if head == _LFS:
        raise UserError(f"{file} is not a readable .npz or .npy file: it is a git-lfs pointer; fetch the file itself "
                        f"with `git lfs pull`")  # fmt: skip
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY")):
        raise UserError(f"{file} is not a readable .npz or .npy file; numpy.savez makes one")


def bad_rows(x: NDArray[Any]) -> list[int]:
    """The rows of a matrix that cannot be brought to unit length: zero, an entry that is not a finite number, or
    numbers so large or small that their squares are none."""
    found: list[int] = []
    for start in range(0, len(x), _PIECE):
        piece = np.asarray(x[start : start + _PIECE])
        with np.errstate(over="ignore"):
            length = np.linalg.norm(piece, axis=1)
        wrong = ~np.isfinite(length) | (length < _SHORTEST)
        found += (start + np.flatnonzero(wrong)).tolist()
    return found


def rows_text(rows: list[int], of: int) -> str:
    """`row 7 of 20 (counted from 0)`; of many rows, the first eight."""
    shown = ", ".join(map(str, rows[:8])) + (f" and {len(rows) - 8:,} more" if len(rows) > 8 else "")
    return f"row{'s' * (len(rows) > 1)} {shown} of {of:,} (counted from 0)"


def names_of(array: Any) -> tuple[str, ...]:
    """Class names from an array of text, of bytes in UTF-8 or of whole numbers, or from a list of texts.

    Raises:
        ValueError: another shape or kind, or an empty name; the message ends the sentence `class_names ...`.
    """
    if isinstance(array, Mapping | str):
        raise ValueError("is one text or a mapping; a list of names is needed")
    if isinstance(array, list):
        if wrong := [name for name in array if not isinstance(name, str | int) or isinstance(name, bool)]:
            raise ValueError(f"has {str(wrong[0])[:40]!r} among its names; each must be a text")
        array = np.array([str(name) for name in array])
    if array.ndim != 1:
        raise ValueError(f"has shape {array.shape}; one name for each class is needed, shape (C,)")
    if array.dtype.kind not in "USiu":
        raise ValueError(f"holds {array.dtype}; names as text are needed")
    try:
        names = tuple(name.decode("utf-8") if isinstance(name, bytes) else str(name) for name in array.tolist())
    except UnicodeDecodeError as error:
        raise ValueError("holds bytes that are not UTF-8; save the names as text") from error
    names = tuple(name.removeprefix("\ufeff") if i == 0 else name for i, name in enumerate(names))
    if empty := [i for i, name in enumerate(names) if not name.strip()]:
        raise ValueError(f"has no name for class {empty[0]}")
    return names
