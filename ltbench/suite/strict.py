"""What every part of a suite is checked by."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """No unknown keys, no silent conversion of text to numbers, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
LARGEST = 1e9
"""Of numbers that others are multiplied or divided by: beyond every use, and far from what overflows."""
