"""What `ltbench doctor` found, as text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltbench.workflow.doctor import Finding

MARKS = {"ok": "ok", "note": "--", "problem": "!!"}


def doctor_text(found: Sequence[Finding]) -> str:
    """A line for each finding, under the heading of its area; below it, what to do; then what it adds up to."""
    lines: list[str] = []
    area = ""
    for finding in found:
        if finding.area != area:
            area = finding.area
            lines += [*([""] if lines else []), area]
        lines += _wrapped(finding.text, f"  {MARKS[finding.health]}  ")
        lines += _wrapped(finding.cure, "      -> ") if finding.cure else []
    problems = sum(finding.health == "problem" for finding in found)
    end = "nothing stands in the way" if not problems else f"{problems} problem{'s' * (problems > 1)} (!!)"
    return "\n".join([*lines, "", end]) + "\n"


def _wrapped(text: str, start: str) -> list[str]:
    """Lines of at most 110 characters; paths and commands stay whole."""
    return textwrap.wrap(text, 110, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False,
                         break_on_hyphens=False)  # fmt: skip
