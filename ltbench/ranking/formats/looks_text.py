"""What a board says of seeds that run until comparisons are decided: who stopped at which look, and at which level."""

from __future__ import annotations

from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.looks import Named, Standing
from ltbench.stats.fixed_datasets import Verdict

_SHOWN = 6


def looks_header(board: Leaderboard) -> str:
    """For the header: `, looks 1 to 4 of 5`; empty where seeds are fixed."""
    standings = [table.standing for table in board.tables if table.standing is not None and table.standing.at]
    if not standings:
        return ""
    at = sorted({look for standing in standings for look in standing.at.values()})
    most = max(len(standing.looks) for standing in standings)
    return f", look {at[0]} of {most}" if len(at) == 1 else f", looks {at[0]} to {at[-1]} of {most}"


def looks_notes(table: Table) -> list[str]:
    """Where the rows of a table stand, and what their numbers then mean."""
    standing = table.standing
    if standing is None:
        return []
    looks = standing.looks
    aim = "every pair" if standing.named is Named.all else f"every gain over {table.reference or 'the reference'}"
    lines = [f"Seeds run until {aim} is decided: {'; '.join(_groups(standing))}."]
    at, levels = ", ".join(map(str, looks.seeds)), ", ".join(f"{level:.3g}" for level in looks.levels)
    lines.append(
        f"Looks at {at} seeds, at levels {levels}: 0.05 in all. Intervals are at the level of their look and hold at "
        f"95 % whichever it is; p-values are adjusted for the looks as well."
    )
    if len(set(standing.at.values())) > 1:
        lines.append("A gain is over the seeds that both rows have, a mean over all of its row's.")
    if (short := _stopped_short(table)) and standing.named is Named.reference:
        lines.append(f"Undecided, and more seeds would hardly decide it: {_some(short)} (the noise of the test images "
                     f"is too large, or there is none at all).")  # fmt: skip
    if table.scope_b is not None and len(looks) > 1:
        lines.append(f"Other data sets are judged by the first {looks.seeds[0]} seeds of every row.")
    return lines


def _stopped_short(table: Table) -> list[str]:
    """Rows that are undecided and do not go on, though there are further looks."""
    standing = table.standing
    if standing is None:
        return []
    return [
        row.label
        for row in table.rows
        if row.gain is not None
        and row.gain.verdict is Verdict.undecided
        and row.label not in standing.goes_on
        and 0 < standing.at[row.label] < len(standing.looks)
    ]


def _groups(standing: Standing) -> list[str]:
    """Rows by their look, and whether they go on."""
    groups: dict[tuple[int, int | None], list[str]] = {}
    for label, look in standing.at.items():
        groups.setdefault((look, standing.due[label] if label in standing.goes_on else None), []).append(label)
    whole = len(groups) == 1 and len(standing.at) > 1
    return [
        f"{'all rows' if whole else _some(labels)} {_where(standing, look, due)}"
        for (look, due), labels in sorted(groups.items(), key=lambda group: (group[0][0], group[0][1] or 0))
    ]


def _where(standing: Standing, look: int, due: int | None) -> str:
    if look == 0:
        return f"before the first look ({standing.looks.seeds[0]} seeds), so nothing is claimed yet"
    place = f"at look {look} of {len(standing.looks)} ({standing.looks.seeds[look - 1]} seeds)"
    level = f"level {standing.looks.levels[look - 1]:.3g}"
    return f"stopped {place}, {level}" if due is None else f"{place}, {level}, on the way to {due} seeds"


def _some(labels: list[str]) -> str:
    return ", ".join(labels[:_SHOWN]) + (f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else "")
