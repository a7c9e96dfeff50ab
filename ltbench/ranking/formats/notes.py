"""What a reader must know before quoting a number: what is ranked by which rule, what is absent, and why."""

from __future__ import annotations

from ltbench.errors import last_line
from ltbench.ranking.board import Leaderboard, Redrawn, ScopeB, Table
from ltbench.ranking.formats.choices import search_notes, tried_notes
from ltbench.ranking.formats.looks_text import looks_header, looks_notes
from ltbench.ranking.formats.marks import marks_explained
from ltbench.ranking.published import Judgement
from ltbench.ranking.ranking import ALL_PAIRS
from ltbench.spec.budget import factors_of
from ltbench.spec.plan import BY_ORDER
from ltbench.stats.reasons import Reason

LAST_EPOCH = "last epoch"
"""What numbers that ltbench trained are of."""
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


def wide_legend(board: Leaderboard) -> list[str]:
    """What the columns of `--wide` are, as far as they are there."""
    rows = [row for table in board.tables if table.reference is not None for row in table.rows if row.iqm is not None]
    if not rows:
        return []
    drawn = any(row.iqm.low is not None for row in rows if row.iqm is not None)
    span = "; its interval is bootstrapped: approximate, and too short below 10 seeds" if drawn else ""
    return [f"IQM gain: the mean of the middle half of the gains{span}. P(better): share of seeds with a gain."]


def header(board: Leaderboard) -> list[str]:
    """Three lines: what is ranked and by which rule; how much there is; what is claimed and how it is tested."""
    about = board.about(board.primary)
    sets = "hold-outs" if any(table.held_out for table in board.tables) else "test sets"
    same = f" (= accuracy: balanced {sets})" if board.balanced_tests and "accuracy" in board.primary else ""
    unit = f", {about.unit}" if about.unit else ""
    lower = "" if about.higher_is_better else ", lower is better"
    references = sorted({t.reference for t in board.tables if t.reference})
    counts = f"{board.finished} of {board.trials} trials, {board.failed} failed, {board.missing} missing"
    return [
        f"{board.suite}: {about.title}{unit}{same}{lower}, {made(board)}, "
        f"{'reference ' + ', '.join(references) if references else 'no reference'}",
        f"{counts}{_places(board)}{_plan(board)}",
        f"{scope(board)}: {_tests(board)}",
    ]


def _places(board: Leaderboard) -> str:
    """How many trials came from where, if they came from two places."""
    if not board.places:
        return ""
    (first, n), (second, more) = board.places.items()
    return f" ({n} in {first}, {more} more from {second})"


def _plan(board: Leaderboard) -> str:
    """The digest of the suite as it was planned: boards with another one were held against another suite."""
    return f", suite {board.config['plan']}" if board.config.get("plan") else ""


def made(board: Leaderboard) -> str:
    """Which state of a training the numbers are of, as far as that is known."""
    if board.file:
        return f"numbers from {board.file}; how they were trained is not known"
    if board.tables and all(table.elsewhere for table in board.tables):
        return "predictions from elsewhere; how they were trained is not known"
    return LAST_EPOCH


def scope(board: Leaderboard) -> str:
    """What the intervals and verdicts are about."""
    images = " and test images" if any(t.with_images for t in board.tables) else ""
    return f"These data sets, new seeds{images}"


def seeds_text(table: Table) -> str:
    """How many seeds the means are over: `5`, or `3 to 5`."""
    seeds = sorted({s.finished for row in table.rows for s in row.scores.values()})
    return f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def _tests(board: Leaderboard) -> str:
    pairs = max((len(t.pairs) for t in board.tables), default=0)
    if not pairs:
        return "nothing is tested"
    gains = max((t.comparisons for t in board.tables if len(t.rows) > ALL_PAIRS), default=0)
    family = f", Holm over {pairs} pairs" if pairs > 1 else ""
    by = tested_by(with_images=any(t.with_images for t in board.tables))
    over = f" (gains: over {gains})" if gains else ""
    return f"95 % intervals (± and [ ]), {by}{family}{over}{looks_header(board)}"


def tested_by(*, with_images: bool) -> str:
    """Name of the test of a pair."""
    return "Behrens-Fisher" if with_images else "paired t"


def notes(board: Leaderboard) -> list[str]:
    """What is undecided, not said, not ranked, missing, failed or left out."""
    lines = _verified(board)
    if board.chosen_afterwards:
        lines.append(
            f"No plan declares a primary metric: if {board.primary} was chosen after looking at the numbers, its "
            f"verdicts are descriptive."
        )
    if board.declared:
        lines.append(
            f"The suite declares {board.declared} as its primary metric; verdicts on {board.primary}, chosen "
            f"afterwards, are descriptive."
        )
    if board.declared_reference:
        lines.append(
            f"The suite declares {board.declared_reference} as its reference; gains over {board.config['reference']}, "
            f"chosen afterwards, are descriptive."
        )
    for dataset, (without, classes) in board.untested.items():
        if any(dataset in table.datasets for table in board.tables):
            lines.append(f"{dataset}: {without} of {classes} classes have no test image; averages over classes are "
                         f"over {classes - without} of {classes}.")  # fmt: skip
    for why in dict.fromkeys(board.stale.values()):
        rows = ", ".join(label for label, reason in board.stale.items() if reason == why)
        lines.append(f"Stale: {rows}: {why}; `ltbench run` trains them anew.")
    if on_val := dict.fromkeys(d for table in board.tables for d in table.tested_on_val):
        lines.append(
            f"{', '.join(on_val)}: tested on the val list, not on the test set, which other papers' numbers are of."
        )
    if held_out := dict.fromkeys(d for table in board.tables for d in table.held_out):
        lines.append(
            f"{', '.join(held_out)}: scored on training images that were held out, to choose hyper-parameters by; no "
            f"number of this table is a test result."
        )
    lines += tried_notes(board.config.get("tried")) + search_notes(board.config.get("search"))
    lines += _chosen(board)
    lines += _of_tables(board)
    if any(s.failed or s.missing for t in board.tables for row in t.rows for s in row.scores.values()):
        lines.append("* some seeds are missing or failed; means are over the seeds that finished, nothing is imputed.")
    for result in board.failures:
        reason = last_line(result.error)
        lines.append(
            f"Failed: {result.label} {result.dataset} {result.imbalance} s{result.seed} ({result.key}): {reason}"
        )
    lines += [f"Left out: {n} results {why}." for why, n in board.left_out.items()]
    others = sum(b.judgement is Judgement.OTHER_RECIPE for b in board.published)
    if others:
        lines.append(
            f"Published under other recipes, not comparable: {others} numbers (--wide and the report list them)."
        )
    if len(board.tables) > 1:
        starts = ", and so does what their models started from" if board.starts_differ else ""
        lines.append(
            f"Tables are apart because their recipes differ{starts}; rows of different tables are not comparable."
        )
    return lines


def _verified(board: Leaderboard) -> list[str]:
    """How many trials ran again, and those whose records do not hold."""
    found = board.verified
    if found is None:
        return []
    lines = [f"Verified: {found.held} of {board.finished} trials ran again and hold, on {'; '.join(found.machines)}."]
    if found.denied:
        lines.append(f"NOT CONFIRMED: {len(found.denied)} ran again and came out otherwise: {_some([*found.denied])}.")
    return lines


def _chosen(board: Leaderboard) -> list[str]:
    """A family of tests that was made smaller by hand has smaller p-values."""
    given = {"methods": "--only", "datasets": "--datasets"}
    flags = [flag for name, flag in given.items() if board.config.get(name) is not None]
    if not flags or not any(len(t.pairs) for t in board.tables):
        return []
    return [f"Chosen by {' and '.join(flags)}: p-values are adjusted for what is shown alone, as if chosen beforehand."]


def _of_tables(board: Leaderboard) -> list[str]:
    """What holds for all tables is said once; what holds for one says for which."""
    said = [of_table(table) for table in board.tables]
    lines = []
    for table, found in zip(board.tables, said, strict=True):
        for line in found:
            shared = all(line in other for other in said)
            lines.append(line if shared else f"Recipe {table.recipe_name}: {line[:1].lower()}{line[1:]}")
    return list(dict.fromkeys(lines))


def of_table(table: Table) -> list[str]:
    """What must be known of one table."""
    lines = looks_notes(table) + marks_explained(table)
    if taken := [row.label for row in table.rows if row.elsewhere]:
        lines.append(f"From elsewhere: {', '.join(taken)}: predictions for this split that were taken over. ltbench "
                     f"computed their metrics and did not train them.")  # fmt: skip
    for prior in dict.fromkeys(row.test_prior for row in table.rows if row.test_prior):
        told = ", ".join(row.label for row in table.rows if row.test_prior == prior)
        lines.append(f"Told the test distribution ({prior}, protocol.test_prior): {told}; the other rows were not. "
                     f"Under another test distribution it was told the wrong one.")  # fmt: skip
    if factors := {row.label: factors_of(row.budget) for row in table.rows if factors_of(row.budget)}:
        said = "; ".join(f"{label} {', '.join(found)}" for label, found in factors.items())
        lines.append(f"Cost of a step beside plain training: {said}.")
    random = {found.block for found in table.redrawn}
    ordered = {block for name, block in table.drawn_again.items() if BY_ORDER in name}
    lines += [_redrawn(found, by_order=found.block in ordered) for found in table.redrawn]
    for name, block in table.drawn_again.items():
        if block in random:
            continue
        other = "another order of its classes" if BY_ORDER in name else "other training images"
        lines.append(f"{name} is {block} with {other}: the two are averaged and count as one data set.")
    if table.reference is None and len(table.rows) > 1:
        lines.append("No reference, so no gains: `--reference NAME` chooses one of the rows.")
    if table.scope_b is not None:
        lines.append(_other_datasets(table, table.scope_b))
    if len(table.pairs) and not table.with_images:
        lines.append(f"Not in these intervals: the noise of the test images ({table.without_images}).")
    heaviest = max(table.alone, key=lambda column: table.alone[column], default=None)
    if heaviest is not None:
        share = f"{table.alone[heaviest]:.0f} % of the metric"
        lines.append(f"A class of {table.title(heaviest)} has one test image, which is {share}. How noisy it is, one "
                     f"image does not tell: intervals may be too short.")  # fmt: skip
    if table.reference is None:
        lines += _pairs_without_p(table)
    reasons: dict[Reason, list[str]] = {}
    for row in table.rows:
        for column, score in row.scores.items() if table.reference is not None else ():
            if score.gain is not None and score.gain.p is None and score.gain.reason is not None:
                reasons.setdefault(score.gain.reason, []).append(f"{row.label} on {table.title(column)}")
    for absent, where in reasons.items():
        shown = "every comparison" if len(where) == table.comparisons * len(table.columns) else _some(where)
        lines.append(f"No p-value ({absent.words}): {shown}.")
    return [*lines, *not_ranked(table)]


def _redrawn(found: Redrawn, *, by_order: bool) -> str:
    """How far another draw of the training images, or another order of the classes, moves things."""
    what, again = (
        ("orders of the classes", "Another order") if by_order else ("draws of the training images", "Re-drawing")
    )
    carries = "orders" if by_order else "draws"
    gain = "" if found.gain_sd is None else f" and a gain by {found.gain_sd:.1f}"
    share = "" if found.share is None else f"; {carries} carry {100 * found.share:.0f} % of a gain's variance"
    return (f"{found.block}: {found.draws} {what}, random in every interval over all data sets. "
            f"{again} moves a method's mean by {found.mean_sd:.1f}{gain} (standard deviation, median over "
            f"methods){share}.")  # fmt: skip


def _pairs_without_p(table: Table) -> list[str]:
    """Without a reference there are no gains, so the pairs say which of them were not tested, and why."""
    return [
        f"No p-value ({reason.words}): {f'all {n}' if n == len(table.pairs) else f'{n} of {len(table.pairs)}'} "
        f"pair{'s' * (len(table.pairs) > 1)}."
        for reason, n in table.pairs.reasons.items()
    ]


def _other_datasets(table: Table, scope_b: ScopeB) -> str:
    """Scope B in a sentence: what is found, or how many data sets it would take."""
    pairs = len(table.pairs)
    sets = f"{scope_b.blocks} data set{'s' * (scope_b.blocks > 1)}"
    overall = (
        ""
        if scope_b.friedman.p is None
        else f" Friedman over {sets}: p {_p(scope_b.friedman.p)} " + (f"({scope_b.friedman.how}).")
    )
    if scope_b.reason is Reason.too_few_datasets:
        here = f"{_NUMBERS.get(scope_b.blocks, scope_b.blocks)} data set{'s' * (scope_b.blocks > 1)}"
        return (
            f"This board covers {here}. To compare {len(table.rows)} methods across data sets in general you need at "
            f"least {scope_b.needs}.{overall}"
        )
    if scope_b.reason is not None:
        return f"This board cannot speak of other data sets: {scope_b.reason.words}.{overall}"
    labels = [row.label for row in table.rows]
    clear = [p for p in scope_b.pairs if p.p_holm is not None and p.p_holm < 0.05]
    named = _some([f"{labels[p.a]} over {labels[p.b]}" for p in clear])
    said = f"{len(clear)} of {pairs} pairs hold ({named})" if clear else f"none of {pairs} pairs holds"
    return f"Other data sets (Wilcoxon signed-rank over {sets}, Holm): {said}.{overall}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def not_ranked(table: Table) -> list[str]:
    """Methods that are not ranked, and why; those with the same reason share a line."""
    by_reason: dict[str, list[str]] = {}
    for label, reason in table.incomplete:
        by_reason.setdefault(reason, []).append(label)
    return [f"Not ranked: {', '.join(labels)}: {reason}." for reason, labels in by_reason.items()]


def _some(items: list[str], most: int = 4) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
