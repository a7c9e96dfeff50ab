"""How the steps of a training are shared out to stages, and how the learning rate moves within one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from ltbench.api import Stage

SLACK = 1e-6
"""Positions are fractions of steps; this absorbs that 0.8 of 200 epochs is not exactly step 160 in binary."""


def share_out(stages: Iterator[Stage], total: int) -> Iterator[tuple[Stage, int]]:
    """Each stage with its number of steps; the shares must sum to 1, so that every method gets the same budget."""
    done = 0.0
    for stage in stages:
        share = 0.0 if stage.plain else stage.share
        begin, end = round(done * total), round((done + share) * total)
        done += share
        if end > total:
            break
        yield stage, end - begin
    if abs(done - 1.0) > 1e-6:
        raise ValueError(f"the stages' shares sum to {done:g}; they must sum to 1 so that all methods train as long")


def lr_at(schedule: Mapping[str, Any], stage: Stage, steps: int, step: int) -> float:
    """What the learning rate is multiplied by at a step of a stage of so many."""
    begin, end = stage.schedule
    return lr_factor(schedule, begin + (end - begin) * (step / steps))


def lr_factor(schedule: Mapping[str, Any], progress: float) -> float:
    """What the learning rate is multiplied by at a position 0 <= progress < 1 of the schedule.

    multistep: times gamma at each milestone passed. cosine: half a cosine down to `floor`. constant: 1. The warm-up
    comes first: linear, or in `warmup_stairs` equal steps (5 stairs over 5 of 200 epochs is LDAM-DRW's e/5 for epoch
    e = 1..5).
    """
    warmup, stairs = schedule["warmup"], schedule["warmup_stairs"]
    if progress < warmup:
        done = progress / warmup
        return float(min(stairs, math.floor(done * stairs + SLACK) + 1) / stairs if stairs else max(done, 1e-3))
    if schedule["name"] == "multistep":
        passed = sum(progress >= milestone - SLACK for milestone in schedule["milestones"])
        return float(schedule["gamma"] ** passed)
    if schedule["name"] == "cosine":
        floor = schedule["floor"]
        return float(floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))))
    return 1.0


def to_next_rate(schedule: LRScheduler) -> None:
    """Set the learning rate of the next step. Torch warns at the first one where a method did not update the weights,
    as one that adds up gradients over several steps; the schedule is right without."""
    if schedule.last_epoch > 0:
        schedule.step()
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        schedule.step()
