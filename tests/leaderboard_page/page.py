"""The sentences of a page in Markdown."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results" / "reference"
PAGE = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"^(?:[*-]|\d+\.) ", re.MULTILINE)
_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?]\*\*)\s+|(?<=[.!?][)*])\s+")
_SHORT = ("et al.", "e.g.", "vs.")


def sentences(markdown: str) -> list[str]:
    """Sentences of paragraphs and lists, and rows of tables, each in one line. Without headings, pictures and code."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", _FENCED.sub("\n\n", markdown)):
        lines = block.strip().splitlines()
        if not lines or lines[0].startswith(("#", "![")):
            continue
        if lines[0].startswith("|"):
            found += lines[2:]
            continue
        for item in _ITEM.split(block.strip()):
            found += _split(" ".join(item.split()))
    return found


def _split(text: str) -> list[str]:
    whole: list[str] = []
    for part in filter(None, _END.split(text)):
        if whole and whole[-1].endswith(_SHORT):
            whole[-1] += f" {part}"
        else:
            whole.append(part)
    return whole
