"""A leaderboard in sentences: the verdict, how each number was computed, and what a paper would say of it."""

from __future__ import annotations

from collections.abc import Sequence

from ltbench.ranking.beside import USUAL
from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.formats.notes import LAST_EPOCH, made, scope, seeds_text
from ltbench.ranking.ranking import ALL_PAIRS
from ltbench.stats.fixed_datasets import Verdict


def verdict(board: Leaderboard, table: Table) -> list[str]:
    """Who is first, and which methods differ from the reference. Nothing that the intervals do not say."""
    if len(table.rows) == 1:
        return [f"{table.rows[0].label} is the only method with a complete set of results: nothing is compared."]
    first = [row for row in table.rows if row.rank[0] == 1]
    where = f"{board.about(board.primary).title}, {scope(board)[0].lower()}{scope(board)[1:]}"
    if not first:
        lead = f"No method is first: each is worse than another on the seeds that both have ({where})."
    elif len(first) == len(table.rows):
        lead = f"Any of the {len(table.rows)} methods may be the best: no two differ significantly ({where})."
    elif len(first) == 1:
        lead = f"{first[0].label} is first of {len(table.rows)} methods ({where})."
    else:
        lead = (
            f"The best of {len(table.rows)} methods may be {listed([r.label for r in first], last='or')}: no method is "
            f"significantly better than any of these ({where})."
        )
    return [lead, *_against_reference(table)]


def _against_reference(table: Table) -> list[str]:
    if table.reference is None:
        return []
    groups: dict[Verdict, list[str]] = {}
    for row in table.rows:
        if row.gain is not None:
            groups.setdefault(row.gain.verdict, []).append(row.label)
    words = {
        Verdict.better: "better",
        Verdict.slightly_better: f"better, but by less than {table.rope:g}",
        Verdict.equivalent: f"equivalent within {table.rope:g}",
        Verdict.slightly_worse: f"worse, but by less than {table.rope:g}",
        Verdict.worse: "worse",
        Verdict.undecided: "undecided",
    }
    found = [f"{word}: {listed(groups[v])}" for v, word in words.items() if v in groups]
    return [f"Against {table.reference}: {'; '.join(found)}."]


def listed(names: Sequence[str], most: int = 8, last: str = "and") -> str:
    """`a, b and c`; `last` is the word before the last."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def no_diagram(table: Table) -> str:
    """Why there is no critical-difference diagram; nothing where there is one."""
    found = table.scope_b
    if found is None or found.critical_difference is not None or found.critical_reason is None:
        return ""
    there = f"{found.blocks} data set{'s' * (found.blocks != 1)}"
    return (
        f"No critical-difference diagram: {found.critical_reason.words} ({there} and "
        f"{len(table.rows)} methods; it needs at least 5 data sets, and 3 to 10 methods)."
    )


def in_a_sentence(board: Leaderboard) -> str:
    """For the text of a paper."""
    table = next((t for t in board.tables if t.rows), None)
    if table is None:
        return "No method has a complete set of results."
    when = f" after the {LAST_EPOCH}" if made(board) == LAST_EPOCH else ""
    sets, pairs = len(table.datasets) - len(table.drawn_again), len(table.pairs)
    return (
        f"{len(table.rows)} methods were compared on {sets} data set{'s' * (sets > 1)} with {seeds_text(table)} paired "
        f"seeds each by {board.about(board.primary).title}{when}; differences were tested by "
        f"{_TESTS[table.with_images]} (Satterthwaite's degrees of freedom over data sets) with Holm's correction over "
        f"{pairs} pair{'s' * (pairs != 1)} at 5 %, and called equivalent when the 90 % interval lies within "
        f"±{table.rope:g}."
    )


def definitions(board: Leaderboard) -> list[tuple[str, str]]:
    """Term -> how it was computed, with the sizes of this board."""
    tables = [t for t in board.tables if t.rows]
    pairs = max((len(t.pairs) for t in tables), default=0)
    rope = "/".join(f"{r:g}" for r in sorted({t.rope for t in tables})) or "-"
    noise = _CROSSED if any(t.with_images for t in tables) else _SEEDS
    many = _FAMILY if any(len(t.rows) > ALL_PAIRS for t in tables) else ""
    beside = _BEHRENS_FISHER if noise == _CROSSED else ""
    shots = board.config.get("shots", USUAL)
    sizes = {"pairs": pairs, "rope": rope, "most": shots["many"], "fewest": shots["few"]}
    ours = made(board) == LAST_EPOCH
    drawn = list(dict.fromkeys(found.block for t in tables for found in t.redrawn))
    trained = {
        "kept": _DRAWN.format(", ".join(drawn)) if drawn else _OURS_KEPT if ours else "",
        "paired": _OURS_PAIRED if ours else _PAIRED,
        "when": _OURS_WHEN if ours else "",
    }
    filled = {"noise": noise, "beside": beside, "many": many, **trained, **sizes}
    known = {t: words for t, words in _DEFINITIONS.items() if ours or "shots" in board.config or t != "Shots"}
    return [(term, words.format(**filled)) for term, words in known.items()]


_OURS_KEPT = ", and so are the training images that a long-tailed subset keeps"
_DRAWN = "; training images of {} (or the order of its classes) were drawn several times and are random, too"
_OURS_PAIRED = "the same seed is the same start and order of images for all methods"
_PAIRED = "equal seeds count as a pair"
_OURS_WHEN = "; after the last epoch, and not after one that test images have chosen"
_TESTS = {
    False: "paired t tests",
    True: "paired Behrens-Fisher tests of seeds against test images",
}
_CROSSED = (
    "test images are random as well, drawn class by class where they have classes, and add their part to the noise of "
    "the seeds, (MS of images - MS of both) / (seeds x images) for each data set"
)
_BEHRENS_FISHER = ", with the test images' part beside it (Behrens-Fisher)"
_SEEDS = "test images are taken as fixed, so the intervals are too short for new ones"
_FAMILY = f"; gains over the reference are a family of their own, since there are more than {ALL_PAIRS} methods"
_DEFINITIONS = {
    "Scope": "These data sets, new seeds: data sets are fixed{kept}; seeds are random and paired ({paired}); {noise}.",
    "Mean": "Over seeds, then over the imbalance factors of a data set, then over data sets{when}.",
    "Gain": "Mean over data sets of the mean paired difference from the reference; interval: Student's t with "
    "Satterthwaite's degrees of freedom over data sets{beside}.",
    "p": "Two-sided, from the same distribution as the interval; Holm's correction over all {pairs} pairs{many}. In a "
    "column: Holm over its gains.",
    "Rank interval": "From 1 + the methods significantly better, to the number of methods minus those significantly "
    "worse; all intervals hold at once with 95 % confidence.",
    "Equivalent": "Not significant, and the 90 % interval lies within ±{rope} (two one-sided tests at 5 %).",
    "Interquartile mean": "Mean of the middle half of the gains over runs and data sets; seeds redrawn within data "
    "sets, the same draw for all methods; its intervals are too short below 10 seeds.",
    "Other data sets": "A separate question with data sets as the blocks: Friedman's test by permutation, Wilcoxon "
    "signed-rank tests with Holm's correction, each only from as many data sets as could give p < 0.05.",
    "Shots": "many: more than {most} training images of the class, few: fewer than {fewest}, "
    "medium: the rest. A bucket without classes is a dash, never 0.",
    "Missing and failed": "Counted, never imputed; a method without a result on some column is not ranked.",
}
