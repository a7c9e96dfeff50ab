"""What the functions have in common: how a user of Python says which suite, which part of it, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltbench.errors import UserError
from ltbench.spec import Selection
from ltbench.system.extras import need

if TYPE_CHECKING:
    import pandas as pd

AnyPath = str | Path
AnyPaths = str | Path | Iterable[str | Path]
"""One place, or several."""
Names = str | Iterable[str] | None
"""One name, or several; None: all."""
AnySuite = str | Path | Mapping[str, Any]
"""A suite's file, the name of one that comes with ltbench, or its contents."""


def suite_of(suite: AnySuite | None, plugins: AnyPaths = ()) -> str | None:
    """Which suite's results are meant: its name, or its file, from which the name is read; None: the last used.

    Raises:
        UserError: a mapping that is no suite.
    """
    if isinstance(suite, Mapping):
        from ltbench.suite.load import load_suite

        return load_suite(suite, (), paths_of(plugins)).suite
    return None if suite is None else str(suite)


def path_of(place: AnyPath | None) -> Path | None:
    """A path, with `~` resolved."""
    return None if place is None else Path(place).expanduser()


def paths_of(places: AnyPaths) -> tuple[Path, ...]:
    """One path or several, with `~` resolved."""
    several = [places] if isinstance(places, str | Path) else places
    return tuple(Path(place).expanduser() for place in several)


def folder_of(place: AnyPath) -> Path:
    """A path that is always given."""
    return Path(place).expanduser()


def selection_of(only: Names = None, datasets: Names = None, seeds: int | Iterable[int] | None = None) -> Selection:
    """The part of a suite that is asked for.

    Raises:
        UserError: seeds that are not different whole numbers from 0 up.
    """
    given: list[Any] = [] if seeds is None else list(seeds) if isinstance(seeds, Iterable) else [seeds]
    for seed in given:
        if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
            raise UserError(f"seeds: expected different whole numbers from 0 up, got {seed!r}")
    numbers = None if seeds is None else [int(seed) for seed in given]
    if numbers is not None and (not numbers or len(set(numbers)) < len(numbers)):
        raise UserError(f"seeds: expected different whole numbers from 0 up, got {numbers}")
    return Selection(names_of(only), names_of(datasets), numbers)


def names_of(names: Names) -> list[str] | None:
    """One name or several as a list; None: all."""
    if names is None:
        return None
    return [names] if isinstance(names, str) else list(names)


def frame_of(lines: Any, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Lines, or columns by name, as a DataFrame.

    Raises:
        UserError: pandas is not installed.
    """
    need("a DataFrame", "frames")
    import pandas as pd

    return pd.DataFrame(lines, columns=None if columns is None else list(columns))


def table_html(frame: pd.DataFrame, caption: str) -> str:
    """A small table for a notebook: a caption, and the first rows."""
    return f"<p>{escape(caption)}</p>\n{frame.to_html(max_rows=20, max_cols=30)}"
