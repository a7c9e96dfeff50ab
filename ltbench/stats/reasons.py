"""Why a number is absent, and how many seeds it would take."""

from __future__ import annotations

from enum import StrEnum

MIN_SEEDS = 3
"""Fewest paired seeds for a p-value: with 2, a t test needs a difference of 9 standard deviations."""


NOISE = 1e-9
"""Spreads below this, in points, are float noise: scores have at most some four decimals that mean anything."""


class Reason(StrEnum):
    """Why there is no number."""

    too_few_seeds = "too_few_seeds"
    zero_variance = "zero_variance"
    identical = "identical"
    no_reference = "no_reference"
    incomplete = "incomplete"
    all_tied = "all_tied"
    too_few_datasets = "too_few_datasets"
    too_few_methods = "too_few_methods"
    too_many_methods = "too_many_methods"
    too_few_classes = "too_few_classes"
    too_few_discordant = "too_few_discordant"
    too_few_images = "too_few_images"
    before_first_look = "before_first_look"

    @property
    def words(self) -> str:
        """The reason as a sentence has it."""
        return _WORDS[self]


_WORDS = {
    Reason.too_few_seeds: f"too few seeds: a paired test needs at least {MIN_SEEDS} in common",
    Reason.zero_variance: "every seed gives the same difference, so there is no spread to test against",
    Reason.identical: "every seed gives the same value as the reference",
    Reason.no_reference: "the reference has no result here",
    Reason.all_tied: "all methods are tied on every data set",
    Reason.too_few_datasets: "too few data sets to tell",
    Reason.too_few_methods: "an omnibus test needs at least 3 methods",
    Reason.too_many_methods: "too many methods for it",
    Reason.too_few_classes: "too few classes for an interval over classes",
    Reason.too_few_discordant: "the two models disagree on too few images",
    Reason.too_few_images: "fewer than two test images",
    Reason.before_first_look: "not all trials of the first look have run",
    Reason.incomplete: "one of the two has no result on some data set",
}
