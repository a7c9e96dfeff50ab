"""A leaderboard's tables as entries: the texts that the terminal, Markdown and pages show, and the numbers in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ltbench.metric_names import COSTS, metric_of
from ltbench.ranking.board import Leaderboard, Row, Score, Table
from ltbench.ranking.formats.marks import MARKS, OVERALL
from ltbench.ranking.published import Judgement
from ltbench.spec import Column
from ltbench.stats.intervals import Interval

GAIN = "gain [95% CI]"
"""Head of the column of gains over the reference."""
MOST_COLUMNS = 3
"""More columns than this are shown by data set in the overview, or it would not fit a terminal."""


class Entry(NamedTuple):
    """One place of a table: what stands there, and the number it begins with, rounded as it is shown."""

    text: str
    value: float | None = None


Line = dict[str, Entry]
"""Head -> entry. All lines of a table have the same heads."""


def overview(table: Table, primary: str, *, wide: bool = False) -> list[Line]:
    """Rank interval, method, mean over data sets with its interval, gain over the reference with its interval and
    verdict, and the primary metric on every column (or, where these are many, on every data set). `wide` adds mean
    rank, interquartile gain, probability of improvement, the gains in the other metrics, and every column."""
    lines, digits = [], metric_of(primary).digits
    for i, row in enumerate(table.rows):
        line = {"rank": Entry(row.rank_label, float(row.rank[0])), "method": Entry(row.name)}
        line["mean"] = _with_half(row.mean, row.half, digits)
        if table.reference is not None:
            line[GAIN] = overall_gain(row, digits)
        if wide:
            line |= _wide(table, i, row, digits)
        shown = {title: mean_over(row, columns, primary) for title, columns in places(table, every=wide).items()}
        lines.append({**line, **{f"data set {title}" if title in line else title: e for title, e in shown.items()}})
    return lines


def _wide(table: Table, position: int, row: Row, digits: int) -> Line:
    line = {}
    if table.scope_b is not None:
        mean_rank = table.scope_b.friedman.mean_ranks[position]
        line["mean rank"] = Entry(f"{mean_rank:.1f}", round(mean_rank, 1))
    if table.reference is None:
        return line
    line["IQM gain"] = _interquartile(row, digits)
    better = row.improvement
    line["P(better)"] = Entry("") if better is None else Entry(f"{better:.2f}", round(better, 2))
    for metric in dict.fromkeys(m for other in table.rows for m in other.others):
        pair = row.others.get(metric)
        about = metric_of(metric)
        shown = Entry("") if pair is None else _gain(pair.test.diff, None, OVERALL[pair.verdict], about.digits)
        line[f"{about.short} gain"] = shown
    return line


def _interquartile(row: Row, digits: int) -> Entry:
    """`+2.1 [+1.8, +2.5]`; without the interval where there are too few seeds for it."""
    if row.iqm is None:
        return Entry("")
    span = ""
    if row.iqm.low is not None and row.iqm.high is not None:
        span = f" [{signed(row.iqm.low, digits)}, {signed(row.iqm.high, digits)}]"
    return Entry(f"{signed(row.iqm.value, digits)}{span}", rounded(row.iqm.value, digits))


def places(table: Table, *, every: bool = False) -> dict[str, list[Column]]:
    """Title -> columns that are averaged under it: each column by itself, or data sets where the columns are many."""
    if every or len(table.columns) <= MOST_COLUMNS:
        return {table.title(column): [column] for column in table.columns}
    return {table.heading(dataset): table.columns_of(dataset) for dataset in table.datasets}


def mean_over(row: Row, columns: Sequence[Column], metric: str) -> Entry:
    """A method's mean over columns, with a star where seeds are missing or failed."""
    scores = [row.scores[column] for column in columns]
    means = [i.mean for s in scores if (i := s.metrics[metric]) is not None]
    mean, digits = sum(means) / len(means), metric_of(metric).digits
    return Entry(f"{mean:z.{digits}f}" + "*" * any(s.failed or s.missing for s in scores), round(mean, digits))


def overall_gain(row: Row, digits: int = 1) -> Entry:
    """`+2.6 [+2.3, +2.9] ^`: over the reference, over all data sets."""
    if row.gain is None:
        return Entry("(reference)")
    return _gain(row.gain.test.diff, row.gain.test.half, OVERALL[row.gain.verdict], digits)


def _gain(diff: float | None, half: float | None, mark: str, digits: int) -> Entry:
    return Entry("-") if diff is None else Entry(f"{difference(diff, half, digits)} {mark}", rounded(diff, digits))


def difference(diff: float | None, half: float | None, digits: int = 1) -> str:
    """`+2.6 [+2.3, +2.9]`, from a difference and the half-width of its interval."""
    if diff is None:
        return "-"
    span = "" if half is None else f" [{signed(diff - half, digits)}, {signed(diff + half, digits)}]"
    return f"{signed(diff, digits)}{span}"


def signed(x: float, digits: int = 1) -> str:
    """`+2.6`, `-0.3`; without a sign where it rounds to 0: a tie has no direction."""
    shown = f"{x:+.{digits}f}"
    return shown if float(shown) else shown[1:]


def rounded(x: float, digits: int = 1) -> float:
    """As it is shown, never -0.0."""
    return round(x, digits) + 0.0


def detail(table: Table, column: Column, board: Leaderboard) -> list[Line]:
    """One column in full: mean with interval, gain with interval, adjusted p, the other reported metrics, seeds."""
    ordered = sorted(table.rows, key=lambda row: _quality(row.scores[column], board), reverse=True)
    others, about = [m for m in board.report if m != board.primary], metric_of(board.primary)
    lines = []
    for row in ordered:
        score = row.scores[column]
        line = {"method": Entry(row.name), about.short: _estimate(score.metrics[board.primary], about.digits)}
        line[GAIN], line["p (Holm)"] = _column_gain(score, about.digits)
        for metric in others:
            interval = score.metrics.get(metric)
            line[metric_of(metric).short] = Entry("-") if interval is None else _mean(metric, interval.mean)
        line["seeds"] = _seeds(score)
        lines.append(line)
    return lines


def _column_gain(score: Score, digits: int) -> tuple[Entry, Entry]:
    """The gain over the reference on one column, and its p after Holm's correction."""
    if score.gain is None:
        return Entry("(reference)"), Entry("")
    gain, p = _gain(score.gain.diff, score.gain.half, MARKS[score.verdict], digits), score.p_holm
    return gain, Entry("-") if p is None else Entry(readable_p(p), max(round(p, 3), 0.001))


def beside(board: Leaderboard, *, every: bool) -> list[Line]:
    """Published numbers and ours; those of other recipes only if `every`."""
    return [
        {
            "method": Entry(b.label),
            "column": Entry(b.column.label),
            "published": Entry(f"{b.published.value:.1f}"),
            "ours": _estimate(b.ours, 1),
            "": Entry(b.judgement.value.replace("_", " ")),
            "source": Entry(b.published.source.split(" (")[0].split(",")[0]),
        }
        for b in board.published
        if every or b.judgement is not Judgement.OTHER_RECIPE
    ]


def readable_p(p: float) -> str:
    """`0.012`, or `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _quality(score: Score, board: Leaderboard) -> float:
    interval = score.metrics[board.primary]
    assert interval is not None, "a ranked row has a result on every column"
    return interval.mean if board.about(board.primary).higher_is_better else -interval.mean


def _estimate(interval: Interval | None, digits: int) -> Entry:
    return Entry("-") if interval is None else _with_half(interval.mean, interval.half, digits)


def _mean(metric: str, mean: float) -> Entry:
    if metric in COSTS:
        return Entry(short_number(mean), mean)
    return _with_half(mean, None, metric_of(metric).digits)


def short_number(value: float) -> str:
    """Three digits: `0.0123`, `390`, `78.2k`, `12M`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _with_half(mean: float, half: float | None, digits: int) -> Entry:
    """`38.4 ±0.3`."""
    return Entry(f"{mean:z.{digits}f}" + ("" if half is None else f" ±{half:.{digits}f}"), rounded(mean, digits))


def _seeds(score: Score) -> Entry:
    """`5`, or `4/5*` where some failed or are missing; which, the notes say."""
    planned, finished = score.finished + score.failed + score.missing, score.finished
    return Entry(str(finished), float(finished)) if finished == planned else Entry(f"{finished}/{planned}*")
