"""A plan as text: what would run, what is finished, what is skipped and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

from ltbench.spec import Plan

if TYPE_CHECKING:
    from ltbench.run import State


def plan_text(plan: Plan, state: State) -> str:
    """One line per method, one column per cell: `to run` / finished / failed counts over seeds, or `skip`."""
    cells = list(dict.fromkeys([t.cell.label for t in plan.trials] + [s.cell.label for s in plan.skips]))
    labels = list(dict.fromkeys([t.label for t in plan.trials] + [s.label for s in plan.skips]))
    counts: dict[tuple[str, str], list[int]] = {}
    for t in plan.trials:
        done = counts.setdefault((t.label, t.cell.label), [0, 0, 0])
        done[1 if t.key in state.finished else 2 if t.key in state.failed else 0] += 1
    rows = [[label, *(_entry(counts.get((label, cell))) for cell in cells)] for label in labels]
    left = len(plan.trials) - len(state.finished) - len(state.failed)
    counted = f"{left} to run, {len(state.finished)} finished, {len(state.failed)} failed"
    blocks = [
        f"{plan.suite}: {len(plan.trials)} trials: {counted}",
        tabulate(rows, headers=["trials to run", *cells], disable_numparse=True),
    ]
    recipes = {t.recipe_name: t.recipe for t in plan.trials}
    for name, recipe in recipes.items():
        blocks.append(
            f"recipe {name}: {recipe['backbone']}, {recipe['epochs']:g} epochs, batch {recipe['batch_size']}, "
            f"{recipe['optimizer']['name']} {recipe['optimizer']['lr']:g}, {recipe['schedule']['name']}, "
            f"{recipe['augment']}, {recipe['precision']}"
            + (f", pre-trained: {recipe['pretraining']}" if "pretraining" in recipe else "")
        )
    by_reason: dict[str, list[str]] = {}
    for skip in plan.skips:
        by_reason.setdefault(skip.reason, []).append(f"{skip.label} on {skip.cell.label}")
    blocks += [f"skipped: {', '.join(where)}: {reason}" for reason, where in by_reason.items()]
    return "\n\n".join(blocks) + "\n"


def _entry(counts: list[int] | None) -> str:
    if counts is None:
        return "skip"
    to_run, finished, failed = counts
    parts = [str(to_run)] if to_run else []
    parts += [f"{finished} done"] if finished else []
    parts += [f"{failed} failed"] if failed else []
    return ", ".join(parts)
