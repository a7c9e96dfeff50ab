"""Stored predictions as the noise of test images: what they add up to, and the reason where they cannot be used."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ltbench import cli
from ltbench.page.evidence import gather
from ltbench.ranking.build import BoardOptions, build
from ltbench.ranking.images import (
    NoImages,
    by_dataset,
    contributions,
    left_out,
    read_arrays,
)
from ltbench.results.journal import Journal
from ltbench.spec import Column, Record, Result
from ltbench.stats.crossed import crossed_variance
from ltbench.stats.fixed_datasets import scope_a
from tests.ranking import made

Key = tuple[str, Column, int]
METRICS = ("accuracy", "balanced_accuracy")


@pytest.fixture(scope="module")
def kept() -> list[Record]:
    return made.records(seeds=3)


def keys(records: list[Record]) -> dict[Key, str]:
    return {(r.spec.label, r.spec.cell.column, r.spec.seed): r.key for r in records}


def without(records: list[Record], at: int, stored: bytes | None) -> list[Record]:
    return [*records[:at], replace(records[at], predictions=stored), *records[at + 1 :]]


# -- what they add up to -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_contributions_average_to_the_metric_on_an_unbalanced_test_set(kept: list[Record], metric: str) -> None:
    found = contributions(keys(kept), made.stored(kept), metric).by_method
    assert len({r.metrics[m] for r in kept[:1] for m in METRICS}) == 2, "the two metrics differ"
    for record in kept:
        own = found[record.spec.label, record.spec.cell.column][record.spec.seed]
        assert own.mean() == pytest.approx(record.metrics[metric], abs=1e-4)


def test_a_class_that_the_test_set_lacks_weighs_nothing() -> None:
    truth, label = np.array([0, 0, 0, 5]), np.array([0, 0, 1, 5])
    key = {("m", Column("a", "IF10", ""), 0): "k"}
    found = contributions(key, lambda k: made.npz(label, truth), "balanced_accuracy").by_method
    assert found["m", Column("a", "IF10", "")][0].mean() == pytest.approx(100 * (2 / 3 + 1) / 2, abs=1e-4)


def test_imbalance_factors_are_averaged_for_the_seeds_that_have_all(kept: list[Record]) -> None:
    some = [r for r in kept if (r.spec.cell.imbalance, r.spec.seed) != (100.0, 2)]
    found = contributions(keys(some), made.stored(some), "accuracy").by_method
    columns = sorted({r.spec.cell.column for r in some})
    whole = by_dataset("ce", columns, found)
    assert {d: set(by_seed) for d, by_seed in whole.items()} == {"a": {0, 1}, "b": {0, 1}}
    ours = [r for r in some if (r.spec.label, r.spec.cell.dataset, r.spec.seed) == ("ce", "b", 1)]
    assert whole["b"][1].mean() == pytest.approx(np.mean([r.metrics["accuracy"] or 0 for r in ours]), abs=1e-4)


def drawn_by_class(right: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Class by class, as written: the mean, and what an image differs from its class, scaled for the sum over classes
    of (n_c / n)^2 s_c^2 / n_c."""
    x, n = 100.0 * right, len(truth)
    found = np.full(x.shape, x.mean(axis=-1, keepdims=True))
    for c in np.unique(truth):
        of_class = x[..., truth == c]
        scale = np.sqrt(of_class.shape[-1] * (n - 1) / (n * (of_class.shape[-1] - 1)))
        found[..., truth == c] += scale * (of_class - of_class.mean(axis=-1, keepdims=True))
    return found


def test_the_leaderboard_tests_what_scope_a_tests_of_the_same_arrays() -> None:
    """Two data sets, three seeds, arrays written down here: no reader, no weights."""
    rng = np.random.default_rng(4)
    right = {m: {d: rng.random((3, 40)) < p for d in "ab"} for m, p in (("ce", 0.5), ("good", 0.8))}
    truth = np.repeat(np.arange(4), [16, 8, 12, 4])
    results, stored = [], {}
    for m, by_set in right.items():
        for d, rows in by_set.items():
            for s, row in enumerate(rows):
                value = 100 * float(row.mean())
                record = made.spec(m, d, 10.0, s)
                stored[record.key] = made.npz(np.where(row, truth, (truth + 1) % 4), truth)
                results.append(Result.of(Record(spec=record, status="ok", metrics={"accuracy": value})))
    quality = {m: {d: {s: 100 * x[s].mean() for s in range(3)} for d, x in sets.items()} for m, sets in right.items()}
    images = {m: {d: dict(enumerate(drawn_by_class(x, truth))) for d, x in sets.items()} for m, sets in right.items()}
    df = 40**2 / sum(n**2 / (n - 1) for n in (16, 8, 12, 4))
    few = dict.fromkeys("ab", df)
    wanted = scope_a(quality["good"], quality["ce"], (images["good"], images["ce"]), images_df=few)
    board = build(results, predictions=stored.get, options=BoardOptions(primary="accuracy"))
    (pair,) = board.tables[0].pairs
    assert board.tables[0].with_images
    found = pair.seen_from("good").test
    assert (found.diff, found.half, found.p, found.df) == pytest.approx((wanted.diff, wanted.half, wanted.p, wanted.df))
    assert found.shares == pytest.approx(wanted.shares)
    score = next(r for r in board.tables[0].rows if r.label == "good").scores[Column("a", "IF10", "a10.0")]
    assert score.gain is not None
    difference = drawn_by_class(right["good"]["a"], truth) - drawn_by_class(right["ce"]["a"], truth)
    assert score.gain.half == pytest.approx(crossed_variance(difference, images_df=df).half)


# -- the reason why not ------------------------------------------------------------------------------------------------


def damaged() -> Mapping[str, bytes | None]:
    whole = made.npz(np.zeros(9, int), np.zeros(9, int))
    return {
        "missing": None, "empty": b"", "text": b"no zip at all", "cut": whole[: len(whole) // 2],
        "one label short": _arrays(label=np.zeros(8), truth=np.zeros(9)), "no truth": _arrays(label=np.zeros(9)),
        "a number": _arrays(label=np.array(1), truth=np.array(1)), "a table": _arrays(label=np.zeros((2, 2)), truth=
        np.zeros((2, 2))), "no image": _arrays(label=np.zeros(0), truth=np.zeros(0)),
    }  # fmt: skip


def _arrays(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("name", damaged())
def test_predictions_that_cannot_be_read_are_counted_and_the_first_is_named(kept: list[Record], name: str) -> None:
    broken = without(kept, 2, damaged()[name])
    says = rf"predictions of 1 of {len(kept)} trials are not at hand or damaged: {kept[2].key}$"
    with pytest.raises(NoImages, match=says):
        contributions(keys(kept), made.stored(broken), "accuracy")
    board = made.board_of(broken)
    assert not board.tables[0].with_images
    assert (
        gather(broken, board, None, made.stored(broken)).reliability.keys()
        < gather(kept, board, None, made.stored(kept)).reliability.keys()
    )


def test_whatever_byte_is_damaged_it_is_read_or_refused() -> None:
    whole = made.npz(np.arange(40) % 3, np.arange(40) % 4)
    for i in range(len(whole)):
        for broken in (whole[:i], whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :]):
            read_arrays(broken, "label", "truth", "confidence")


@pytest.mark.parametrize("other", ["factor", "seed"])
def test_other_test_images_on_a_data_set_are_refused(kept: list[Record], other: str) -> None:
    """Of two imbalance factors as of two seeds: contributions are averaged image by image."""
    odd = next(r for r in kept if (r.spec.cell.imbalance == 100.0 if other == "factor" else r.spec.seed == 1))
    changed = {
        r.key: made.record(r.spec, images=20).predictions
        if (r.spec.cell == odd.spec.cell if other == "factor" else r.key == odd.key)
        else r.predictions
        for r in kept
    }
    with pytest.raises(NoImages, match="trials of a were tested on different images"):
        contributions(keys(kept), changed.get, "balanced_accuracy")
    board = build([Result.of(r) for r in kept], predictions=changed.get)
    assert board.tables[0].without_images == "trials of a were tested on different images"


def test_a_metric_that_is_no_share_of_right_images_has_seeds_only(kept: list[Record]) -> None:
    board = made.board_of(kept, made.plan_of(kept, primary="ece"))
    assert board.tables[0].without_images == "ece is no share of right images"


def test_a_board_without_predictions_is_that_of_seeds_and_says_so(kept: list[Record]) -> None:
    bare, with_ = build([Result.of(r) for r in kept]), made.board_of(kept)
    assert (bare.tables[0].without_images, with_.tables[0].without_images) == ("no predictions are at hand", "")
    assert [r.mean for r in bare.tables[0].rows] == [r.mean for r in with_.tables[0].rows]
    halves = [(a.half, b.half) for a, b in zip(bare.tables[0].rows, with_.tables[0].rows, strict=True)]
    assert all(a is not None and b is not None and b >= a for a, b in halves), "images never make an interval shorter"
    assert any(a != b for a, b in halves)


# -- through the command line ------------------------------------------------------------------------------------------


@pytest.fixture
def ranked(kept: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., str]:
    journal = Journal(tmp_path / "made" / "records")
    for record in kept:
        journal.write(record)

    def run(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ltbench", "leaderboard", "--from", str(journal.folder), *options])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code in (0, None)
        return " ".join(str(capsys.readouterr().out).split())

    return run


def test_seeds_only_is_what_was_asked_for(ranked: Callable[..., str]) -> None:
    assert "These data sets, new seeds and test images:" in ranked()
    shown = ranked("--seeds-only")
    assert "These data sets, new seeds:" in shown
    assert "the noise of the test images (only seeds were asked for)" in shown


def test_the_stand_in_for_predictions_says_why_it_has_none() -> None:
    with pytest.raises(NoImages, match="only seeds were asked for"):
        left_out("key")
