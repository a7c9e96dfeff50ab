"""Why a number is absent, and how many seeds it would take."""

from __future__ import annotations

from enum import StrEnum

MIN_SEEDS = 3
"""Fewest paired seeds for a p-value: with 2, a t test needs a difference of 9 standard deviations."""


class Reason(StrEnum):
    too_few_seeds = "too_few_seeds"
    zero_variance = "zero_variance"
    identical = "identical"
    no_reference = "no_reference"

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    Reason.too_few_seeds: f"too few seeds: a paired test needs at least {MIN_SEEDS} in common",
    Reason.zero_variance: "every seed gives the same difference, so there is no spread to test against",
    Reason.identical: "every seed gives the same value as the reference",
    Reason.no_reference: "the reference has no result here",
}
