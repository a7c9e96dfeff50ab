"""Names of backbones and data sets that come with ltbench or its libraries: plugins cannot have them."""

from __future__ import annotations

from importlib import import_module

from ltbench.data.sources.kinds import source_kinds
from ltbench.errors import UserError
from ltbench.models import BACKBONES as OWN
from ltbench.models.towers import NAMED
from ltbench.plugins import BACKBONES, DATASETS, entries


def refuse_taken_names() -> None:
    """Raise UserError where a folder of plugins has a backbone or a data set of a name that is taken."""
    for name, entry in entries(BACKBONES).items():
        if entry.file is None:  # of installed packages: ltbench's own come first, as always
            continue
        torchvision = import_module("ltbench.models.torchvision").names()
        by = "ltbench" if name in OWN or name in NAMED else "torchvision" if name in torchvision else None
        if by is not None:
            raise UserError(f"{entry.file}: {by} has a backbone {name!r} already; rename the file")
    if any(entry.file is not None for entry in entries(DATASETS).values()):
        source_kinds()  # loads them, and refuses a taken name
