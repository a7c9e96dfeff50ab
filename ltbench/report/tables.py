"""A leaderboard as rows of text: what the terminal and Markdown show, and in which words. Built with pandas."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ltbench.metrics import METRICS
from ltbench.report.board import Column, Leaderboard, Score, Table
from ltbench.stats.intervals import Interval
from ltbench.stats.reasons import Reason

MARKS = {"better": "^", "worse": "v", "undecided": "?", "reference": ""}
LEGEND = "^ better  v worse  ? not resolved (Holm-adjusted p >= 0.05, or no test)"


def header(board: Leaderboard) -> list[str]:
    """Two lines: what is ranked and by which rule; how much there is and how it is tested."""
    same = " (= accuracy: balanced test sets)" if board.balanced_tests and "accuracy" in board.primary else ""
    unit = "" if board.primary == "nll" else ", %"
    references = sorted({t.reference for t in board.tables if t.reference})
    family = max((t.comparisons for t in board.tables if t.reference), default=0)
    tested = f"same data, new seeds: paired t, Holm over {family} per column" if family else "nothing is tested"
    return [
        f"{board.suite}: {METRICS[board.primary].title}{unit}{same}, last epoch, "
        f"{'reference ' + ', '.join(references) if references else 'no reference'}",
        f"{board.finished} of {board.trials} trials, {board.failed} failed, {board.missing} missing; {tested}",
    ]


def overview(table: Table, primary: str) -> pd.DataFrame:
    """Rank, method, mean over data sets, mean gain, and the primary metric on every column with its mark."""
    rows = []
    for row in table.rows:
        line: dict[str, str] = {"rank": str(row.rank), "method": row.label, "mean": f"{row.mean:.1f}"}
        line["gain"] = "" if row.gain is None else f"{row.gain:+.1f}"
        for column in table.columns:
            line[table.title(column)] = _marked(row.scores[column], primary)
        rows.append(line)
    return pd.DataFrame(rows)


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
        reason = (result.error or "no reason given").strip().splitlines()[-1]
        lines.append(
            f"Failed: {result.label} {result.dataset} {result.imbalance} s{result.seed} ({result.key}): {reason}"
        )
    lines += [f"Left out: {n} results {why}." for why, n in board.left_out.items()]
    if len(board.tables) > 1:
        lines.append("Tables are apart because their recipes differ; rows of different tables are not comparable.")
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


def _marked(score: Score, metric: str) -> str:
    interval = score.metrics[metric]
    assert interval is not None, "a ranked row has a result on every column"
    partial = "*" if score.failed or score.missing else ""
    return f"{interval.mean:.1f}{partial} {MARKS[score.verdict]}".rstrip()


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
    absent = [f"{n} {word}" for n, word in ((score.failed, "failed"), (score.missing, "missing")) if n]
    return str(score.finished) + (f"* ({', '.join(absent)})" if absent else "")


def flat(board: Leaderboard) -> pd.DataFrame:
    """One line per method, column and metric, in full precision: what CSV carries."""
    lines = []
    for table in board.tables:
        for row in table.rows:
            for column, score in row.scores.items():
                for metric, interval in score.metrics.items():
                    lines.append(_flat_line(board, table, row.label, row.rank, column, score, metric, interval))
    return pd.DataFrame(lines)


def _flat_line(
    board: Leaderboard,
    table: Table,
    label: str,
    rank: int,
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
        "method": label,
        "rank": rank,
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
