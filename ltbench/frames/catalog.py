"""`ltbench.methods`: what there is to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ltbench.errors import UserError
from ltbench.frames.words import AnyPath, AnyPaths, frame_of, path_of, paths_of
from ltbench.plugins import use
from ltbench.registry import Registry

if TYPE_CHECKING:
    import pandas as pd


def methods(name: str | None = None, *, methods: AnyPath | None = None, plugins: AnyPaths = ()) -> pd.DataFrame:
    """The methods there are, or the hyper-parameters of one.

    Args:
        name: a method; default: list all of them.
        methods: a folder with methods of your own, beside those that come with ltbench; their code is run.

        plugins: a folder with methods, backbones and data sets of your own, or several; their code is run.

    Returns:
        Without a name, one line per method, with the columns summary, paper, needs (a tuple), hyperparameters (a
        tuple), origin. With one, a line per hyper-parameter, with default, allowed, search and meaning.

    Raises:
        ltbench.errors.UserError: no such method or folder.

    Examples:
        >>> import ltbench
        >>> "mixup" in ltbench.methods().index
        True
        >>> float(ltbench.methods("mixup").loc["alpha", "default"])
        1.0
    """
    use(paths_of(plugins))
    registry = Registry(path_of(methods))
    if name is not None:
        found = registry.get(name).hyperparameters
        rows = [(h.domain, str(h.search or ""), h.meaning) for h in found.values()]
        frame = _indexed(rows, ["allowed", "search", "meaning"], "hyperparameter", list(found))
        defaults = np.array([h.default for h in found.values()], dtype=object)  # or a whole number becomes 3.0
        frame.insert(0, "default", defaults)
        return frame
    lines = []
    for each in registry.names():
        try:
            cls = registry.get(each)
            facts = (cls.summary(), cls.paper, tuple(sorted(cls.needs)), tuple(cls.hyperparameters))
        except UserError as error:  # a file that is broken hides no other
            facts = (f"BROKEN: {error}", "", (), ())
        lines.append((*facts, registry.origin(each)))
    columns = ["summary", "paper", "needs", "hyperparameters", "origin"]
    return _indexed(lines, columns, "method", registry.names())


def _indexed(lines: Sequence[Sequence[object]], columns: list[str], name: str, index: Sequence[str]) -> pd.DataFrame:
    frame = frame_of(lines, columns)
    frame.index = frame_of({name: list(index)}).set_index(name).index
    return frame
