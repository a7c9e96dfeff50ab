"""What reports and sites are made of, in their figures' stead: tests of those are in tests/page/."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    pass
