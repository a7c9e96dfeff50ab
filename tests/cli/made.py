"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable

from ltbench.spec import TrialSpec

Run = Callable[..., tuple[int, str, str]]
Make = Callable[..., TrialSpec]
