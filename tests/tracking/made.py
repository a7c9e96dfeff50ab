"""What the tests of tracking share."""

from __future__ import annotations

from ltbench.tracking.delivery import Patience

PATIENT = Patience(first=0.02, longest=0.1, stall=120.0, failing=0.5, end=180.0)
"""For stores on this machine: tries again at once, gives up soon where there is none, and lets a store that takes
records have its time, however busy the machine is."""
