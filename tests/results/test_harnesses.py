"""Result files of lm-evaluation-harness, mteb and inspect, made up here in their formats, become boards."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench.errors import UserError
from ltbench.ranking.board import Leaderboard
from ltbench.ranking.formats.exchange.every_eval_ever import every_eval_ever
from ltbench.results.harnesses import read_harness
from ltbench.results.journal import Journal
from ltbench.spec import Selection
from ltbench.stats.crossed import crossed_variance
from ltbench.workflow.make_board import BoardRequest, make_board
from ltbench.workflow.make_report import make_report
from tests.ranking.made import board_of, record, records, spec

ITEMS = 60


def board(place: Path, **options: Any) -> Leaderboard:
    return make_board(BoardRequest(source=place, **options)).board


def items(model: str, seed: int, chance: float) -> np.ndarray[Any, Any]:
    return np.random.default_rng([seed, *model.encode()]).random(ITEMS) < chance


def lm_eval(folder: Path, model: str, seed: int, chance: float, samples: bool = True) -> Path:
    """As `lm_eval --log_samples --output_path` leaves it."""
    place, time = folder / model.replace("/", "__"), f"2026-01-0{seed + 1}T10-00-00.000000"
    place.mkdir(parents=True, exist_ok=True)
    right = items(model, seed, chance)
    file = place / f"results_{time}.json"
    found = {"alias": "boxes", "acc,none": float(right.mean()), "acc_stderr,none": 0.05, "perplexity,none": 7.5}
    whole = {
        "results": {"boxes": found, "all_boxes": {"alias": "all", "acc,none": 0.1}},
        "group_subtasks": {"boxes": [], "all_boxes": ["boxes"]},
        "configs": {"boxes": {"task": "boxes"}}, "versions": {"boxes": 1.0}, "n-shot": {"boxes": 5},
        "higher_is_better": {"boxes": {"acc": True, "perplexity": False}},
        "config": {"model": "hf", "model_args": f"pretrained={model}", "random_seed": seed}, "model_name": model,
    }  # fmt: skip
    file.write_text(json.dumps(whole))
    if samples:
        lines = [{"doc_id": i, "doc": {}, "target": "x", "filter": "none", "metrics": ["acc"], "acc": float(hit),
                  "doc_hash": f"{i:064x}"} for i, hit in enumerate(right)]  # fmt: skip
        (place / f"samples_boxes_{time}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return file


def mteb(folder: Path, model: str, scores: list[float]) -> None:
    place = folder / "results" / model.replace("/", "__") / "0123abc"
    place.mkdir(parents=True)
    each = [{"accuracy": s, "f1": s - 0.01} for s in scores]
    subset = {"accuracy": float(np.mean(scores)), "main_score": float(np.mean(scores)), "hf_subset": "default",
              "languages": ["eng-Latn"], "scores_per_experiment": each}  # fmt: skip
    whole = {"dataset_revision": "abc", "task_name": "Birds", "mteb_version": "2.0.0", "scores": {"test": [subset]},
             "evaluation_time": 1.0}  # fmt: skip
    (place / "Birds.json").write_text(json.dumps(whole))
    (place / "model_meta.json").write_text(json.dumps({"name": model, "revision": "0123abc"}))


def inspect_log(model: str, chance: float, epochs: int = 3) -> dict[str, Any]:
    samples = [
        {"id": i, "epoch": e + 1, "input": "?", "target": "x", "scores": {"match": {"value": "C" if hit else "I"}}}
        for e in range(epochs)
        for i, hit in enumerate(items(model, e, chance))
    ]
    return {"version": 2, "status": "success", "eval": {"task": "riddles", "model": model, "task_version": 0},
            "results": {"scores": [{"name": "match", "scorer": "match", "metrics": {}}]},
            "samples": samples}  # fmt: skip


def test_a_report_is_made_of_them(tmp_path: Path) -> None:
    for model, chance in (("org/large", 0.9), ("org/small", 0.4)):
        for seed in range(3):
            lm_eval(tmp_path / "logs", model, seed, chance)
    made = make_report(None, tmp_path, tmp_path / "logs", tmp_path / "report", Selection())
    page = made.page.read_text(encoding="utf-8")
    assert made.board.tables[0].with_images
    assert "org/large" in page
    assert "last epoch" not in page
    assert "native" not in page


# -- lm-evaluation-harness ---------------------------------------------------------------------------------------------


def test_runs_of_lm_evaluation_harness_are_ranked_with_their_items(tmp_path: Path) -> None:
    for model, chance in (("org/large", 0.9), ("org/small", 0.4)):
        for seed in range(3):
            lm_eval(tmp_path, model, seed, chance)
    found = board(tmp_path)
    (table,) = found.tables
    assert found.primary == "accuracy"
    assert [row.label for row in table.rows] == ["org/large", "org/small"]
    assert [c.dataset for c in table.columns] == ["boxes (5-shot)"], "a group's average is none of its own"
    assert table.with_images
    assert table.pairs[0].verdict == "better"
    expected = 100 * np.mean([items("org/large", seed, 0.9).mean() for seed in range(3)])
    assert table.rows[0].mean == pytest.approx(expected)
    (score,) = table.rows[0].scores.values()
    assert score.metrics["perplexity"].mean == 7.5  # type: ignore[union-attr]


def test_new_items_are_drawn_freely(tmp_path: Path) -> None:
    """Items have no classes, whatever their checksums share."""
    for model, chance in (("a", 0.9), ("b", 0.4)):
        for seed in range(3):
            lm_eval(tmp_path, model, seed, chance)
    (test,) = (pair.test for pair in board(tmp_path).tables[0].pairs)
    d = np.array([100.0 * items("a", s, 0.9) - 100.0 * items("b", s, 0.4) for s in range(3)])
    wanted = crossed_variance(d, images_df=ITEMS - 1 if ITEMS <= 100 else np.inf)
    assert (test.half, test.p) == pytest.approx((wanted.half, wanted.p))


def test_without_samples_there_are_seeds_alone(tmp_path: Path) -> None:
    for model, chance in (("a", 0.9), ("b", 0.4)):
        for seed in range(3):
            lm_eval(tmp_path, model, seed, chance, samples=False)
    assert not board(tmp_path).tables[0].with_images


def test_one_run_of_a_model_is_no_claim(tmp_path: Path) -> None:
    for model in ("a", "b"):
        lm_eval(tmp_path, model, 0, 0.5)
    (table,) = board(tmp_path).tables
    assert table.pairs[0].verdict == "undecided"
    assert table.pairs[0].test.reason == "too_few_seeds"


def test_the_same_seed_twice_is_refused(tmp_path: Path) -> None:
    lm_eval(tmp_path / "one", "a", 0, 0.5)
    lm_eval(tmp_path / "two", "a", 0, 0.5)
    with pytest.raises(UserError, match=r"a on boxes .5-shot. with seed 0 is in .* already"):
        read_harness(tmp_path)


def test_models_that_were_tested_on_other_items_are_not_paired_by_item(tmp_path: Path) -> None:
    for model in ("a", "b"):
        for seed in range(3):
            file = lm_eval(tmp_path, model, seed, 0.5)
            if model == "b":
                samples = file.with_name(file.name.replace("results_", "samples_boxes_") + "l")
                samples.write_text(samples.read_text().replace('"doc_hash": "0', '"doc_hash": "f'))
    (table,) = board(tmp_path).tables
    assert not table.with_images
    assert "different images" in table.without_images


# -- mteb --------------------------------------------------------------------------------------------------------------


def test_experiments_of_mteb_are_seeds(tmp_path: Path) -> None:
    mteb(tmp_path, "org/one", [0.80, 0.81, 0.82, 0.80, 0.83])
    mteb(tmp_path, "org/two", [0.60, 0.62, 0.61, 0.60, 0.63])
    found = board(tmp_path)
    (table,) = found.tables
    assert [(row.label, round(row.mean, 3)) for row in table.rows] == [("org/one", 81.2), ("org/two", 61.2)]
    assert next(iter(table.rows[0].scores.values())).finished == 5
    assert table.pairs[0].verdict == "better"


# -- inspect -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_epochs_of_inspect_are_runs_and_samples_are_items(tmp_path: Path, packed: bool) -> None:
    for model, chance in (("vendor/a", 0.9), ("vendor/b", 0.4)):
        log, file = inspect_log(model, chance), tmp_path / f"2026_{model[-1]}.json"
        if not packed:
            file.write_text(json.dumps(log))
            continue
        with zipfile.ZipFile(file.with_suffix(".eval"), "w") as whole:
            samples = log.pop("samples")
            whole.writestr("header.json", json.dumps(log))
            for sample in samples:
                whole.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    (table,) = board(tmp_path).tables
    assert [row.label for row in table.rows] == ["vendor/a", "vendor/b"]
    assert table.with_images
    assert next(iter(table.rows[0].scores.values())).finished == 3
    assert table.pairs[0].verdict == "better"


# -- what is none of these ---------------------------------------------------------------------------------------------


def test_a_folder_of_records_is_none_of_them(tmp_path: Path) -> None:
    Journal(tmp_path / "records").write(record(spec()))
    assert read_harness(tmp_path) is None
    assert read_harness(tmp_path / "records") is None


@pytest.mark.parametrize("name", ["results_x.json", "x.eval"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{")
    with pytest.raises(UserError, match=f"{name}: cannot be read as results of"):
        read_harness(tmp_path)


def test_a_suite_has_no_results_of_others(tmp_path: Path) -> None:
    lm_eval(tmp_path, "a", 0, 0.5)
    with pytest.raises(UserError, match="belong to no suite"):
        board(tmp_path, suite="quickstart")


# -- Every Eval Ever ---------------------------------------------------------------------------------------------------


def _check(found: dict[str, Any]) -> None:
    """What eval.schema.json 0.2.1 requires."""
    needed = {"schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info", "eval_library",
              "evaluation_results"}  # fmt: skip
    assert found.keys() == needed
    assert {"source_type", "source_organization_name", "evaluator_relationship"} <= found["source_metadata"].keys()
    assert found["source_metadata"]["source_type"] in ("documentation", "evaluation_run")
    assert {"name", "version"} <= found["eval_library"].keys()
    assert {"name", "id"} <= found["model_info"].keys()
    assert all(isinstance(v, str) for v in found["model_info"]["additional_details"].values())
    for result in found["evaluation_results"]:
        assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= result.keys()
        assert result["source_data"]["source_type"] == "other"
        config = result["metric_config"]
        assert isinstance(config["lower_is_better"], bool)
        assert config["score_type"] == "continuous"
        assert config["min_score"] <= result["score_details"]["score"] <= config["max_score"]
        interval = result["score_details"].get("uncertainty", {}).get("confidence_interval")
        assert interval is None or interval["lower"] <= result["score_details"]["score"] <= interval["upper"]
        assert all(isinstance(v, str) for v in result["score_details"]["details"].values())


def test_a_board_is_written_in_the_schema_of_every_eval_ever() -> None:
    made = board_of(records(seeds=3))
    lines = [json.loads(line) for line in every_eval_ever(made, now=1.7e9).splitlines()]
    assert [line["model_info"]["name"] for line in lines] == [row.label for row in made.tables[0].rows]
    for line in lines:
        _check(line)
    best, row = lines[0]["evaluation_results"], made.tables[0].rows[0]
    (shown,) = (r for r in best if r["evaluation_name"] == "a IF10 balanced_accuracy")
    interval = row.scores[made.tables[0].columns[0]].metrics["balanced_accuracy"]
    assert interval is not None
    assert shown["score_details"]["score"] == interval.mean
    assert lines[0]["source_metadata"]["source_type"] == "evaluation_run"
    assert lines[0]["eval_library"]["name"] == "ltbench"


def test_numbers_from_elsewhere_are_not_told_as_runs_of_ltbench(tmp_path: Path) -> None:
    mteb(tmp_path, "org/one", [0.80, 0.81, 0.82])
    (line,) = (json.loads(line) for line in every_eval_ever(board(tmp_path), now=0).splitlines())
    _check(line)
    assert line["source_metadata"]["source_type"] == "documentation"
    assert line["eval_library"]["name"] == "unknown"
