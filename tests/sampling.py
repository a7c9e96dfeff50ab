"""A family of tests of which a sample runs before every change, and all of them at night."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(name: str, values: Iterable[Any], always: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrizes `name`: the values in `always` run in `make test`, the others at night.

    Raises:
        ValueError: a value of `always` that is not among `values`: the sample would shrink unseen.
    """
    values, always = list(values), list(always)
    if lost := [value for value in always if value not in values]:
        raise ValueError(f"not among the values of {name}: {lost}")
    return pytest.mark.parametrize(
        name, [value if value in always else pytest.param(value, marks=pytest.mark.nightly) for value in values]
    )
