"""All targets of the fuzzer, and how many of the inputs each gets."""

from __future__ import annotations

from collections.abc import Sequence

from tests.fuzz import brought, stored
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    "suites": brought.suites,
    "scores": brought.scores,
    "features": brought.features,
    "lists": brought.lists,
    "bundles": brought.bundles,
    "checkpoints": brought.checkpoints,
    "records": stored.records,
    "plans": stored.plans,
    "tags": stored.tags,
    "locks": stored.locks,
    "ledgers": stored.ledgers,
}

WEIGHTS = {"suites": 0.5}
"""Where it is not 1: reading a suite takes ten times as long as reading the others."""


def share(names: Sequence[str], inputs: int) -> dict[str, int]:
    """By `WEIGHTS`; the rest goes to the first."""
    whole = sum(WEIGHTS.get(name, 1.0) for name in names)
    shares = {name: int(inputs * WEIGHTS.get(name, 1.0) / whole) for name in names}
    shares[names[0]] += inputs - sum(shares.values())
    return shares
