"""What the page says of tests, intervals and ranks, with the page's own numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare, norm, ttest_rel

from ltbench.metric_names import DERIVED, METRICS
from ltbench.metrics import Predictions, from_predictions
from ltbench.ranking.board import Leaderboard, Row, Table
from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.formats.as_json import as_data
from ltbench.ranking.formats.notes import header, notes
from ltbench.ranking.images import Sampling, strata_of
from ltbench.ranking.looks import Named, Standing
from ltbench.ranking.ranking import Rules, rank
from ltbench.ranking.table import _of_all
from ltbench.spec import Result
from ltbench.stats.behrens_fisher import tail
from ltbench.stats.fixed_datasets import rank_intervals, scope_a
from ltbench.stats.looks import Looks
from ltbench.stats.minimum import min_n
from ltbench.stats.paired import holm, paired_t
from ltbench.stats.reasons import MIN_SEEDS, Reason
from ltbench.workflow.make_board import BoardRequest, make_board
from tests.leaderboard_page.page import PAGE, REFERENCE
from tests.ranking.made import npz, plan_of
from tests.ranking.test_build import grid, result
from tests.ranking.test_draws import made as on_draws

SIGNS = st.integers(3, 7).flatmap(
    lambda n: st.lists(st.sampled_from([-1, 0, 1]), min_size=n * (n - 1) // 2, max_size=n * (n - 1) // 2)
)
"""What is claimed of all pairs of 3 to 7 methods."""


def test_the_board_is_about_these_data_sets(board: Leaderboard, table: Table) -> None:
    assert header(board)[2].startswith("These data sets, new seeds and test images: ")
    claimed = {
        (p.a, p.b): int(np.sign(p.test.diff or 0)) for p in table.pairs if p.p_holm is not None and p.p_holm < 0.05
    }
    assert {row.label: row.rank for row in table.rows} == rank_intervals([row.label for row in table.rows], claimed)


def test_data_sets_are_pooled() -> None:
    """Three seeds say nothing on any one of four data sets, and enough on all of them."""
    noise = {"a": (-0.9, 0.1, 0.8), "b": (0.9, -0.8, -0.1), "c": (0.2, 0.8, -1.0), "d": (-0.2, -0.6, 0.8)}
    mine = {t: {s: 51 + x for s, x in enumerate(values)} for t, values in noise.items()}
    theirs = {t: dict.fromkeys(range(3), 50.0) for t in noise}
    assert all(scope_a({t: mine[t]}, {t: theirs[t]}).p > 0.1 for t in noise)  # type: ignore[operator]
    assert scope_a(mine, theirs).p < 0.01  # type: ignore[operator]


def test_one_draw_is_in_no_interval() -> None:
    """Without several draws, what another one would move is in no interval: that of a draw alone is far shorter."""
    kept = on_draws(moves=3.0)
    alone = [r for r in kept if r.spec.cell.subset_seed == 0]
    halves = []
    for some in (kept, alone):
        (table,) = build([Result.of(r) for r in some], plan_of(some)).tables
        halves.append(next(row.gain.test.half for row in table.rows if row.gain))
    assert halves[0] > 5 * halves[1]  # type: ignore[operator]


def test_a_column_is_about_its_own_draw() -> None:
    kept = on_draws(moves=3.0)
    (table,) = build([Result.of(r) for r in kept], plan_of(kept)).tables
    by_seed = {(r.spec.label, r.spec.cell.dataset, r.spec.seed): r.metrics["balanced_accuracy"] for r in kept}
    row = next(row for row in table.rows if row.label == "good")
    for column in table.columns:
        x, y = ([by_seed[m, column.dataset, s] for s in range(4)] for m in ("good", "ce"))
        assert row.scores[column].gain.p == pytest.approx(ttest_rel(x, y).pvalue)  # type: ignore[union-attr]


@pytest.mark.parametrize("turned", [False, True])
def test_where_draws_are_scarce_the_notes_ask_for_draws(turned: bool) -> None:
    """Also where the kind says that it is one data set; the block is called as the suite calls the data set."""
    kept = on_draws(moves=3.0)
    results = [replace(Result.of(r), kind="cifar10") for r in (kept[::-1] if turned else kept)]
    plan = replace(plan_of(kept), protocol={**plan_of(kept).protocol, "draws": {"a+1": "a", "a+2": "a"}})
    board = build(results, replace(plan, kinds=dict.fromkeys(("a", "a+1", "a+2"), "cifar10")))
    said = " ".join(notes(board))
    assert "Draws are random here, and there are 3 of a: more draws settle more than more seeds." in said
    assert "seeds would settle" not in said
    assert {found.block for found in board.tables[0].redrawn} == {"a"}


def test_five_methods_need_nine_data_sets(board: Leaderboard, table: Table) -> None:
    assert len(table.rows) == 5
    assert table.scope_b is not None
    assert (table.scope_b.needs, table.scope_b.pairs) == (9, ())
    assert any(line.endswith("across data sets in general you need at least 9.") for line in notes(board))


@pytest.mark.parametrize(("methods", "share"), [(3, 1 / 3), (10, 2 / 3)])
def test_factors_as_data_sets_claim_too_much(methods: int, share: float) -> None:
    """Three factors of three data sets, where what a data set does to a method is mostly the same at every factor (a
    correlation of 0.8): nine blocks for Friedman's test of equally good methods, and not three."""
    rng, boards = np.random.default_rng(0), 1500
    shared, own = rng.standard_normal((boards, methods, 3, 1)), rng.standard_normal((boards, methods, 3, 3))
    values = (math.sqrt(0.8) * shared + math.sqrt(0.2) * own).reshape(boards, methods, 9)
    found = sum(friedmanchisquare(*board).pvalue < 0.05 for board in values)
    assert found / boards == pytest.approx(share, abs=0.03)


def test_it_takes_29_runs_to_tell_three_quarters_from_a_half() -> None:
    """Noether's number of pairs (JASA 1987) at 5 %, one-sided, and a power of 95 %."""
    z = norm.ppf(0.95)
    assert math.ceil((2 * z / (math.sqrt(6) * (0.75 - 0.5))) ** 2) == 29 == min_n("probability_of_improvement")


@given(SIGNS)
def test_rank_intervals_that_are_apart_mean_a_significant_difference(signs: list[int]) -> None:
    """Of claims of which none contradict each other: whoever is better than one is better than all that it beats."""
    n = next(n for n in range(3, 8) if n * (n - 1) // 2 == len(signs))
    claimed = dict(zip(combinations(map(str, range(n)), 2), signs, strict=True))
    beats = {(a, b) if s > 0 else (b, a) for (a, b), s in claimed.items() if s}
    if any((b, a) in beats for a, b in beats) or any((a, d) not in beats for a, b in beats for c, d in beats if b == c):
        return
    ranks = rank_intervals([*map(str, range(n))], claimed)
    for a, b in combinations(ranks, 2):
        if ranks[a][1] < ranks[b][0]:
            assert (a, b) in beats


def test_rank_intervals_that_overlap_say_nothing_of_a_pair() -> None:
    names = [*"abcd"]
    ranks = rank_intervals(names, {("a", "b"): 1})
    assert ranks["a"] == (1, 3)
    assert ranks["b"] == (2, 4)


def test_regions_of_equivalence() -> None:
    ropes = {name: about.rope for name, about in {**METRICS, **DERIVED}.items()}
    one = {"few", "worst_class", "harmonic_mean", "geometric_mean", "ece"}
    assert {name for name in METRICS if ropes[name] == 1} | {"geometric_mean"} == one
    assert {ropes[name] for name in ("accuracy", "balanced_accuracy", "many", "medium", "macro_f1")} == {0.5}
    assert ropes["nll"] == 0.02
    results = grid({"ce": 50, "x": 51}, {"a": ["IF10"]})
    assert [table.rope for table in build(results).tables] == [0.5]


def test_one_metric_carries_the_verdict(table: Table, rows: dict[str, Row]) -> None:
    assert {metric for row in rows.values() for metric in row.others} == {"many", "medium", "few", "worst_class", "ece"}
    for metric in ("few", "worst_class"):
        gains = [row.others[metric] for row in rows.values() if metric in row.others]
        assert [g.p_holm for g in gains] == pytest.approx(holm([g.test.p for g in gains]))
        assert {g.test.shares for g in gains} == {None}, "over seeds alone"
    assert all(row.gain.test.shares is not None for row in rows.values() if row.gain), "with test images"


def test_what_was_chosen_afterwards_is_told() -> None:
    def told(**options: str) -> str:
        return " ".join(
            notes(make_board(BoardRequest(source=REFERENCE / "quickstart", options=BoardOptions(**options))).board)
        )

    assert "afterwards" not in told()
    assert "declares balanced_accuracy as its primary metric; verdicts on few, chosen afterwards" in told(primary="few")
    assert "declares ce as its reference; gains over mixup, chosen afterwards" in told(reference="mixup")


def test_fewest_observations() -> None:
    assert min_n("paired_t") == min_n("scope_a") == MIN_SEEDS == 3
    assert [min_n(test) for test in ("sign_flip", "wilcoxon", "mcnemar")] == [6, 6, 6]
    assert [min_n("wilcoxon", m) for m in (6, 10)] == [8, 9]
    assert {min_n("friedman", methods) for methods in range(3, 30)} == {5}


def test_reasons_stand_in_place_of_numbers() -> None:
    said = PAGE.split("there is a reason instead of a number:")[1].split("in JSON")[0]
    named = set(said.replace("`", " ").replace(",", " ").split()) & {str(reason) for reason in Reason}
    assert named == {"too_few_seeds", "too_few_datasets", "zero_variance", "identical", "all_tied", "incomplete"}
    data = as_data(build(grid({"ce": 50, "x": 60}, {"a": ["IF10"]}, seeds=2)))
    (pair,) = data["tables"][0]["pairs"]
    assert (pair["test"]["p"], pair["test"]["reason"], pair["test"]["needs"]) == (None, "too_few_seeds", 3)


def test_one_data_set_with_three_seeds_has_two_degrees_of_freedom() -> None:
    x, y = {"a": {0: 1.0, 1: 2.0, 2: 4.0}}, {"a": {0: 0.0, 1: 0.5, 2: 0.3}}
    assert scope_a(x, y).df == 2


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_one_pair_errs_on_the_safe_side(share: float) -> None:
    """One difference with three seeds: so much of its variance comes from test images."""
    rng, n = np.random.default_rng(1), 20_000
    of_seeds = (1 - share) * rng.chisquare(2, n) / 2
    diff = math.sqrt(1 - share) * rng.standard_normal(n) + math.sqrt(share) * rng.standard_normal(n)
    false = float(np.mean(tail(np.abs(diff), of_seeds, np.full(n, 2.0), np.full(n, share)) < 0.05))
    noise = 3 * math.sqrt(0.05 * 0.95 / n)
    assert 0.015 < false < 0.05 + noise
    if share in (0.0, 1.0):
        assert false > 0.05 - noise, "exact where one of the two adds nothing"


def test_intervals_are_wide_where_a_few_classes_weigh_most() -> None:
    """Two classes of which every other image is right, as heavy as each other and not."""
    truth, hits = np.repeat([0, 1], 100), np.tile([1.0, 0.0], 100)
    halves = []
    for weights in ((1.0, 1.0), (1.9, 0.1)):
        x = Sampling(strata_of(truth), 100 * np.repeat(weights, 100)).contributions(hits)
        shown, dark = {"a": dict.fromkeys(range(3), x)}, {"a": dict.fromkeys(range(3), np.zeros_like(x))}
        values = {"a": dict.fromkeys(range(3), float(x.mean()))}
        halves.append(scope_a(values, {"a": dict.fromkeys(range(3), 0.0)}, (shown, dark)).half)
    assert halves[0] == pytest.approx(196 * hits.std(ddof=1) / math.sqrt(200), rel=0.01)
    assert halves[1] == pytest.approx(math.hypot(1.9, 0.1) / math.hypot(1, 1) * halves[0], rel=0.01)


def test_other_data_sets_are_judged_by_the_first_look() -> None:
    results = grid({"ce": 50, "x": 60}, {"a": ["IF10"], "b": ["IF10"]}, seeds=8)
    columns = sorted({r.column for r in results})
    values = {(m, c): {r.seed: r.metrics["balanced_accuracy"] for r in results if (r.label, r.column) == (m, c)}
              for m in ("ce", "x") for c in columns}  # fmt: skip
    ranking = rank(["ce", "x"], columns, values, None, Rules(rope=0.5, reference="ce"))  # type: ignore[arg-type]
    _, alone = _of_all(ranking, Standing(Looks((3, 5, 8)), Named.reference, {"ce": 2, "x": 2}))
    assert alone is not None
    assert {tuple(by_seed) for of in alone.quality.values() for by_seed in of.values()} == {(0, 1, 2)}


def test_means_of_recalls_are_0_where_a_class_is_never_found() -> None:
    truth = np.repeat(np.arange(3), 4)
    label = np.where(truth == 2, 0, truth)
    metrics, _ = from_predictions(
        Predictions(label.astype(np.uint16), np.full(12, 0.5, np.float32)),
        truth,
        [200, 50, 5],
        {"many": 100, "few": 20},
    )
    assert (metrics["worst_class"], metrics["harmonic_mean"]) == (0, 0)


def test_seeds_that_share_nothing_make_intervals_wider_and_not_wrong() -> None:
    """Ten runs of two equally good methods. Where a seed moves both alike, pairs are less noisy; where runs share
    nothing, as many intervals hold, and they are as wide as the noise of both."""
    rng, boards = np.random.default_rng(2), 2000
    common = rng.standard_normal((boards, 10))
    held, width = [], []
    for shared in (0.0, 1.0):
        a, b = (shared * 2 * common + rng.standard_normal((boards, 10)) * (1 if shared else math.sqrt(5)) for _ in "ab")
        d = a - b
        half = 2.2622 * d.std(axis=1, ddof=1) / math.sqrt(10)
        held.append(float(np.mean(np.abs(d.mean(axis=1)) <= half)))
        width.append(float(half.mean()))
        one = paired_t(dict(enumerate(a[0])), dict(enumerate(b[0])))
        assert one.half == pytest.approx(half[0], rel=1e-4)
    assert all(0.935 < share < 0.965 for share in held)
    assert width[0] > 2 * width[1]


def null_board(rng: np.random.Generator, methods: int = 10, seeds: int = 3, images: int = 200) -> Leaderboard:
    """Equally good methods whose seeds scatter, and which find other images hard; their predictions are at hand."""
    truth, hard = np.arange(images) % 10, rng.normal(0, 1, images)
    kept, stored = [], {}
    for m in range(methods):
        of_method = rng.normal(0, 0.6, images)
        for seed in range(seeds):
            ease = 0.5 + hard + of_method + rng.normal(0, 0.2) + rng.normal(0, 0.8, images)
            right = rng.random(images) < 1 / (1 + np.exp(-ease))
            value = float(np.mean([100 * right[truth == c].mean() for c in range(10)]))
            one = result(f"m{m}" if m else "ce", seed=seed, value=value)
            kept.append(one)
            stored[one.key] = npz(np.where(right, truth, (truth + 1) % 10), truth)
    return build(kept, predictions=stored.get)


def test_boards_of_equally_good_methods_rarely_claim_a_difference() -> None:
    """Of 24, one in twenty may: more than 4 have a probability of less than 0.5 %."""
    rng = np.random.default_rng(5)
    tables = [null_board(rng).tables[0] for _ in range(24)]
    assert all(table.with_images for table in tables)
    assert sum(any(p.p_holm is not None and p.p_holm < 0.05 for p in table.pairs) for table in tables) <= 4
