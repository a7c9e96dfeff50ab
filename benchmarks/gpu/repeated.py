"""Are the numbers right? Recorded trials again, the same trial twice, a trial that was interrupted."""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.common import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ltbench.spec import Record


def verify(check: Check) -> None:
    """Recorded trials of the quickstart run again on this device: the same first loss, then the spread of seeds."""
    from ltbench.checks.verify import checks_text
    from ltbench.checks.verify import verify as run_again

    records = check.records()
    specs = [record.spec for record in records.values()]
    checks = run_again(records, specs, check.site(specs), "balanced_accuracy", check.trials, tell=lambda line: None)
    print(checks_text(checks, "balanced_accuracy", len(records)), flush=True)
    check.say(
        "verify",
        holds=sum(c.holds for c in checks),
        of=len(checks),
        failed=[c.words for c in checks if not c.holds],
        verdicts=[f"{c.then.spec.name}: {c.verdict.value}" for c in checks],
    )


def _numbers(record: Record) -> list[Any]:
    return [record.metrics, record.per_class, record.curves, record.environment.get("first_loss")]


def twice(check: Check) -> None:
    """The same trial twice on this device: equal to the bit?"""
    from ltbench.training.trial import run_trial

    for label in ("ce", "text_guided_mixup", "mixup"):
        for backbone, precision in (("cnn_small", "fp32"), ("resnet32", "fp32"), ("resnet32", "bf16")):
            spec = check.short(label=label, backbone=backbone, precision=precision)
            site = check.site([spec])
            began = time.perf_counter()
            a, b = run_trial(spec, site), run_trial(spec, site)
            check.say(
                "twice",
                method=label,
                backbone=backbone,
                precision=precision,
                same=_numbers(a) == _numbers(b),
                status=[a.status, b.status],
                error=(a.error or b.error or "")[-400:] or None,
                seconds=round(time.perf_counter() - began, 2),
                shares={
                    k: a.environment.get(k)
                    for k in ("data_share", "step_share", "evaluation_share", "images_per_second")
                },
            )


def _is_17th(asked: Iterator[int]) -> bool:
    return next(asked) == 17


def resume(check: Check) -> None:
    """Interrupted after some steps and taken up: the numbers of the uninterrupted trial?"""
    from ltbench.training.checkpoints.checkpoint import Stopped
    from ltbench.training.trial import run_trial

    for label in ("ce", "text_guided_mixup"):
        spec = check.short(label=label)
        site = check.site([spec])
        whole = run_trial(spec, site)
        place = Path(tempfile.mkdtemp(prefix="checkpoints"))
        there = replace(site, checkpoints=place, checkpoint_seconds=1e9)
        asked = count(1)
        with suppress(Stopped):
            run_trial(spec, there, stop=partial(_is_17th, asked))
        again = run_trial(spec, there)
        check.say(
            "resume",
            method=label,
            same=_numbers(whole) == _numbers(again),
            resumed=again.environment.get("resumed"),
            messages=again.environment.get("checkpoint_messages"),
            status=again.status,
        )
