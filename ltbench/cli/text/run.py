"""What `ltbench run` says at its end: what is left, what failed, and the command that runs only that again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ltbench.errors import reason_of

if TYPE_CHECKING:
    from ltbench.spec import Record
    from ltbench.workflow.run_suite import RunOutcome, RunRequest

NAMED_FAILURES = 10
"""How many trials that failed are named, beside their number."""


def command(request: RunRequest, *more: str) -> str:
    """The same command for a shell, and more. Without the store: it may hold a password, and an environment variable
    names it as well."""
    chosen = request.chosen
    named = {
        "--results": request.results if request.results != Path("results") else None,
        "--data": request.data,
        "--methods": request.methods,
        "--only": ",".join(chosen.methods) if chosen.methods else None,
        "--datasets": ",".join(chosen.datasets) if chosen.datasets else None,
        "--seeds": ",".join(map(str, chosen.seeds)) if chosen.seeds is not None else None,
        "--address": request.address,
        "--checkpoints": None if "@" in (request.checkpoints or "") else request.checkpoints,
    }
    words = ["ltbench", "run", str(request.suite)]
    for name, value in named.items():
        words += [] if value is None else [name, str(value)]
    for folder in request.plugins:
        words += ["--plugins", str(folder)]
    for override in request.overrides:
        words += ["--set", override]
    return shlex.join([*words, *(["--inline"] if request.inline else []), *more])


def stopped_line(outcome: RunOutcome) -> str:
    """What a run that was stopped leaves."""
    return (f"stopped: {len(outcome.left)} of {len(outcome.plan.trials)} trials are left, {outcome.with_checkpoint} of "
            f"them with a checkpoint; the same command continues")  # fmt: skip


def failure_lines(failed: Sequence[Record], request: RunRequest) -> Iterator[str]:
    """The trials that failed, by name, with the last line of the reason and its place in the method's file; then how to
    run only these again."""
    for record in failed[:NAMED_FAILURES]:
        step = record.environment.get("failed_at_step")
        where = "" if step is None else f" (in step {step})"
        yield f"failed: {record.spec.name}: {reason_of(record.error, record.spec.method)}{where}"
    if len(failed) > NAMED_FAILURES:
        yield f"... and {len(failed) - NAMED_FAILURES} more"
    if failed:
        yield f"{len(failed)} trials failed; run only these again with: {command(request, '--retry-failed')}"
