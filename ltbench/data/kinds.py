"""The kinds of data set there are, by the name a suite uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltbench.data.cifar import Cifar10, Cifar100
from ltbench.data.digits import Digits
from ltbench.data.features import Features
from ltbench.data.folder import Folder
from ltbench.data.source import Source
from ltbench.errors import UserError, did_you_mean


def source_kinds() -> dict[str, type[Source]]:
    """All kinds of data set, by the name a suite uses."""
    return {cls.kind: cls for cls in (Digits, Cifar10, Cifar100, Folder, Features)}


def open_source(kind: str, data: Path, path: str | None = None, options: Mapping[str, Any] | None = None) -> Source:
    """The source of a kind, with its images under `data` (or, for kinds that need one, at `path`).

    Raises:
        UserError: unknown kind or option, or a path that is missing or not wanted.
    """
    kinds = source_kinds()
    if kind not in kinds:
        raise UserError(f"unknown data set {kind!r}. {did_you_mean(kind, kinds)}")
    cls = kinds[kind]
    options = dict(options or {})
    for name in options:
        if name not in cls.options:
            raise UserError(f"data set {kind!r} has no option {name!r}. {did_you_mean(name, cls.options)}")
    if cls.needs_path and path is None:
        raise UserError(f"data set {kind!r} needs `path:`, {cls.path_is}")
    if not cls.needs_path and path is not None:
        raise UserError(f"data set {kind!r} takes no `path:`; its images live under the data folder (--data)")
    return cls(data, Path(path).expanduser() if path else None, **options)
