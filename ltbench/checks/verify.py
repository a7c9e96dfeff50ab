"""Do records hold? Some of their trials run again here, and are compared with what was recorded.

The same code, data and seed give the same numbers to the bit where arithmetic rounds the same. Elsewhere (another kind
of processor, a GPU, another torch) the loss of the very first step still agrees, to 3e-6 with two threads and to 5e-4
in bf16 (small CNN on digits, ResNet-32 on CIFAR-10), while other seeds move it by 10 % (median of 100 pairs in the
quickstart; none is within 0.2 %). It follows from the images, the initial weights, the first batch and its
augmentation, and the method's own mixing and loss. After that, rounding grows, for a ResNet-32 to what another seed
does within an epoch; so the end is held against other seeds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tabulate import tabulate

from ltbench.errors import reason_of
from ltbench.metrics import summarise
from ltbench.spec import Record, TrialSpec
from ltbench.stats.intervals import apart, mean_interval
from ltbench.system.process import one_thread
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

BUCKETS = ("many", "medium", "few")
SAME_LOSS = {"fp32": 2e-3, "bf16": 5e-3}
"""Up to this share the first losses of one training differ under other arithmetic (TF32 of a GPU among it)."""
LEVEL = 0.99
"""How far two runs of one training may be apart in the primary metric: within what other seeds do at this level."""


class Verdict(StrEnum):
    """What became of a trial that ran again."""

    identical = "identical"
    agrees = "agrees"
    differs = "differs"
    failed = "failed"


@dataclass(frozen=True)
class Check:
    """A recorded trial and what came of it now."""

    then: Record
    now: Record
    verdict: Verdict
    words: str

    @property
    def holds(self) -> bool:
        """The record is confirmed."""
        return self.verdict in (Verdict.identical, Verdict.agrees)


def pick(records: Iterable[Record], count: int, draw: int) -> list[Record]:
    """`count` records drawn at random: of every row one before any row has a second."""
    rng, rows = random.Random(draw), dict[str, list[Record]]()
    for record in sorted(records, key=lambda r: r.key):
        rows.setdefault(record.spec.label, []).append(record)
    labels = sorted(rows)
    rng.shuffle(labels)
    for label in labels:
        rng.shuffle(rows[label])
    turns = [rows[label][i] for i in range(max(map(len, rows.values()), default=0)) for label in labels
             if i < len(rows[label])]  # fmt: skip
    return turns[:count]


def verify(
    records: Mapping[str, Record],
    trials: Sequence[TrialSpec],
    site: Site,
    primary: str,
    count: int,
    draw: int = 0,
    tell: Callable[[str], None] = lambda line: None,
    prepare: Callable[[str], object] = lambda dataset: None,
) -> list[Check]:
    """Run some recorded trials again, one after the other, and compare.

    Args:
        records: by key. trials: those of the suite as it is; records of others are left out. site: where to run; with
            as many threads as the record names. draw: which trials are picked. tell: told which one runs.
        prepare: given the data set of a trial before it runs.
    """
    known = {spec.key: spec for spec in trials}
    finished = [record for key, record in records.items() if key in known and record.status == "ok"]
    checks = []
    for then in pick(finished, count, draw):
        tell(f"running {then.spec.name} ...")
        prepare(known[then.key].cell.dataset)
        threads = then.environment.get("threads")
        there = replace(
            site, checkpoints=None, shared={}, threads=threads if isinstance(threads, int) else site.threads
        )
        with one_thread():
            now = run_trial(known[then.key], there)
        place = [r.metrics.get(primary) for r in finished if _place(r) == _place(then)]
        checks.append(compare(then, now, primary, [v for v in place if v is not None]))
    return checks


def _place(record: Record) -> tuple[str, str, str]:
    return record.spec.variant, record.spec.cell.manifest, record.spec.recipe_id


def compare(then: Record, now: Record, primary: str, seeds: Sequence[float]) -> Check:
    """What is to be said of a trial that ran again.

    Args:
        seeds: the primary metric of the same row on the same images, over all its seeds.
    """
    if now.status != "ok":
        return Check(then, now, Verdict.failed, reason_of(now.error, now.spec.method))
    if not _consistent(then):
        return Check(then, now, Verdict.differs, "its metrics are not those of its own table of classes: it was edited")
    if _numbers(then) == _numbers(now):
        return Check(then, now, Verdict.identical, "")
    off = first_loss_off(then, now)
    if off is not None and off > SAME_LOSS.get(str(then.spec.recipe.get("precision")), SAME_LOSS["bf16"]):
        return Check(then, now, Verdict.differs, f"its first loss is off by {100 * off:.1f} %: another training")
    if _losses(then) and _losses(then) == _losses(now):
        return Check(then, now, Verdict.differs, "its losses are the same to the bit, its results are not")
    moved = abs((now.metrics.get(primary) or 0.0) - (then.metrics.get(primary) or 0.0))
    spread = mean_interval(seeds).sd if seeds else None
    if spread is None:
        return Check(then, now, Verdict.agrees, f"off by {moved:.2f}; one seed does not tell how much may be")
    allowed = apart(spread, len(seeds), LEVEL)
    words = f"off by {moved:.2f}; seeds are up to {allowed:.2f} apart"
    return Check(then, now, Verdict.agrees if moved <= allowed else Verdict.differs, words)


def _consistent(record: Record) -> bool:
    """Whether what follows from the table of classes is what the record says."""
    if not {"recall", "precision", "train_images", "test_images"} <= record.per_class.keys():
        return False
    follows = summarise(record.per_class, record.spec.shots)
    pairs = [(value, record.metrics[name]) for name, value in follows.items() if name in record.metrics]
    return all(a == b or (a is not None and b is not None and abs(a - b) < 1e-6) for a, b in pairs)


def _numbers(record: Record) -> list[Any]:
    """What has to be equal to the bit. Buckets of classes follow from the table, and from thresholds that may have
    changed since."""
    return [{k: v for k, v in record.metrics.items() if k not in BUCKETS}, record.per_class, _losses(record)]


def _losses(record: Record) -> list[list[float]]:
    return [list(point) for point in record.curves.get("train/loss", [])]


def first_loss_off(then: Record, now: Record) -> float | None:
    """Relative difference of the losses of the first step; None where one of the two does not say."""
    a, b = (record.environment.get("first_loss") for record in (then, now))
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        return None
    return abs(a - b) / max(abs(a), 1e-12)


def checks_text(checks: Sequence[Check], primary: str, of: int) -> str:
    """The checks as a table, and what they add up to.

    Args:
        of: how many trials could have been picked.
    """
    rows = []
    for check in checks:
        off = first_loss_off(check.then, check.now) if check.now.status == "ok" else None
        values = [r.metrics.get(primary) for r in (check.then, check.now)]
        rows.append([check.then.spec.name, check.verdict.value, *("-" if v is None else f"{v:.2f}" for v in values),
                     "-" if off is None else f"{off:.0e}" if off else "0", check.words])  # fmt: skip
    heads = ["trial", "verdict", "recorded", "now", "first loss off", "remark"]
    if not any(check.words for check in checks):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    machines = {label: sorted({machine_of(getattr(c, label)) for c in checks}) for label in ("then", "now")}
    counted = [
        f"{sum(c.verdict is v for c in checks)} {v.value}" for v in Verdict if any(c.verdict is v for c in checks)
    ]
    return "\n\n".join(
        [
            tabulate(rows, headers=heads, disable_numparse=True, colalign=("left", "left", "right", "right", "right"),
                     maxcolwidths=[None] * 5 + [70] * (len(heads) - 5)),
            f"recorded on {'; '.join(machines['then'])}\nrun again on {'; '.join(machines['now'])}",
            f"{len(checks)} of {of} trials: {', '.join(counted)}",
        ]
    )  # fmt: skip


def machine_of(record: Record) -> str:
    """Device and torch that a record was made with."""
    facts = record.environment
    return f"{facts.get('device', 'an unknown device')}, torch {facts.get('torch', 'unknown')}"
