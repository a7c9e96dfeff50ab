"""A comparison of two methods as text, ending in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from ltbench.metric_names import METRICS
from ltbench.ranking.formats.text_tables import difference, mean_over, readable_p, signed
from ltbench.ranking.pairs import ALPHA
from ltbench.ranking.views.compare import ClassGain, Comparison
from ltbench.spec import Column
from ltbench.stats.crossed import McNemar
from ltbench.stats.fixed_datasets import ScopeATest, Verdict
from ltbench.stats.paired import PairTest

MOST_CLASSES = 5


def comparison_text(comparison: Comparison) -> str:
    """Verdict first, then columns, metrics, classes, and where the uncertainty comes from."""
    a, b, board = comparison.a, comparison.b, comparison.board
    blocks = [f"{a} against {b} ({board.suite}): {METRICS[board.primary].title}\n{_verdict(comparison)}"]
    digits = METRICS[board.primary].digits
    held = "over seeds and images" if comparison.table.with_images else "over seeds"
    columns = [
        [comparison.table.title(c), *_means(comparison, c), _difference(t, digits), _p(t),
         f"{t.wins}-{t.ties}-{t.losses}"]
        for c, t in comparison.by_column.items()
    ]  # fmt: skip
    columns += [
        [f"{dataset} (mean)", *_dataset_means(comparison, dataset), _difference(t, digits), _p(t), ""]
        for dataset, t in comparison.by_dataset.items()
    ]
    blocks.append(_table(["column", a, b, f"difference [95% CI {held}]", "p", "seeds won-tied-lost"], columns))
    metrics = [_metric(name, *means) for name, means in comparison.by_metric.items()]
    blocks.append(_table(["mean over columns", a, b, "difference [95% CI over seeds]"], metrics))
    blocks += [_classes(comparison, c) for c in comparison.table.columns if comparison.class_gains[c]]
    if comparison.tail:
        blocks.append("\n".join(_tail(comparison, c) for c in comparison.tail))
    if single := _single_models(comparison):
        blocks.append("\n".join(single))
    blocks.append(_uncertainty(comparison))
    return "\n\n".join(blocks) + "\n"


def _metric(name: str, mine: float, theirs: float, test: PairTest) -> list[str]:
    """A line of the metrics' table, as the metric is measured: the difference is a - b, whichever is better."""
    about = METRICS[name]
    digits = about.digits
    lower = "" if about.higher_is_better else " (lower is better)"
    return [about.title + lower, f"{mine:z.{digits}f}", f"{theirs:z.{digits}f}", _difference(test, digits)]


def _verdict(comparison: Comparison) -> str:
    test, pair = comparison.overall.test, comparison.overall
    if test.diff is None:
        return "No difference can be given: " + (test.reason.words if test.reason else "") + "."
    datasets = len(comparison.table.datasets) - len(comparison.table.drawn_again)
    seen = f"{test.seeds} paired seeds, {datasets} data set{'s' * (datasets > 1)}"
    p = (
        f"p {_equals(pair.p_holm)}"
        if pair.p_holm is not None
        else f"no p-value ({test.reason.words if test.reason else ''})"
    )
    said = _words(comparison, pair.verdict) + _family(comparison) + _sign_flips(comparison)
    digits = METRICS[comparison.board.primary].digits + 1
    return f"{difference(test.diff, test.half, digits)}, {p}, {seen}.\n{said}"


def _sign_flips(comparison: Comparison) -> str:
    """The same question to the seeds alone, without a normal distribution; nothing below 6 seeds."""
    p, _, seeds = comparison.flipped
    return (
        ""
        if p is None
        else f"\nSign-flip permutation of the {seeds} seeds' differences (no normal distribution "
        f"assumed, test images as they are): p {_equals(p)}."
    )


def _family(comparison: Comparison) -> str:
    """A pair that was picked from a table was picked from all its pairs."""
    p, pairs = comparison.in_family
    if pairs < 2 or p is None:
        return ""
    still = "" if p < ALPHA or comparison.overall.verdict is Verdict.undecided else ", undecided"
    return (
        f"\nThat is for a pair chosen beforehand: no p here is adjusted for others. Chosen from the leaderboard, it is "
        f"one of {pairs}\npairs: p (Holm) {_equals(p)}{still}."
    )


def _words(comparison: Comparison, verdict: Verdict) -> str:
    rope = comparison.table.rope
    scope = "on these data sets with new seeds" + (" and test images" if comparison.table.with_images else "")
    return {
        Verdict.better: f"{comparison.a} is better than {comparison.b} {scope}.",
        Verdict.worse: f"{comparison.a} is worse than {comparison.b} {scope}.",
        Verdict.slightly_better: f"{comparison.a} is better than {comparison.b} {scope}, but by less than {rope:g}.",
        Verdict.slightly_worse: f"{comparison.a} is worse than {comparison.b} {scope}, but by less than {rope:g}.",
        Verdict.equivalent: f"The two are equivalent within {rope:g} {scope}.",
        Verdict.undecided: f"Which of the two is better {scope} is undecided.",
    }[verdict]


def _means(comparison: Comparison, column: Column) -> list[str]:
    rows = {row.label: row.scores[column].metrics[comparison.board.primary] for row in comparison.table.rows}
    digits = METRICS[comparison.board.primary].digits
    return [f"{interval.mean:.{digits}f}" if (interval := rows[name]) else "-" for name in (comparison.a, comparison.b)]


def _dataset_means(comparison: Comparison, dataset: str) -> list[str]:
    rows, columns = {row.label: row for row in comparison.table.rows}, comparison.table.columns_of(dataset)
    return [mean_over(rows[name], columns, comparison.board.primary).text for name in (comparison.a, comparison.b)]


def _tail(comparison: Comparison, column: Column) -> str:
    """The wider question: tail classes in general, of which these are a sample."""
    mean, half, classes = comparison.tail[column]
    return (
        f"few-shot classes as a sample of tail classes, {comparison.table.title(column)}: {difference(mean, half)} "
        f"over {classes} classes"
    )


def _difference(test: PairTest | ScopeATest, digits: int) -> str:
    """Without an interval where seeds never differ."""
    return difference(test.diff, test.half or None, digits)


def _p(test: PairTest | ScopeATest) -> str:
    return "-" if test.p is None else readable_p(test.p)


def _equals(p: float) -> str:
    """`= 0.012`, or `<0.001`."""
    return readable_p(p) if p < 0.001 else f"= {readable_p(p)}"


def _classes(comparison: Comparison, column: Column) -> str:
    """The classes that gain and that lose most; all of them where they are few."""
    gains = comparison.class_gains[column]
    title = f"recall by class on {comparison.table.title(column)}, points (training images)"
    if len(gains) <= 2 * MOST_CLASSES:
        return f"{title}: {_listed(gains)}"
    ordered = sorted(gains, key=lambda c: c.gain)
    best, worst = _listed(ordered[::-1][:MOST_CLASSES]), _listed(ordered[:MOST_CLASSES])
    return f"{title}:\n  most gained: {best}\n  most lost:   {worst}"


def _listed(gains: Sequence[ClassGain]) -> str:
    return ", ".join(f"{c.name} {signed(c.gain)} ({c.train_images:.0f})" for c in gains)


def _single_models(comparison: Comparison) -> list[str]:
    """McNemar's test of each pair of models; how many images only one of the two gets right."""
    lines = []
    for column, tests in comparison.models.items():
        said = ", ".join(f"s{seed} {_mcnemar(test)}" for seed, test in tests.items())
        lines.append(f"McNemar per seed, {comparison.table.title(column)}: {said}")
    if lines:
        lines.append(
            f"  (images that only {comparison.a} gets right : only {comparison.b}; mid-p. Each test is of two trained "
            "models, not of the methods.)"
        )
    return lines


def _mcnemar(test: McNemar) -> str:
    p = "too few to test" if test.p is None else f"p {_equals(test.p)}"
    return f"{p} ({test.b}:{test.c})"


def _uncertainty(comparison: Comparison) -> str:
    if not comparison.crossed:
        why = comparison.table.without_images
        return f"Seeds only: the noise of the test images is not in these intervals ({why})."
    lines = ["Where the uncertainty comes from (new seeds and new test images):"]
    for dataset, crossed in comparison.crossed.items():
        if crossed.shares is not None:
            seeds, images, both = (f"{100 * share:.0f} %" for share in crossed.shares)
            lines.append(f"  {dataset}: {seeds} seeds, {images} test images, {both} their interaction")
    return "\n".join(lines)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return tabulate(rows, headers=heads, tablefmt="simple", disable_numparse=True,
                    colalign=["left", "right", "right", *["left"] * (len(heads) - 3)])  # fmt: skip
