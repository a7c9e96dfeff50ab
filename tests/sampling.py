"""A family of tests of which a sample runs before every change, and all of them at night."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(names: str, values: Iterable[Any], always: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrizes a test: the values in `always` run in `make test`, the others at night.

    Args:
        names: of the parameters, with commas between them; for more than one, each value is a tuple.

    Raises:
        ValueError: a value of `always` that is not among `values`: the sample would shrink unseen.
    """
    values, always = list(values), list(always)
    if lost := [value for value in always if value not in values]:
        raise ValueError(f"not among the values of {names}: {lost}")
    several = "," in names
    return pytest.mark.parametrize(
        names,
        [
            pytest.param(*(value if several else (value,)), marks=() if value in always else pytest.mark.nightly)
            for value in values
        ],
    )
