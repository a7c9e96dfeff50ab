"""Metrics that follow from stored tables and predictions, held against plain computations."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import gmean
from sklearn.metrics import accuracy_score

from ltbench.errors import UserError
from ltbench.metric_names import BUCKETS, DERIVED, metric_of
from ltbench.ranking.build import BoardOptions
from ltbench.ranking.views.derived import Views, primary_of_prior, shots_of, views_of
from ltbench.results.journal import Journal
from ltbench.spec import Record
from ltbench.stats.priors import prior_weights
from ltbench.workflow.make_board import BoardRequest, make_board
from tests.ranking.made import TRAIN, record, records, spec

Run = Callable[..., tuple[int, str, str]]
COUNTS = np.array(TRAIN, dtype=float)
SHOTS = {"many": 100, "few": 20}


def only(of: Record, *names: str) -> dict[str, float | None]:
    return views_of(names).of(of, lambda key: of.predictions)


def arrays(of: Record) -> dict[str, np.ndarray]:
    assert of.predictions is not None
    return dict(np.load(io.BytesIO(of.predictions)))


def test_accuracy_under_a_prior_is_that_of_test_images_drawn_by_it() -> None:
    """Against scikit-learn's accuracy with a weight for every image."""
    one = record(spec(), 0.6)
    kept = arrays(one)
    images = np.bincount(kept["truth"])
    for name in ("forward50", "backward50", "forward2", "uniform"):
        weight = prior_weights(name, TRAIN)[kept["truth"]] / images[kept["truth"]]
        expected = 100 * accuracy_score(kept["truth"], kept["label"], sample_weight=weight)
        assert only(one, name)[name] == pytest.approx(expected)
    assert only(one, "uniform")["uniform"] == pytest.approx(one.metrics["balanced_accuracy"])


def test_priors_are_those_of_sade() -> None:
    """The head of training is 50 times as frequent as its tail in forward50, and 1/50 in backward50."""
    forward, backward = prior_weights("forward50", TRAIN), prior_weights("backward50", TRAIN)
    assert forward[0] / forward[-1] == pytest.approx(50)
    assert np.diff(np.log(forward)) == pytest.approx(-np.log(50) / 9)
    assert backward.tolist() == pytest.approx(forward[::-1].tolist())
    mixed = np.array([5.0, 400.0, 30.0])
    assert np.argsort(-prior_weights("forward10", mixed)).tolist() == [1, 2, 0]


def test_a_class_without_test_images_has_no_weight() -> None:
    one = record(spec(), 0.6)
    table = {name: list(values) for name, values in one.per_class.items()}
    table["test_images"][0] = 0.0
    assert only(replace(one, per_class=table), "uniform")["uniform"] == pytest.approx(np.mean(table["recall"][1:]))


def test_the_geometric_mean_is_scipys_and_0_where_a_class_is_never_found() -> None:
    one = record(spec(), 0.6)
    found = list(one.per_class["recall"])
    assert only(one, "geometric_mean")["geometric_mean"] == pytest.approx(gmean(found))
    nothing = replace(one, per_class={**one.per_class, "recall": [0.0, *found[1:]]})
    assert only(nothing, "geometric_mean")["geometric_mean"] == 0.0


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("", "many many many medium medium medium few few few few"),
        ("le20", "many many many medium medium few few few few few"),
        ("thirds", "many many many many medium medium medium few few few"),
        ("if100", "many many many medium medium medium few few few few"),
    ],
)
def test_conventions_of_shots(convention: str, expected: str) -> None:
    """TRAIN is 400, 200, 101, 100, 60, 20, 19, 10, 5, 4. IF 100 leaves 400, 239, 143, 86, 51, 30, 18, 11, 6, 4."""
    assert [BUCKETS[s] for s in shots_of(COUNTS, convention, SHOTS)] == expected.split()


def test_a_bucket_of_a_convention_is_the_mean_of_its_recalls() -> None:
    one = record(spec(), 0.6)
    found = only(one, "few_le20", "many_thirds")
    assert found["few_le20"] == pytest.approx(np.mean(one.per_class["recall"][5:]))
    assert found["many_thirds"] == pytest.approx(np.mean(one.per_class["recall"][:4]))
    balanced = replace(one, per_class={**one.per_class, "train_images": [500.0] * 10})
    assert only(balanced, "few_le20")["few_le20"] is None


def test_the_suites_own_thresholds_give_the_recorded_buckets() -> None:
    one = record(spec(), 0.6)
    inside = shots_of(COUNTS, "", SHOTS)
    for i, bucket in enumerate(BUCKETS):
        assert np.mean(np.array(one.per_class["recall"])[inside == i]) == pytest.approx(one.metrics[bucket])


def test_calibration_by_shot_is_that_of_its_images() -> None:
    one = record(spec(), 0.6, images=40)
    kept = arrays(one)
    few = np.isin(kept["truth"], [6, 7, 8, 9])
    sure, right = kept["confidence"][few].astype(float), (kept["label"] == kept["truth"])[few]
    order = np.argsort(sure, kind="stable")
    gaps = [len(b) * abs(sure[b].mean() - right[b].mean()) for b in np.array_split(order, 15)]
    assert only(one, "ece_few")["ece_few"] == pytest.approx(100 * sum(gaps) / few.sum(), abs=1e-4)
    assert only(one, "nll_few")["nll_few"] is None, "without logits"
    assert only(replace(one, predictions=None), "ece_few")["ece_few"] is None


def test_nll_by_shot_needs_logits() -> None:
    one = record(spec(), 0.6)
    kept, rng = arrays(one), np.random.default_rng(0)
    logits = rng.normal(size=(len(kept["truth"]), 10)).astype(np.float16)
    stream = io.BytesIO()
    np.savez(stream, **kept, logits=logits)
    found = only(replace(one, predictions=stream.getvalue()), "nll_many")["nll_many"]
    many = np.isin(kept["truth"], [0, 1, 2])
    expected = -log_softmax(logits[many].astype(float), axis=1)[np.arange(many.sum()), kept["truth"][many]].mean()
    assert found == pytest.approx(expected)


def test_every_derived_metric_has_a_direction_and_can_be_computed() -> None:
    one = record(spec(), 0.6)
    found = only(one, *DERIVED)
    assert found.keys() == DERIVED.keys()
    assert {name for name, value in found.items() if value is None} == {f"nll_{b}" for b in BUCKETS}
    assert not metric_of("ece_few").higher_is_better
    assert metric_of("few_thirds").rope == 1.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "made" / "records")
    for one in records(datasets={"a": (10.0, 100.0)}, seeds=3):
        journal.write(one)
    return tmp_path / "made"


def test_a_board_ranks_under_a_prior_with_test_images_in_its_intervals(folder: Path) -> None:
    board = make_board(BoardRequest(source=folder, options=BoardOptions(primary="backward50"))).board
    (table,) = board.tables
    assert table.with_images
    row = next(r for r in table.rows if r.label == "good")
    kept = [r for r in Journal(folder / "records").records().values() if r.spec.label == "good"]
    values = [only(r, "backward50")["backward50"] for r in kept]
    assert row.mean == pytest.approx(np.mean([v for v in values if v is not None]))
    balanced = make_board(BoardRequest(source=folder)).board.tables[0]
    uniform = make_board(BoardRequest(source=folder, options=BoardOptions(primary="uniform"))).board.tables[0]
    assert [r.mean for r in uniform.rows] == pytest.approx([r.mean for r in balanced.rows])
    assert [r.half for r in uniform.rows] == pytest.approx([r.half for r in balanced.rows], rel=1e-5)


def test_the_command_shows_columns_and_priors(ltbench: Run, folder: Path, tmp_path: Path) -> None:
    shown = ("leaderboard", "--from", str(folder))
    code, out, err = ltbench(*shown, "--columns", "geometric_mean,few_thirds,ece_few")
    assert code == 0, err
    for head in ("geom", "few thirds", "ECE few"):
        assert head in out
    code, out, err = ltbench(*shown, "--prior", "forward50")
    assert code == 0, err
    assert "accuracy, forward test prior 50" in out
    (tmp_path / "mine.txt").write_text("1 2 3 4 5 6 7 8 9 10")
    code, out, err = ltbench(*shown, "--prior", str(tmp_path / "mine.txt"))
    assert code == 0, err
    assert "accuracy, test prior mine" in out


def test_a_given_prior_weighs_the_classes(folder: Path, tmp_path: Path) -> None:
    one = record(spec(), 0.6)
    (tmp_path / "p.json").write_text("[1, 0, 0, 0, 0, 0, 0, 0, 0, 1]")
    found = views_of([], [str(tmp_path / "p.json")]).of(one, None)
    recall = one.per_class["recall"]
    assert found == {"prior_p": pytest.approx((recall[0] + recall[9]) / 2)}


@pytest.mark.parametrize(
    ("text", "said"),
    [("1 2 x", "no list of numbers"), ("0 0", "not all 0"), ("-1 2", "from 0 up"), ("1 2", "2 weights")],
)
def test_an_unusable_prior_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(UserError, match=said):
        views_of([], [str(tmp_path / "p.txt")]).of(record(spec(), 0.6), None)


def test_what_cannot_be_shown_is_refused(folder: Path, ltbench: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file, and no prior of that name") as refused:
        views_of([], ["forward51"])
    assert "prior_forward51" not in str(refused.value)
    with pytest.raises(UserError, match="leave --primary accuracy out"):
        primary_of_prior("accuracy", "forward50")
    _, _, err = ltbench("leaderboard", "--from", str(folder), "--columns", "nothing like it")
    known = err.split("Known: ")[1].split(", ")
    assert len(known) == len(set(known)) > 20
    code, _, err = ltbench("leaderboard", "--from", str(folder), "--columns", "few_third")
    assert (code, "few_thirds" in err) == (2, True)
    (tmp_path / "s.csv").write_text("method,dataset,imbalance_factor,seed,metric,value\nce,a,10,0,accuracy,50\n")
    code, _, err = ltbench("leaderboard", "--from", str(tmp_path / "s.csv"), "--prior", "forward50")
    assert (code, "follows from the records" in err) == (2, True)
    assert Views().of(record(spec()), None) == {}
