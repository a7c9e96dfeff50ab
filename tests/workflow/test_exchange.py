"""Models trained elsewhere on a split of ltbench stand on its boards, at the level of images, and are marked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ltbench.data.longtail import select
from ltbench.data.sources.kinds import open_source
from ltbench.errors import UserError
from ltbench.ranking.board import Leaderboard
from ltbench.results.journal import Journal
from ltbench.results.splits import Split, write_split
from ltbench.spec import Selection, canonical
from ltbench.workflow.exchange.diff import diff
from ltbench.workflow.exchange.make_split import SplitRequest, make_split, options_of
from ltbench.workflow.exchange.take_over import import_predictions
from ltbench.workflow.make_board import BoardRequest, make_board
from ltbench.workflow.make_report import make_report
from tests.ranking.made import plan_of, record, spec

Run = Callable[..., tuple[int, str, str]]
RECORDS = [record(spec(label, seed=seed), chance)
           for label, chance in (("ce", 0.5), ("good", 0.7)) for seed in range(3)]  # fmt: skip
TRAIN = (400, 200, 101, 100, 60, 20, 19, 10, 5, 4)
TRUTH = np.repeat(np.arange(10), [8 + c % 3 for c in range(10)])


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A suite that has run: two methods, three seeds, with predictions."""
    journal = Journal(tmp_path / "results" / "made" / "records")
    for one in RECORDS:
        journal.write(one)
    (tmp_path / "results" / "made" / "plan.json").write_text(canonical(plan_of(RECORDS).to_json()))
    return tmp_path / "results"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """The split that the suite's one column is of."""
    labels = np.repeat(np.arange(10), TRAIN)
    made = Split(RECORDS[0].spec.cell, tuple("abcdefghij"), np.arange(len(labels)), labels, TRUTH)
    return write_split(made, tmp_path / "split.json")[0]


def predicted(folder: Path, name: str = "mine", manifest: str = "a10.0", seeds: int = 3, chance: float = 0.9) -> Path:
    rng = np.random.default_rng(7)
    label = np.where(rng.random((seeds, len(TRUTH))) < chance, TRUTH, (TRUTH + 1) % 10)
    np.savez(folder / f"{name}.npz", method=name, seed=np.arange(seeds), label=label, manifest=manifest,
             confidence=rng.uniform(0.3, 1.0, label.shape))  # fmt: skip
    return folder / f"{name}.npz"


def board(results: Path, suite: str = "made") -> Leaderboard:
    return make_board(BoardRequest(suite=suite, results=results)).board


def test_a_split_is_the_subset_of_the_suite_with_its_manifest(tmp_path: Path) -> None:
    made = make_split(SplitRequest(dataset="digits", data=tmp_path, imbalance=10.0))
    arrays = open_source("digits", tmp_path).arrays()
    train, _ = select(np.bincount(arrays.train_y).tolist(), imbalance=10.0, profile="exp", subset_seed=0)
    kept = [np.flatnonzero(arrays.train_y == c)[rows] for c, rows in enumerate(train)]
    assert made.train_index.tolist() == np.concatenate(kept).tolist()
    assert made.train_labels.tolist() == arrays.train_y[made.train_index].tolist()
    assert made.test_labels.tolist() == arrays.test_y.tolist()
    assert made.class_counts == [len(rows) for rows in train]
    other = make_split(SplitRequest(dataset="digits", data=tmp_path, imbalance=10.0, subset_seed=1))
    assert made.manifest != other.manifest


def test_a_split_has_the_manifest_of_a_suites_cell(tmp_path: Path) -> None:
    from ltbench.workflow.prepare import Request, prepare

    suite = prepare(Request(suite="quickstart", data=tmp_path))
    cells = {t.cell.imbalance: t.cell for t in suite.plan.trials}
    for imbalance, cell in cells.items():
        made = make_split(SplitRequest(dataset="digits", data=tmp_path, imbalance=imbalance))
        assert made.manifest == cell.manifest


def test_a_split_of_files_names_them(tmp_path: Path) -> None:
    from PIL import Image

    for part, n in (("train", 4), ("test", 2)):
        for c in ("cat", "dog"):
            folder = tmp_path / "images" / part / c
            folder.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(np.full((8, 8, 3), 40 * i + (c == "cat"), np.uint8)).save(folder / f"{i}.png")
    made = make_split(
        SplitRequest(dataset="folder", data=tmp_path, path=str(tmp_path / "images"), imbalance=2.0, options={"size": 8})
    )
    assert made.class_counts == [4, 2]
    assert sorted(made.train_files)[0] == "train/cat/0.png"
    assert len(made.test_files) == 4


@pytest.mark.parametrize(
    ("other", "said"),
    [({"imbalance": 0.5}, "1 or more"), ({"class_order": "size"}, "label, frequency"), ({"dataset": "digts"}, "digits"),
     ({"subset_seed": 1 << 32}, "2\\^32")],
)  # fmt: skip
def test_a_split_that_cannot_be_is_refused(tmp_path: Path, other: dict[str, float | str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_split(SplitRequest(**{"dataset": "digits", "data": tmp_path, **other}))  # type: ignore[arg-type]


def test_options_are_texts_or_json() -> None:
    assert options_of(["size=64", "stream=true", "interpolation=bicubic"]) == {
        "size": 64, "stream": True, "interpolation": "bicubic"}  # fmt: skip
    with pytest.raises(UserError, match="NAME=VALUE"):
        options_of(["size"])


def test_predictions_have_a_table_of_their_own_unless_their_recipe_is_told(results: Path, split: Path) -> None:
    done = import_predictions(predicted(results), split, "made", results)
    assert (done.rows, done.new, done.recipe) == ({"mine": 3}, 3, "elsewhere")
    found = board(results)
    assert [(t.recipe_name, [row.name for row in t.rows]) for t in found.tables] == [
        ("r", ["good", "ce"]), ("elsewhere", ["mine (elsewhere)"])]  # fmt: skip
    assert found.tables[1].start == ""
    assert found.tables[0].start == "trained from scratch"


def test_with_a_recipe_they_are_ranked_with_test_images_in_the_intervals(results: Path, split: Path) -> None:
    import_predictions(predicted(results), split, "made", results, recipe="r")
    (table,) = board(results).tables
    assert [(row.name, row.elsewhere) for row in table.rows] == [
        ("mine (elsewhere)", True),
        ("good", False),
        ("ce", False),
    ]
    assert table.with_images
    own = next(row for row in table.rows if row.elsewhere)
    assert own.gain is not None
    assert own.gain.verdict.value == "better"


def test_metrics_are_computed_as_for_own_trials(results: Path, split: Path) -> None:
    file = predicted(results)
    import_predictions(file, split, "made", results)
    kept = [r for r in Journal(results / "made" / "records").records().values() if r.spec.label == "mine"]
    label = np.load(file)["label"]
    for one in kept:
        right = label[one.spec.seed] == TRUTH
        recalls = [100 * right[c == TRUTH].mean() for c in range(10)]
        assert one.metrics["balanced_accuracy"] == pytest.approx(np.mean(recalls))
        few = [r for r, n in zip(recalls, TRAIN, strict=True) if n < 20]
        assert one.metrics["few"] == pytest.approx(np.mean(few))
        assert one.metrics["ece"] is not None


def test_without_confidence_there_is_no_calibration_error(results: Path, split: Path) -> None:
    np.savez(results / "p.npz", method="mine", seed=0, label=TRUTH, manifest="a10.0")
    import_predictions(results / "p.npz", split, "made", results)
    (own,) = (r for r in Journal(results / "made" / "records").records().values() if r.spec.label == "mine")
    assert "ece" not in own.metrics


def test_the_same_again_changes_nothing_and_others_are_refused(results: Path, split: Path) -> None:
    assert import_predictions(predicted(results), split, "made", results).new == 3
    assert import_predictions(predicted(results), split, "made", results).new == 0
    with pytest.raises(UserError, match="other predictions of mine"):
        import_predictions(predicted(results, chance=0.2), split, "made", results)


def test_another_split_is_refused(results: Path, split: Path) -> None:
    with pytest.raises(UserError, match=r"manifest 'elsewhere123', but .*split.json has 'a10.0': other images"):
        import_predictions(predicted(results, manifest="elsewhere123"), split, "made", results)


def test_a_split_of_another_suite_is_refused(results: Path, split: Path) -> None:
    data = json.loads(split.read_text())
    data["cell"]["manifest"] = "ffff"
    split.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"no column with manifest ffff: a IF10 \(a10\.0\)"):
        import_predictions(predicted(results, manifest="ffff"), split, "made", results)


def test_an_edited_test_set_is_refused(results: Path, split: Path) -> None:
    data = json.loads(split.read_text())
    data["test_labels"] = data["test_labels"][::-1]
    split.write_text(json.dumps(data))
    with pytest.raises(UserError, match="its test labels are not those"):
        import_predictions(predicted(results), split, "made", results)


def test_too_few_labels_another_class_and_a_name_of_the_suite_are_refused(results: Path, split: Path) -> None:
    for label, name, said in (
        (TRUTH[:-1], "mine", "89 labels for 90|labels for"), (TRUTH + 1, "mine", "labels from 1 to 10"),
        (TRUTH, "ce", "a row of the suite made itself"),
    ):  # fmt: skip
        np.savez(results / "p.npz", method=name, seed=0, label=label, manifest="a10.0")
        with pytest.raises(UserError, match=said):
            import_predictions(results / "p.npz", split, "made", results)
    with pytest.raises(UserError, match="--recipe scratch"):
        import_predictions(predicted(results), split, "made", results, recipe="scratch")


def test_a_suite_of_results_from_elsewhere_alone_needs_no_run(tmp_path: Path, split: Path) -> None:
    import_predictions(predicted(tmp_path, "a"), split, "shared", tmp_path / "r")
    import_predictions(predicted(tmp_path, "b", chance=0.3), split, "shared", tmp_path / "r")
    found = board(tmp_path / "r", "shared")
    (table,) = found.tables
    assert [row.name for row in table.rows] == ["a (elsewhere)", "b (elsewhere)"]
    assert table.with_images
    assert table.elsewhere


def test_the_report_has_them(results: Path, split: Path, tmp_path: Path) -> None:
    import_predictions(predicted(results), split, "made", results, recipe="r")
    made = make_report("made", results, None, tmp_path / "out", Selection())
    assert "mine (elsewhere)" in made.page.read_text()


def test_the_command_writes_a_split_and_takes_predictions_over(ltbench: Run, tmp_path: Path) -> None:
    file = tmp_path / "digits.txt"
    code, out, err = ltbench("split", "digits", "--imbalance", "10", "--out", str(file), "--data", str(tmp_path))
    assert code == 0, err
    assert out.startswith("digits IF10: 519 training images (128 to 12 a class), 500 test images, manifest ")
    lines = ["method,seed,image,label,manifest"]
    manifest = json.loads((tmp_path / "digits.json").read_text())["manifest"]
    truth = [line.split()[1] for line in (tmp_path / "digits_test.txt").read_text().splitlines()]
    lines += [f"mine,0,{i},{y},{manifest}" for i, y in enumerate(truth)]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    where = ("--results", str(tmp_path / "r"))
    code, out, err = ltbench("import", str(tmp_path / "p.csv"), "--split", str(tmp_path / "digits.json"), "--suite",
                             "shared", *where)  # fmt: skip
    assert (code, out) == (0, "shared: mine: 1 model, in the table of recipe elsewhere\n"), err
    code, out, err = ltbench("leaderboard", "shared", *where)
    assert code == 0, err
    assert "predictions from elsewhere; how they were trained is not known" in " ".join(out.split())
    assert "100.0" in out
    assert ltbench("import", str(tmp_path / "p.csv"), *where)[0] == 2
    assert ltbench("import", str(tmp_path), "--suite", "x", *where)[0] == 2


def test_a_store_of_mlflow_is_compared_with_the_folder_that_filled_it(results: Path, tmp_path: Path) -> None:
    from ltbench.system.uris import default_uri
    from ltbench.tracking import mlflow_store

    uri = default_uri(tmp_path / "store")
    store = mlflow_store.Store(uri, "made", plan_of(RECORDS))
    journal = Journal(results / "made" / "records")
    for one in RECORDS:
        store.put(one, journal)
    found = diff(str(results / "made"), uri, "made")
    assert "6 finished trials" in found.a
    assert "6 finished trials" in found.b
    assert {(cell.place.label, str(cell.finding), cell.b - cell.a) for cell in found.moves.cells} == {
        ("ce", "identical", 0.0), ("good", "identical", 0.0)
    }  # fmt: skip
