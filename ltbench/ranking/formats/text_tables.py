"""A leaderboard as rows of text: what the terminal and Markdown show. Built with pandas."""

from __future__ import annotations

import pandas as pd

from ltbench.metrics import metric_of
from ltbench.ranking.board import Leaderboard, Row, Score, Table
from ltbench.ranking.published import Judgement
from ltbench.spec import Column
from ltbench.stats.fixed_datasets import ScopeATest, Verdict
from ltbench.stats.intervals import Interval

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


def overview(table: Table, primary: str, *, wide: bool = False) -> pd.DataFrame:
    """Rank interval, method, mean over data sets with its interval, gain over the reference with its interval and
    verdict, and the primary metric on every column (or, where these are many, on every data set). `wide` adds mean
    rank, interquartile gain, probability of improvement, the gains in the other metrics, and every column."""
    rows = []
    for i, row in enumerate(table.rows):
        half = "" if row.half is None else f" ±{row.half:.1f}"
        line: dict[str, str] = {"rank": row.rank_label, "method": row.label, "mean": f"{row.mean:.1f}{half}"}
        if table.reference is not None:
            line["gain [95% CI]"] = "(reference)" if row.gain is None else difference(row.gain.test, row.gain.verdict)
        if wide:
            line |= _wide(table, i, row)
        places = _places(table, row, primary, every=wide)
        rows.append({**line, **{f"data set {name}" if name in line else name: shown for name, shown in places.items()}})
    return pd.DataFrame(rows)


def _wide(table: Table, position: int, row: Row) -> dict[str, str]:
    line = {}
    if table.scope_b is not None:
        line["mean rank"] = f"{table.scope_b.friedman.mean_ranks[position]:.1f}"
    if table.reference is None:
        return line
    line["IQM gain"] = interquartile(row)
    line["P(better)"] = "" if row.improvement is None else f"{row.improvement:.2f}"
    for metric in dict.fromkeys(m for other in table.rows for m in other.others):
        pair = row.others.get(metric)
        shown = "" if pair is None else "-" if pair.test.diff is None else f"{pair.test.diff:+.1f}"
        mark = f" {OVERALL[pair.verdict]}" if pair is not None and pair.test.diff is not None else ""
        line[f"{metric_of(metric).short} gain"] = shown + mark
    return line


def interquartile(row: Row) -> str:
    """`+2.1 [+1.8, +2.5]`; without the interval where there are too few seeds for it."""
    if row.iqm is None:
        return ""
    span = "" if row.iqm.low is None else f" [{row.iqm.low:+.1f}, {row.iqm.high:+.1f}]"
    return f"{row.iqm.value:+.1f}{span}"


def _places(table: Table, row: Row, primary: str, *, every: bool) -> dict[str, str]:
    if every or len(table.columns) <= MOST_COLUMNS:
        return {table.title(column): plain_mean([row.scores[column]], primary) for column in table.columns}
    return {table.heading(d): plain_mean([row.scores[c] for c in table.columns_of(d)], primary) for d in table.datasets}


def plain_mean(scores: list[Score], metric: str) -> str:
    """Mean over columns, with a star where seeds are missing or failed."""
    means = [i.mean for s in scores if (i := s.metrics[metric]) is not None]
    partial = "*" if any(s.failed or s.missing for s in scores) else ""
    return f"{sum(means) / len(means):.1f}{partial}"


def difference(test: ScopeATest, verdict: Verdict) -> str:
    """`+2.6 [+2.3, +2.9] ^`."""
    if test.diff is None:
        return "-"
    span = "" if test.half is None else f" [{test.diff - test.half:+.1f}, {test.diff + test.half:+.1f}]"
    return f"{test.diff:+.1f}{span} {OVERALL[verdict]}"


def detail(table: Table, column: Column, board: Leaderboard) -> pd.DataFrame:
    """One column in full: mean with interval, gain with interval, adjusted p, the other reported metrics, seeds."""
    ordered = sorted(table.rows, key=lambda row: _quality(row.scores[column], board.primary), reverse=True)
    others = [m for m in board.report if m != board.primary]
    rows = []
    for row in ordered:
        score = row.scores[column]
        line = {"method": row.label, metric_of(board.primary).short: _with_half(score.metrics[board.primary])}
        line["gain [95% CI]"] = _gain(score)
        line["p (Holm)"] = "" if score.gain is None else ("-" if score.p_holm is None else readable_p(score.p_holm))
        for metric in others:
            interval = score.metrics.get(metric)
            line[metric_of(metric).short] = "-" if interval is None else f"{interval.mean:.1f}"
        line["seeds"] = _seeds(score)
        rows.append(line)
    return pd.DataFrame(rows)


def beside(board: Leaderboard, *, every: bool) -> pd.DataFrame:
    """Published numbers and ours; those of other recipes only if `every`."""
    rows = []
    for b in board.published:
        if every or b.judgement is not Judgement.OTHER_RECIPE:
            rows.append(
                {
                    "method": b.label,
                    "column": b.column.label,
                    "published": f"{b.published.value:.1f}",
                    "ours": _with_half(b.ours),
                    "": b.judgement.value.replace("_", " "),
                    "source": b.published.source.split(" (")[0].split(",")[0],
                }
            )
    return pd.DataFrame(rows)


def readable_p(p: float) -> str:
    """`0.012`, or `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _quality(score: Score, metric: str) -> float:
    interval = score.metrics[metric]
    assert interval is not None, "a ranked row has a result on every column"
    return interval.mean if metric_of(metric).higher_is_better else -interval.mean


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
