"""What a user should know of a data set though nothing stops: sentences for `Facts.notes`."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from ltbench.errors import clipped


def some(names: Sequence[str], most: int = 4) -> str:
    """The first few of many names."""
    shown = ", ".join(clipped(name) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def plain(name: str) -> str:
    """A name as people see it: letters with accents in one Unicode form (NFC), no blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


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
