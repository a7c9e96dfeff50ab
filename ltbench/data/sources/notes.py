"""What a user should know of a data set though nothing stops: sentences for `Facts.notes`."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ltbench.errors import clipped
from ltbench.system.arrays import rows_text

_MOST_FILES, _MOST_BYTES = 50_000, 1 << 30


def some(names: Sequence[str], most: int = 4) -> str:
    """The first few of many names."""
    shown = ", ".join(clipped(name) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def plain(name: str) -> str:
    """A name as people see it: letters with accents in one Unicode form (NFC), no blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


def same_images_note(root: Path, train: Sequence[str], test: Sequence[str]) -> list[str]:
    """Test images that are training images under another name: files of the same content. Where there are very many
    files, or much to read, it is not looked for."""
    if len(train) + len(test) > _MOST_FILES:
        return []
    by_size: dict[int, list[str]] = {}
    for name in train:
        by_size.setdefault(_size(root / name), []).append(name)
    suspect = {name: size for name in test if (size := _size(root / name)) >= 0 and size in by_size}
    alike = {other: size for size in set(suspect.values()) for other in by_size[size]}
    if sum(suspect.values()) + sum(alike.values()) > _MOST_BYTES:
        return []
    trained = {_content(root / name): name for name in alike}
    same = {name: trained[found] for name in suspect if (found := _content(root / name)) and found in trained}
    if not same:
        return []
    shown = some([f"{name} is {other}" for name, other in same.items()], 2)
    are = "are" if len(same) > 1 else "is"
    return [f"{len(same):,} of the test images {are} in the training list under another name ({shown}); what is "
            f"tested on must not be trained on"]  # fmt: skip


def same_rows_note(train: NDArray[Any], test: NDArray[Any]) -> list[str]:
    """Test vectors that are training vectors as well, number for number. Where there is very much to compare, it is not
    looked for."""
    if train.dtype != test.dtype or train.nbytes + test.nbytes > _MOST_BYTES:
        return []
    trained = {hash(row.tobytes()) for row in train}
    same = [i for i, row in enumerate(test) if hash(row.tobytes()) in trained]
    if not same:
        return []
    are = "are training vectors" if len(same) > 1 else "is a training vector"
    return [f"{len(same):,} of the test vectors {are} as well ({rows_text(same, len(test))}); what is tested on must "
            f"not be trained on"]  # fmt: skip


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except (OSError, ValueError):  # missing images are told where they are read
        return -1


def _content(file: Path) -> bytes:
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return b""


def alike_note(names: Sequence[str]) -> list[str]:
    """Classes of one name: what is made of names, such as prompts, is the same for them."""
    seen: dict[str, int] = {}
    for name in names:
        seen[plain(name)] = seen.get(plain(name), 0) + 1
    twice = [name for name, count in seen.items() if count > 1]
    if not twice:
        return []
    return [f"the class name{'s' * (len(twice) > 1)} {some(twice)} stand{'s' * (len(twice) == 1)} more than once; "
            f"vectors of class names cannot tell these classes apart"]  # fmt: skip


def untested_note(names: Sequence[str], test_counts: Sequence[int]) -> list[str]:
    """Classes without a test image: averages leave them out."""
    without = [name for name, count in zip(names, test_counts, strict=True) if not count]
    if not without:
        return []
    tested = len(names) - len(without)
    return [f"{len(without)} of {len(names)} classes without a test image ({some(without)}); averages over classes are "
            f"over {tested} of {len(names)} classes"]  # fmt: skip
