"""`ltbench watch`: how far a run has come, from another terminal, or another machine that sees the folder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ltbench.cli.options import DEFAULT_RESULTS, LastSuite, Results
from ltbench.cli.output import tell
from ltbench.errors import UserError, harmless

if TYPE_CHECKING:
    from ltbench.execution.display.file import Seen

QUIET = 60.0
"""Seconds without a word after which a run may have come to an end."""


def watch(
    suite: LastSuite = None,
    results: Results = DEFAULT_RESULTS,
    every: Annotated[float, typer.Option(help="seconds between two looks", min=0.5)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="look once, and end")] = False,
) -> None:
    """Show how far a run has come, from another terminal: it reads the suite's folder and changes nothing."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from ltbench.execution.display.file import read_progress
    from ltbench.results.folders import folders_of
    from ltbench.workflow.find_results import suite_name

    there = sorted(results.glob("*/plan.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    known = ", ".join(file.parent.name for file in there) or "none yet"
    if suite is None and not there:
        raise UserError(f"watch: nothing has been run yet under {results}")
    name = suite_name(suite) if suite is not None else there[0].parent.name
    if suite is None and len(there) > 1:
        tell(f"{len(there)} suites are there ({known}); showing the last used")
    folders, console = folders_of(results, name), Console()
    if not folders.suite_folder.is_dir():
        raise UserError(f"{folders.suite_folder}: nothing runs there. Under {results}: {known}")

    def look() -> tuple[Text, bool]:
        seen = read_progress(folders.suite_folder)
        lines = watch_lines(name, seen, len(folders.journal.keys()), time.time(), console.width, console.height)
        return Text(harmless("\n".join(lines)), no_wrap=True, overflow="ellipsis"), seen is not None

    shown, runs = look()
    if once or not console.is_terminal or not runs:
        console.print(shown)
        return
    try:
        with Live(shown, console=console, auto_refresh=False) as live:
            while runs:
                time.sleep(every)
                shown, runs = look()
                live.update(shown, refresh=True)
    except KeyboardInterrupt:
        return


def watch_lines(suite: str, seen: Seen | None, records: int, now: float, width: int, height: int) -> list[str]:
    """What is shown: a line per running trial, totals below, as `ltbench run` has them.

    Args:
        records: how many there are. now: seconds since 1970. width, height: of the screen, in characters.
    """
    from ltbench.execution.display.lines import readable_seconds, trial_lines

    if seen is None:
        return [f"{suite}: {records} records; no run is going on"]
    failed = f", {seen.failed} failed" if seen.failed else ""
    lines = trial_lines(seen.running, now, width, max(3, height - 5))
    lines.append(f"{suite}: {seen.done} of {seen.total} done, {len(seen.running)} running{failed}")
    if seen.phase:
        lines.append(f"  {seen.phase}")
    if now - seen.written > QUIET:
        lines.append(f"  no word from the run for {readable_seconds(now - seen.written)}: it may have been killed")
    return lines
