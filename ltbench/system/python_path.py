"""Where Python looks for what is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def leave_out_working_folder() -> None:
    """For `python -m`, which puts the folder it is started in before everything else: a `random.py` or `numpy.py` of
    the user's there would be imported in the place of the library. Where ltbench itself is found in that folder, a
    checkout that is not installed, it stays."""
    here = os.getcwd()
    if sys.path and sys.path[0] in ("", here) and Path(here) != _PACKAGE.parent:
        del sys.path[0]
