"""A leaderboard as rows of text: what the terminal and Markdown show, and in which words. Built with pandas."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from ltbench.errors import last_line
from ltbench.metrics import METRICS
from ltbench.report.board import Column, Leaderboard, Row, Score, Table
from ltbench.report.ranking import ALL_PAIRS
from ltbench.stats.intervals import Interval
from ltbench.stats.minimum import min_n, seeds_to_resolve
from ltbench.stats.reasons import Reason
from ltbench.stats.scope_a import Verdict

MARKS = {"better": "^", "worse": "v", "undecided": "?", "reference": ""}
OVERALL = {
    Verdict.better: "^",
    Verdict.worse: "v",
    Verdict.slightly_better: "^~",
    Verdict.slightly_worse: "v~",
    Verdict.equivalent: "=",
    Verdict.unresolved: "?",
}
MOST_COLUMNS = 3
"""More columns than this are shown by data set in the overview, or it would not fit a terminal."""


def legend(board: Leaderboard) -> str:
    """What the marks mean."""
    ropes = sorted({t.rope for t in board.tables})
    small = "/".join(f"{r:g}" for r in ropes)
    return f"^ better  v worse  ~ but by less than {small}  = equivalent within {small}  ? not resolved (p >= 0.05)"


def header(board: Leaderboard) -> list[str]:
    """Two lines: what is ranked and by which rule; how much there is and how it is tested."""
    same = " (= accuracy: balanced test sets)" if board.balanced_tests and "accuracy" in board.primary else ""
    unit = "" if board.primary == "nll" else ", %"
    references = sorted({t.reference for t in board.tables if t.reference})
    pairs = max((len(t.pairs) for t in board.tables), default=0)
    tested = f"these data, new seeds: t, Holm over {pairs} pairs" if pairs else "nothing is tested"
    gains = max((t.comparisons for t in board.tables if len(t.rows) > ALL_PAIRS), default=0)
    tested += f" (gains {gains})" if gains else ""
    return [
        f"{board.suite}: {METRICS[board.primary].title}{unit}{same}, last epoch, "
        f"{'reference ' + ', '.join(references) if references else 'no reference'}",
        f"{board.finished} of {board.trials} trials, {board.failed} failed, {board.missing} missing; {tested}",
    ]


def overview(table: Table, primary: str) -> pd.DataFrame:
    """Rank interval, method, mean over data sets with its interval, gain over the reference with its interval and
    verdict, and the primary metric on every column (or, where these are many, on every data set)."""
    rows = []
    for row in table.rows:
        half = "" if row.half is None else f" ±{row.half:.1f}"
        line: dict[str, str] = {"rank": row.rank_label, "method": row.label, "mean": f"{row.mean:.1f}{half}"}
        if table.reference is not None:
            line["gain [95% CI]"] = _overall_gain(row)
        rows.append({**line, **_places(table, row, primary)})
    return pd.DataFrame(rows)


def _places(table: Table, row: Row, primary: str) -> dict[str, str]:
    if len(table.columns) <= MOST_COLUMNS:
        return {table.title(column): _plain_mean([row.scores[column]], primary) for column in table.columns}
    datasets = dict.fromkeys(column[0] for column in table.columns)
    return {d: _plain_mean([row.scores[c] for c in table.columns if c[0] == d], primary) for d in datasets}


def _plain_mean(scores: list[Score], metric: str) -> str:
    means = [i.mean for s in scores if (i := s.metrics[metric]) is not None]
    partial = "*" if any(s.failed or s.missing for s in scores) else ""
    return f"{sum(means) / len(means):.1f}{partial}"


def _overall_gain(row: Row) -> str:
    if row.gain is None:
        return "(reference)"
    test = row.gain.test
    if test.diff is None:
        return "-"
    span = "" if test.half is None else f" [{test.diff - test.half:+.1f}, {test.diff + test.half:+.1f}]"
    return f"{test.diff:+.1f}{span} {OVERALL[row.gain.verdict]}"


def detail(table: Table, column: Column, board: Leaderboard) -> pd.DataFrame:
    """One column in full: mean with interval, gain with interval, adjusted p, the other reported metrics, seeds."""
    ordered = sorted(table.rows, key=lambda row: _quality(row.scores[column], board.primary), reverse=True)
    others = [m for m in board.report if m != board.primary]
    rows = []
    for row in ordered:
        score = row.scores[column]
        line = {"method": row.label, METRICS[board.primary].short: _with_half(score.metrics[board.primary])}
        line["gain [95% CI]"] = _gain(score)
        line["p (Holm)"] = "" if score.gain is None else ("-" if score.p_holm is None else readable_p(score.p_holm))
        for metric in others:
            interval = score.metrics[metric]
            line[METRICS[metric].short] = "-" if interval is None else f"{interval.mean:.1f}"
        line["seeds"] = _seeds(score)
        rows.append(line)
    return pd.DataFrame(rows)


def notes(board: Leaderboard) -> list[str]:
    """Everything that a reader must know before quoting a number: what is absent, and why."""
    lines = []
    for table in board.tables:
        lines += _undecided(table)
        reasons: dict[Reason, list[str]] = {}
        for row in table.rows:
            for column, score in row.scores.items():
                if score.gain is not None and score.gain.reason is not None:
                    reasons.setdefault(score.gain.reason, []).append(f"{row.label} on {table.title(column)}")
        for absent, where in reasons.items():
            shown = "every comparison" if len(where) == table.comparisons * len(table.columns) else _some(where)
            lines.append(f"No p-value ({absent.words}): {shown}.")
        lines += [f"Not ranked: {label}: {reason}." for label, reason in _grouped(table.incomplete).items()]
    if any(s.failed or s.missing for t in board.tables for row in t.rows for s in row.scores.values()):
        lines.append("* some seeds are missing or failed; means are over the seeds that finished, nothing is imputed.")
    for result in board.failures:
        reason = last_line(result.error)
        lines.append(
            f"Failed: {result.label} {result.dataset} {result.imbalance} s{result.seed} ({result.key}): {reason}"
        )
    lines += [f"Left out: {n} results {why}." for why, n in board.left_out.items()]
    if len(board.tables) > 1:
        lines.append("Tables are apart because their recipes differ; rows of different tables are not comparable.")
    return lines


def _undecided(table: Table) -> list[str]:
    """For gains that are not resolved: how many seeds would do, were the difference and its spread to stay; and what is
    not claimed about other data sets."""
    wanted = []
    for row in table.rows:
        test = row.gain.test if row.gain else None
        if row.gain and test and row.gain.verdict is Verdict.unresolved and test.se and test.diff is not None:
            seeds = seeds_to_resolve(test.diff, test.se * math.sqrt(test.seeds), len(table.pairs), most=100)
            wanted.append(f"{row.label} {seeds or 'over 100'}")
    lines = [f"Not resolved; seeds that would do if the difference stays: {', '.join(wanted)}."] if wanted else []
    datasets = len({column[0] for column in table.columns})
    if table.pairs and datasets < (needs := min_n("wilcoxon", len(table.pairs))):
        lines.append(
            f"Nothing is said of other data sets: {datasets} here, {needs} needed for {len(table.pairs)} pairs."
        )
    return lines


def readable_p(p: float) -> str:
    """`0.012`, or `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _grouped(incomplete: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Rows with the same reason share a line."""
    by_reason: dict[str, list[str]] = {}
    for label, reason in incomplete:
        by_reason.setdefault(reason, []).append(label)
    return {", ".join(labels): reason for reason, labels in by_reason.items()}


def _some(items: list[str], most: int = 4) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _quality(score: Score, metric: str) -> float:
    interval = score.metrics[metric]
    assert interval is not None, "a ranked row has a result on every column"
    return interval.mean if METRICS[metric].higher_is_better else -interval.mean


def _with_half(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.mean:.1f}" + (f" ±{interval.half:.1f}" if interval.half is not None else "")


def _gain(score: Score) -> str:
    test = score.gain
    if test is None:
        return "(reference)"
    if test.diff is None:
        return "-"
    span = f" [{test.diff - test.half:+.1f}, {test.diff + test.half:+.1f}]" if test.half is not None else ""
    return f"{test.diff:+.1f}{span} {MARKS[score.verdict]}"


def _seeds(score: Score) -> str:
    """`5`, or `4/5*` where some failed or are missing; which, the notes say."""
    planned = score.finished + score.failed + score.missing
    return str(score.finished) if score.finished == planned else f"{score.finished}/{planned}*"


def flat(board: Leaderboard) -> pd.DataFrame:
    """One line per method, column and metric, in full precision: what CSV carries."""
    lines = []
    for table in board.tables:
        for row in table.rows:
            for column, score in row.scores.items():
                for metric, interval in score.metrics.items():
                    lines.append(_flat_line(board, table, row, column, score, metric, interval))
    return pd.DataFrame(lines)


def _flat_line(
    board: Leaderboard,
    table: Table,
    row: Row,
    column: Column,
    score: Score,
    metric: str,
    interval: Interval | None,
) -> Mapping[str, object]:
    tested = score.gain if metric == board.primary else None
    return {
        "suite": board.suite,
        "recipe": table.recipe_name,
        "recipe_id": table.recipe_id,
        "method": row.label,
        "rank_low": row.rank[0],
        "rank_high": row.rank[1],
        "dataset": column[0],
        "imbalance": column[1],
        "manifest": column[2],
        "metric": metric,
        "mean": interval.mean if interval else None,
        "sd": interval.sd if interval else None,
        "ci95_half": interval.half if interval else None,
        "seeds": score.finished,
        "failed": score.failed,
        "missing": score.missing,
        "gain": tested.diff if tested else None,
        "gain_ci95_half": tested.half if tested else None,
        "p": tested.p if tested else None,
        "p_holm": score.p_holm if tested else None,
        "verdict": score.verdict if metric == board.primary else None,
        "reason": str(tested.reason) if tested and tested.reason else None,
    }
