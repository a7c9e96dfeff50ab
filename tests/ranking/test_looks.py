"""Boards whose seeds run until comparisons are decided: where rows stand, who goes on, and that nothing else moves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ltbench.ranking.board import Leaderboard, Table
from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.formats.compare_text import comparison_text
from ltbench.ranking.formats.render import FORMATS
from ltbench.ranking.images import Images
from ltbench.ranking.looks import Named, Standing, due_seeds, up_to
from ltbench.ranking.ranking import Rules, rank
from ltbench.ranking.views.compare import compare
from ltbench.spec import Column, Expectation, Result, Selection
from ltbench.stats.fixed_datasets import Verdict
from ltbench.stats.looks import Looks
from tests.ranking.made import PROTOCOL, html_of, plan_of, records

LOOKS = (3, 5, 8, 13, 20)
METHODS = {"ce": 0.5, "good": 0.9, "bad": 0.1, "twin": 0.5}
PLACES = {"a": (10.0,), "b": (10.0,)}
Seeds = Mapping[str, int]


def planned(pairs: str = "reference", looks: tuple[int, ...] = LOOKS) -> Expectation:
    protocol = {**PROTOCOL, "seeds": list(range(looks[-1])), "looks": {"seeds": list(looks), "pairs": pairs}}
    return plan_of(records(METHODS, PLACES, seeds=1), **protocol)


def made(values: Mapping[str, np.ndarray], seeds: Seeds) -> list[Result]:
    """Results of rows with so many seeds; values: row -> (data sets, seeds) accuracies."""
    one = {(r.spec.label, r.spec.cell.dataset): Result.of(r) for r in records(METHODS, PLACES, seeds=1)}
    return [
        replace(one[m, d], key=f"{m}-{d}-{s}", seed=s, metrics={"balanced_accuracy": float(x[s])})
        for m, by_dataset in values.items()
        for d, x in zip(PLACES, by_dataset, strict=True)
        for s in range(seeds[m])
    ]


def drawn(means: Mapping[str, float], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {m: mean + 0.5 * rng.standard_normal((len(PLACES), 20)) for m, mean in means.items()}


def table(values: Mapping[str, np.ndarray], seeds: Seeds, pairs: str = "reference") -> Table:
    (found,) = build(made(values, seeds), planned(pairs)).tables
    return found


def carried_out(values: Mapping[str, np.ndarray], pairs: str = "reference") -> tuple[Table, list[Seeds]]:
    """What a run comes to, and the seeds after each of its looks."""
    seeds: Seeds = dict.fromkeys(values, LOOKS[0])
    steps = [seeds]
    while True:
        found = table(values, seeds, pairs)
        assert found.standing is not None
        if found.standing.due == seeds:
            return found, steps
        seeds = found.standing.due
        steps.append(seeds)


APART = {"ce": 50.0, "good": 60.0, "bad": 40.0, "twin": 50.0}


# -- who goes on -------------------------------------------------------------------------------------------------------


def test_rows_that_are_decided_stop_and_the_reference_goes_on_with_the_others() -> None:
    found, steps = carried_out(drawn(APART))
    assert steps[0] == dict.fromkeys(APART, 3)
    assert steps[-1]["good"] == steps[-1]["bad"] < steps[-1]["ce"] == steps[-1]["twin"]
    gains = {row.label: row.gain.verdict for row in found.rows if row.gain}
    assert (gains["good"], gains["bad"]) == (Verdict.better, Verdict.worse)
    assert found.missing == 0


def test_with_all_pairs_both_rows_of_an_undecided_pair_go_on() -> None:
    values = drawn({**APART, "good": 60.6, "bad": 60.0})
    _, of_gains = carried_out(values)
    found, of_pairs = carried_out(values, "all")
    assert of_pairs[-1]["good"] == of_pairs[-1]["bad"] > of_gains[-1]["good"] == of_gains[-1]["bad"]
    undecided = [pair for pair in found.pairs if pair.verdict is Verdict.undecided]
    assert all(of_pairs[-1][pair.a] == of_pairs[-1][pair.b] == 20 for pair in undecided)


def test_equal_rows_stop_as_equivalent_or_at_the_last_look() -> None:
    same = drawn(dict.fromkeys(APART, 50.0))
    found, steps = carried_out({m: 50 + 0.1 * (x - 50) for m, x in same.items()})
    assert {row.gain.verdict for row in found.rows if row.gain} == {Verdict.equivalent}
    assert max(steps[-1].values()) < 20
    _, steps = carried_out({m: 50 + 4 * (x - 50) for m, x in same.items()})
    assert max(steps[-1].values()) == 20


def test_what_is_due_follows_from_the_records_wherever_the_run_was_ended() -> None:
    """Records of a look that came in part change nothing about what is due at that look."""
    values = drawn(APART)
    _, steps = carried_out(values)
    for before, after in pairwise(steps):
        for row in after:
            part = {**before, row: after[row]}
            standing = table(values, part).standing
            assert standing is not None
            assert standing.due == after, (before, row)


def test_nobody_goes_on_before_all_due_rows_have_reached_a_look() -> None:
    standing = Standing(Looks((3, 5)), Named.reference, {"ce": 1, "a": 1, "b": 0})
    still = np.array([[True, True], [True, True]])
    assert due_seeds(standing, [("ce", "a"), ("ce", "b")], still) == {"ce": 3, "a": 3, "b": 3}
    at = replace(standing, at={"ce": 1, "a": 1, "b": 1})
    assert due_seeds(at, [("ce", "a"), ("ce", "b")], np.array([[True, False], [True, False]])) == {
        "ce": 5, "a": 5, "b": 3,
    }  # fmt: skip


def test_rows_that_are_the_same_on_every_seed_have_nothing_to_wait_for() -> None:
    values = drawn(APART)
    found, steps = carried_out({**values, "twin": values["ce"]})
    assert steps[-1] == dict.fromkeys(APART, 3)
    assert found.pairs.between("twin", "ce").verdict is Verdict.undecided


def test_what_the_test_images_cannot_decide_does_not_wait_for_seeds() -> None:
    """Two rows that differ by 0.2 points on 50 images, whatever the seed: their noise is many times that."""
    rng = np.random.default_rng(0)
    on_images = {m: 60 + 20 * rng.standard_normal(50) for m in ("ce", "near")}
    on_images["near"] += on_images["ce"].mean() + 0.2 - on_images["near"].mean()
    column = Column("a", "IF10", "manifest")
    images = {
        (m, column): {s: (x + 0.05 * rng.standard_normal(50)).astype(np.float32) for s in range(8)}
        for m, x in on_images.items()
    }
    values = {key: {s: float(x.mean()) for s, x in of.items()} for key, of in images.items()}

    def due(pictures: Images | None) -> Mapping[str, int]:
        standing = Standing(Looks((3, 5, 8)), Named.reference, dict.fromkeys(on_images, 1))
        few = up_to(values, 3)
        return rank(list(on_images), [column], few, pictures, Rules(rope=0.1, reference="ce", standing=standing)).due

    assert due(Images(up_to(images, 3))) == {"ce": 3, "near": 3}
    scattered = {key: {s: x + 0.3 * (-1) ** s for s, x in of.items()} for key, of in values.items() if key[0] == "near"}
    values.update(scattered)
    assert due(None) == {"ce": 5, "near": 5}, "seeds alone could still decide it"


def test_failed_trials_count_as_run_and_a_row_without_results_stops() -> None:
    values = drawn(APART)
    results = [
        replace(r, status="failed", metrics={}, error="Diverged: step 3") if r.label == "bad" else r
        for r in made(values, dict.fromkeys(APART, 3))
    ]
    (found,) = build(results, planned()).tables
    assert found.standing is not None
    assert found.standing.due["bad"] == 3
    assert found.standing.due["ce"] == found.standing.due["twin"] == 5


def test_a_table_without_the_reference_decides_all_its_pairs() -> None:
    results = [replace(r, recipe_name="r2", recipe_id="r2") for r in made(drawn(APART), dict.fromkeys(APART, 3))]
    plan = planned()
    plan = replace(plan, protocol={**plan.protocol, "reference": "other"},
                   rows={m: row._replace(recipe="r2") for m, row in plan.rows.items()})  # fmt: skip
    (found,) = build(results, plan).tables
    assert found.standing is not None
    assert found.standing.named is Named.all


# -- what is claimed ---------------------------------------------------------------------------------------------------


def test_before_the_first_look_nothing_is_claimed() -> None:
    found = table(drawn(APART), dict.fromkeys(APART, 2))
    assert found.standing is not None
    assert set(found.standing.at.values()) == {0}
    assert {pair.verdict for pair in found.pairs} == {Verdict.undecided}
    assert {row.rank for row in found.rows} == {(1, 4)}
    assert all(row.gain.test.diff is not None for row in found.rows if row.gain), "means are shown all the same"


def test_seeds_beyond_a_look_wait_for_the_rest_of_it() -> None:
    values = drawn(APART)
    exact, more = (build(made(values, dict.fromkeys(APART, n)), planned()) for n in (3, 4))
    assert more.left_out == {"that wait for the rest of their look": 8}
    assert [row.mean for row in more.tables[0].rows] == [row.mean for row in exact.tables[0].rows]
    assert list(more.tables[0].pairs) == list(exact.tables[0].pairs)


def test_one_look_is_the_board_of_as_many_fixed_seeds() -> None:
    results = made(drawn(APART), dict.fromkeys(APART, 5))
    fixed = replace(planned(), protocol={**PROTOCOL, "seeds": [0, 1, 2, 3, 4]})
    (once,), (plain,) = (build(results, plan).tables for plan in (planned(looks=(5,)), fixed))
    for a, b in zip(once.rows, plain.rows, strict=True):
        assert (a.label, a.rank, a.mean) == (b.label, b.rank, b.mean)
        assert a.half == pytest.approx(b.half)
        assert {c: s.rank for c, s in a.scores.items()} == {c: s.rank for c, s in b.scores.items()}
    for p, q in zip(once.pairs, plain.pairs, strict=True):
        assert (p.verdict, p.p_holm) == (q.verdict, pytest.approx(q.p_holm))


def test_intervals_are_at_the_level_of_the_look_of_their_row() -> None:
    found, _ = carried_out(drawn(APART))
    assert found.standing is not None
    for row in found.rows:
        if row.gain is None:
            continue
        level = found.standing.level(row.label, "ce")
        assert level < 0.999
        assert row.gain.test.half == pytest.approx(row.gain.test.interval_half(level))
        assert row.gain.test.seeds == found.standing.seeds(row.label)
        for score in row.scores.values():
            assert score.gain is not None
            assert score.gain.n == found.standing.seeds(row.label)


def test_what_was_claimed_stays_claimed_while_rows_go_on() -> None:
    values = drawn({**APART, "good": 53.0})
    early = {m: x.copy() for m, x in values.items()}
    early["good"][:, 3:] = early["ce"][:, 3:] + np.linspace(-0.6, 0.8, 17)  # later seeds blur the first look's claim
    few, many = (table(early, dict.fromkeys(APART, n), "all").pairs.between("good", "ce") for n in (3, 20))
    assert few.verdict is Verdict.better
    assert many.verdict in (Verdict.better, Verdict.slightly_better)
    fixed = replace(planned("all"), protocol={**PROTOCOL, "seeds": list(range(20))})
    alone = build(made(early, dict.fromkeys(APART, 20)), fixed).tables[0].pairs.between("good", "ce")
    assert alone.p_holm is not None
    assert many.p_holm is not None
    assert many.p_holm < 0.05


@pytest.mark.nightly
def test_whole_runs_of_equal_rows_rarely_make_a_claim() -> None:
    """Every board as `run` would make it: rows stop when they are decided."""
    boards, false = 60, 0
    for i in range(boards):
        found, _ = carried_out(drawn(dict.fromkeys(APART, 50.0), seed=100 + i))
        false += any(row.rank != (1, 4) for row in found.rows)
    assert false <= 60 * (0.05 + 2 * np.sqrt(0.05 * 0.95 / 60))


# -- what is said ------------------------------------------------------------------------------------------------------


def whole(seeds: Seeds) -> Leaderboard:
    return build(made(drawn(APART), seeds), planned())


def test_the_board_says_at_which_look_it_stopped_and_at_which_level() -> None:
    text = " ".join(FORMATS["text"](whole(dict.fromkeys(APART, 3))).split())
    assert "look 1 of 5" in text
    assert "on the way to 5 seeds" in text
    assert "good, bad stopped at look 1 of 5 (3 seeds), level 0.0075" in text
    assert "Looks at 3, 5, 8, 13, 20 seeds, at levels 0.0075, 0.005, 0.0075, 0.0125, 0.0175: 0.05 in all." in text
    text = " ".join(FORMATS["text"](whole({"ce": 5, "twin": 5, "good": 3, "bad": 3})).split())
    assert "looks 1 to 2 of 5" in text


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_takes_such_a_board(name: str) -> None:
    for seeds in (2, 3, 20):
        assert FORMATS[name](whole(dict.fromkeys(APART, seeds)))


def test_json_has_where_each_row_stands() -> None:
    found = json.loads(FORMATS["json"](whole(dict.fromkeys(APART, 3))))
    standing = found["tables"][0]["standing"]
    assert standing["looks"]["seeds"] == list(LOOKS)
    assert standing["at"] == dict.fromkeys(APART, 1)
    assert found["config"]["looks"] == {"seeds": list(LOOKS), "pairs": "reference"}


def test_another_metric_or_reference_is_looked_at_in_the_same_way() -> None:
    results = made(drawn(APART), dict.fromkeys(APART, 3))
    board = build(results, planned(), Selection(["good", "twin"]), BoardOptions(reference="twin"))
    assert board.tables[0].standing is not None
    assert board.tables[0].rows[0].gain is not None


def test_comparing_two_rows_is_at_the_level_of_their_look() -> None:
    protocol = {**PROTOCOL, "seeds": list(range(8)), "looks": {"seeds": [3, 8], "pairs": "reference"}}
    some = [r for r in records(METHODS, PLACES, seeds=8) if r.spec.seed < 3 or r.spec.label != "good"]
    found = compare(some, lambda key: None, "good", "ce", plan_of(some, **protocol))
    assert found.overall.test.seeds == 3
    standing = found.table.standing
    assert standing is not None
    level = standing.level("good", "ce")
    assert found.overall.test.half == pytest.approx(found.overall.test.interval_half(level))
    assert found.overall.test.p is not None
    adjusted = min(found.overall.test.p * 0.05 / (1 - level), 1.0)
    assert found.overall.p_holm == pytest.approx(adjusted)
    assert f"p {'<0.001' if adjusted < 0.001 else f'= {adjusted:.3f}'}, 3 paired seeds" in comparison_text(found)


@pytest.mark.usefixtures("undrawn")
def test_the_report_takes_rows_with_different_numbers_of_seeds(tmp_path: Path) -> None:
    protocol = {**PROTOCOL, "seeds": list(range(8)), "looks": {"seeds": [3, 8], "pairs": "reference"}}
    kept = [r for r in records(METHODS, seeds=8) if r.spec.seed < 3 or r.spec.label in ("ce", "twin")]
    page = html_of(kept, tmp_path, plan_of(kept, **protocol))
    assert "stopped at look 1 of 2 (3 seeds), level 0.0188" in page
    assert "stopped at look 2 of 2 (8 seeds), level 0.0312" in page
