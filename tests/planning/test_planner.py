"""Plans: which trials, in which order, under which names, and what is skipped and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ltbench.errors import UserError
from ltbench.execution.run_plan import bring_up_to_date, state_of
from ltbench.planning.bundle import export, read_bundle
from ltbench.planning.inputs import Inputs
from ltbench.planning.planner import make_plan, part_of
from ltbench.planning.recipes import resolve_precision
from ltbench.registry import Registry
from ltbench.results.journal import Journal
from ltbench.spec import SAFE_NAME, Cell, Plan, Record, Result, Selection, TrialSpec, canonical
from ltbench.suite.load import load_suite

SUITE = """\
suite: small
text: {encoder: bundled}
datasets: [{name: digits, imbalance: [20, 50]}]
recipes:
  scratch: {backbone: mlp, epochs: 2, batch_size: 32, optimizer: {name: sgd, lr: 0.05}}
methods: [ce, mixup, text_guided_mixup]
protocol: {final: {seeds: [3, 1, 2]}}
"""
# Written out by hand, so that nothing can change a trial's identity, and with it every record, without being noticed.
SPEC = TrialSpec(
    suite="pinned",
    cell=Cell(
        dataset="tens", kind="cifar10", imbalance=100.0, profile="exp", subset_seed=0, class_order="label",
        holdout_per_class=0, options={"size": 32}, manifest="0123456789abcdef",
    ),
    label="row",
    method="mixup",
    hyperparameters={"alpha": 0.5},
    code="aaaabbbbcccc",
    recipe_name="scratch",
    recipe={"backbone": "mlp", "epochs": 2.0, "optimizer": {"name": "sgd", "lr": 0.1}},
    seed=3,
    text="ddddeeeeffff",
    text_origin="somewhere",
    numerics=1,
)  # fmt: skip
PINNED_KEY = "9ba35bea98b1"
"""Checked against the SHA-256 of the JSON text {"cell":{"class_order":"label",...},...} typed in by hand."""
PER_CLASS = {
    "recall": [50.0, 20.0],
    "precision": [50.0, 20.0],
    "test_images": [10.0, 10.0],
    "train_images": [200.0, 9.0],
}
Planned = Callable[..., Plan]


class Sink:
    """Stands for MLflow."""

    def __init__(self) -> None:
        self.sent = list[Record]()

    def send(self, record: Record) -> None:
        self.sent.append(record)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


@pytest.fixture
def lay_out(tmp_path: Path, registry: Registry) -> Callable[..., tuple[Plan, Inputs]]:
    """`lay_out("protocol.final.seeds=[0]", seeds=[1])`: the small suite's plan under overrides and a selection."""

    def make(*overrides: str, text: str = SUITE, **chosen: Any) -> tuple[Plan, Inputs]:
        file = tmp_path / "small.yaml"
        file.write_text(text)
        return make_plan(load_suite(str(file), overrides), registry, tmp_path / "data", Selection(**chosen))

    return make


@pytest.fixture
def planned(lay_out: Callable[..., tuple[Plan, Inputs]]) -> Planned:
    return lambda *overrides, **rest: lay_out(*overrides, **rest)[0]


# -- which trials ------------------------------------------------------------------------------------------------------


def test_a_plan_is_every_row_on_every_cell_seed_by_seed(planned: Planned) -> None:
    """A run that is interrupted leaves whole rows: all of seed 3 comes before any of seed 1."""
    found = [(t.seed, t.cell.label, t.label) for t in planned().trials]
    assert found == [
        (seed, cell, label)
        for seed in (3, 1, 2)
        for cell in ("digits IF20", "digits IF50")
        for label in ("ce", "mixup", "text_guided_mixup")
    ]


def test_all_trials_of_a_plan_have_different_keys(planned: Planned) -> None:
    keys = [t.key for t in planned().trials]
    assert len(set(keys)) == len(keys)


def test_two_plans_of_one_suite_are_equal(planned: Planned) -> None:
    assert planned() == planned()


def test_a_trial_carries_every_hyperparameter_that_its_method_has(planned: Planned, registry: Registry) -> None:
    for trial in planned().trials:
        assert trial.hyperparameters == registry.get(trial.method).complete({})


def test_a_trial_carries_the_whole_recipe(planned: Planned) -> None:
    recipe = planned("recipes.scratch.epochs=1").trials[0].recipe
    assert recipe["epochs"] == 1.0
    assert recipe["optimizer"] == {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False}
    assert recipe["schedule"]["name"] == "constant"


def test_cells_of_different_imbalance_have_different_manifests(planned: Planned) -> None:
    assert len({t.cell.manifest for t in planned().trials}) == 2


def test_the_subset_seed_and_the_holdout_change_the_manifest(planned: Planned) -> None:
    manifests = {
        planned(*overrides).trials[0].cell.manifest
        for overrides in ((), ("datasets.0.subset_seed=1",), ("protocol.holdout_per_class=5",))
    }
    assert len(manifests) == 3


def test_a_native_cell_has_no_imbalance(planned: Planned) -> None:
    plan = planned("datasets=[{name: digits, profile: native}]")
    assert {t.cell.label for t in plan.trials} == {"digits native"}


def test_the_expectation_counts_what_the_plan_has(planned: Planned) -> None:
    plan = planned()
    expected = plan.expectation()
    assert list(expected["rows"]) == ["ce", "mixup", "text_guided_mixup"]
    assert len(expected["rows"]) * len(expected["cells"]) * len(expected["protocol"]["seeds"]) == len(plan.trials)
    assert json.loads(json.dumps(expected)) == expected


def test_without_a_reference_it_is_cross_entropy_else_the_first_row(planned: Planned) -> None:
    assert planned().protocol["reference"] == "ce"
    assert planned("methods=[mixup, focal]").protocol["reference"] == "mixup"


# -- what is left out, and why -----------------------------------------------------------------------------------------


def test_a_method_that_needs_text_is_skipped_with_the_reason_where_there_is_none(planned: Planned) -> None:
    plan = planned(text=SUITE.replace("text: {encoder: bundled}\n", ""))
    assert {t.label for t in plan.trials} == {"ce", "mixup"}
    assert [(s.label, s.cell.label) for s in plan.skips] == [
        ("text_guided_mixup", "digits IF20"), ("text_guided_mixup", "digits IF50"),
    ]  # fmt: skip
    assert all("class-name vectors" in s.reason and "`text:`" in s.reason for s in plan.skips)


def test_a_skip_names_the_classes_that_the_text_source_lacks(planned: Planned, tmp_path: Path) -> None:
    np.savez(tmp_path / "half.npz", class_names=["zero", "one"], embeddings=np.eye(2, dtype=np.float32))
    plan = planned("text={encoder: file, path: " + str(tmp_path / "half.npz") + "}")
    assert "8 of 10" in plan.skips[0].reason
    assert "two" in plan.skips[0].reason


def test_a_skip_is_in_the_expectation_so_that_nobody_takes_it_for_missing(planned: Planned) -> None:
    expected = planned(text=SUITE.replace("text: {encoder: bundled}\n", "")).expectation()
    [[label, reason, where]] = expected["skips"]
    assert (label, where) == ("text_guided_mixup", ["digits IF20", "digits IF50"])
    assert reason


def test_a_selection_keeps_the_keys_of_what_it_keeps(planned: Planned) -> None:
    everything = {t.key for t in planned().trials}
    some = planned(methods=["mixup"], seeds=[2]).trials
    assert [(t.label, t.seed) for t in some] == [("mixup", 2)] * 2
    assert {t.key for t in some} < everything


def test_seeds_on_the_command_line_replace_those_of_the_suite(planned: Planned) -> None:
    assert {t.seed for t in planned(seeds=[7, 8]).trials} == {7, 8}


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"methods": ["mixpu"]}, r"--only mixpu: .*Did you mean 'mixup'\?"),
        ({"datasets": ["digit"]}, r"--datasets digit: .*Did you mean 'digits'\?"),
    ],
)
def test_a_misspelt_selection_is_refused_with_the_nearest_name(
    chosen: dict[str, list[str]], says: str, planned: Planned
) -> None:
    with pytest.raises(UserError, match=says):
        planned(**chosen)


@pytest.mark.parametrize(
    "override",
    [
        "methods=[mixup, {mixup: {as: again}}]",
        "methods=[mixup, {mixup: {as: again, alpha: 1}}]",
        "datasets=[{name: a, kind: digits, imbalance: 20}, {name: b, kind: digits, imbalance: 20}]",
    ],
)
def test_two_names_for_one_trial_are_refused(override: str, planned: Planned) -> None:
    with pytest.raises(UserError, match="is the same trial as"):
        planned(override)


def test_two_recipes_of_equal_contents_are_one_recipe_under_two_names(planned: Planned) -> None:
    twice = "recipes={a: &a {backbone: mlp, epochs: 2, batch_size: 32, optimizer: {name: sgd, lr: 0.05}}, b: *a}"
    with pytest.raises(UserError, match="is the same trial as"):
        planned(twice, "methods={a: [ce], b: [{ce: {as: ce_b}}]}")


def test_rows_that_differ_in_a_hyperparameter_are_two_trials(planned: Planned) -> None:
    plan = planned("methods=[mixup, {mixup: {as: soft, alpha: 0.2}}]", seeds=[0], datasets=["digits"])
    assert [t.label for t in plan.trials] == ["mixup", "soft"] * 2


# -- identity ----------------------------------------------------------------------------------------------------------


def test_the_key_of_a_trial_is_pinned() -> None:
    """If this fails, records of every earlier version are stale: bump NUMERICS and say so in the changelog, or undo."""
    assert SPEC.key == PINNED_KEY


IDENTITY: dict[str, Any] = {
    "method": "ce", "hyperparameters": {"alpha": 0.6}, "code": "x", "recipe": {"backbone": "mlp"}, "seed": 4,
    "text": None, "role": "search", "numerics": 2,
}  # fmt: skip
CELL_IDENTITY: dict[str, Any] = {
    "kind": "cifar100", "imbalance": None, "profile": "step", "subset_seed": 1, "class_order": "frequency",
    "holdout_per_class": 5, "options": {"size": 16}, "manifest": "f" * 16,
}  # fmt: skip
NAMES: dict[str, Any] = {
    "suite": "x", "label": "x", "recipe_name": "x", "text_origin": "x", "shots": {"many": 5, "few": 2},
    "curves": "test",
}  # fmt: skip


@pytest.mark.parametrize("field", IDENTITY)
def test_the_key_follows_what_can_change_a_number(field: str) -> None:
    assert replace(SPEC, **{field: IDENTITY[field]}).key != SPEC.key


@pytest.mark.parametrize("field", CELL_IDENTITY)
def test_the_key_follows_everything_that_shapes_the_data(field: str) -> None:
    assert replace(SPEC, cell=replace(SPEC.cell, **{field: CELL_IDENTITY[field]})).key != SPEC.key


@pytest.mark.parametrize("field", NAMES)
def test_the_key_does_not_follow_names_and_views(field: str) -> None:
    assert replace(SPEC, **{field: NAMES[field]}).key == SPEC.key


def test_the_key_does_not_follow_the_name_of_a_data_set() -> None:
    assert replace(SPEC, cell=replace(SPEC.cell, dataset="other")).key == SPEC.key


def test_every_field_is_known_to_be_identity_or_not() -> None:
    """A new field must be put on one of the two sides above."""
    assert {f.name for f in fields(TrialSpec)} == {*IDENTITY, *NAMES, "cell"}
    assert {f.name for f in fields(Cell)} == {*CELL_IDENTITY, "dataset"}


def test_the_key_does_not_follow_the_order_in_which_a_mapping_was_written() -> None:
    turned = dict(reversed(SPEC.recipe.items()))
    assert list(turned) != list(SPEC.recipe)
    assert replace(SPEC, recipe=turned).key == SPEC.key


def test_whole_and_decimal_spellings_of_a_number_are_one_trial(planned: Planned) -> None:
    whole = planned("recipes.scratch.epochs=2", "datasets.0.imbalance=20", "methods=[{mixup: {alpha: 1}}]")
    decimal = planned("recipes.scratch.epochs=2.0", "datasets.0.imbalance=20.0", "methods=[{mixup: {alpha: 1.0}}]")
    assert [t.key for t in whole.trials] == [t.key for t in decimal.trials]


@pytest.mark.parametrize(
    "override",
    ["suite=other", "protocol.shots={many: 30, few: 5}", "protocol.curves=test", "question=Why?",
     "protocol.primary=few", "protocol.final.report=[few]", "resources.retries=5", "methods.1={mixup: {as: soft}}",
     "datasets.0={name: tens, kind: digits, imbalance: [20, 50]}", "protocol.save_logits=true"],
)  # fmt: skip
def test_a_change_of_names_or_views_leaves_every_trial_finished(override: str, planned: Planned) -> None:
    assert [t.key for t in planned(override).trials] == [t.key for t in planned().trials]


@pytest.mark.parametrize(
    "override",
    ["recipes.scratch.epochs=3", "recipes.scratch.optimizer.lr=0.1", "recipes.scratch.augment=flip",
     "recipes.scratch.precision=bf16", "datasets.0.subset_seed=1", "datasets.0.class_order=frequency",
     "datasets.0.profile=step", "protocol.holdout_per_class=2"],
)  # fmt: skip
def test_a_change_of_data_or_recipe_makes_every_trial_new(override: str, planned: Planned) -> None:
    assert not {t.key for t in planned(override).trials} & {t.key for t in planned().trials}


def test_where_a_folder_of_images_lies_is_no_part_of_identity(planned: Planned, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "here" / part / name).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "here" / part / name / f"{i}.png")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    entry = "datasets=[{{name: mine, kind: folder, profile: native, path: {}, size: 8}}]"
    here, there = (planned(entry.format(tmp_path / place), "methods=[ce]", "text=null") for place in ("here", "there"))
    assert [t.key for t in here.trials] == [t.key for t in there.trials]
    assert str(tmp_path) not in canonical(here.trials[0].to_json())


@pytest.mark.parametrize("field", [name for name in NAMES if name != "curves"])
def test_a_finished_trial_is_told_of_new_names_without_running_again(field: str, tmp_path: Path) -> None:
    """Else a leaderboard, which goes by names and variants, would leave out what `run` says is finished."""
    before = Record(spec=SPEC, status="ok", metrics={}, per_class=PER_CLASS)
    after = replace(SPEC, **{field: NAMES[field]})
    journal, sink = Journal(tmp_path), Sink()
    journal.write(before)
    plan = Plan(suite=after.suite, question="", trials=(after,), skips=(), protocol={})
    bring_up_to_date(plan, state_of(plan, journal), journal, sink)
    assert [r.spec for r in sink.sent] == [after]
    assert journal.records()[SPEC.key].spec == after


# -- JSON --------------------------------------------------------------------------------------------------------------

numbers = st.integers(-5, 10**6) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    numbers | st.booleans() | st.text(max_size=5) | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
mappings = st.dictionaries(st.text(max_size=4), plain, max_size=3)
specs = st.builds(
    replace,
    st.just(SPEC),
    suite=st.from_regex(SAFE_NAME, fullmatch=True),
    label=st.from_regex(SAFE_NAME, fullmatch=True),
    hyperparameters=mappings,
    recipe=mappings,
    seed=st.integers(0, 2**31),
    text=st.none() | st.text(max_size=4),
    cell=st.builds(replace, st.just(SPEC.cell), imbalance=st.none() | st.floats(1, 1e6), options=mappings),
)


@given(specs)
def test_a_spec_comes_back_from_json_equal_and_with_its_key(spec: TrialSpec) -> None:
    back = TrialSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert back == spec
    assert back.key == spec.key


@given(specs, st.sampled_from(["ok", "failed"]), st.dictionaries(st.text(max_size=4), st.none() | numbers, max_size=3))
def test_a_record_comes_back_from_json_equal(spec: TrialSpec, status: Any, metrics: Any) -> None:
    record = Record(spec=spec, status=status, metrics=metrics, error="boom" if status == "failed" else None)
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_result_tells_of_a_record_what_a_leaderboard_needs() -> None:
    result = Result.of(Record(spec=SPEC, status="ok", metrics={"few": None}))
    assert (result.key, result.variant, result.recipe_id) == (SPEC.key, SPEC.variant, SPEC.recipe_id)
    assert (result.dataset, result.imbalance, result.seed, result.metrics) == ("tens", "IF100", 3, {"few": None})


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ({}, "tens IF100"),
        ({"imbalance": 2.5}, "tens IF2.5"),
        ({"profile": "step"}, "tens IF100step"),
        ({"imbalance": None, "profile": "native"}, "tens native"),
    ],
)
def test_a_cell_is_labelled_by_data_set_and_imbalance(cell: dict[str, Any], label: str) -> None:
    assert replace(SPEC.cell, **cell).label == label


@pytest.mark.parametrize("field", [*IDENTITY, *(f"cell.{name}" for name in CELL_IDENTITY)])
def test_an_edited_trial_file_is_noticed(field: str) -> None:
    data = json.loads(json.dumps(SPEC.to_json()))
    outer, _, inner = field.rpartition(".")
    (data[outer] if outer else data)[inner] = CELL_IDENTITY[inner] if outer else IDENTITY[inner]
    with pytest.raises(UserError, match="it was edited"):
        TrialSpec.from_json(data)


GOOD = SPEC.to_json()
FOREIGN: dict[str, Any] = {
    "unknown_field": {**GOOD, "colour": "red"},
    "no_seed": {k: v for k, v in GOOD.items() if k != "seed"},
    "no_cell": {k: v for k, v in GOOD.items() if k != "cell"},
    "half_a_cell": {**GOOD, "cell": {"dataset": "x"}},
    "cell_is_a_number": {**GOOD, "cell": 5},
    "values_are_a_number": {**GOOD, "hyperparameters": 5},
    "not_a_number": {**GOOD, "recipe": {"lr": float("nan")}},
    "empty": {},
    "list": [],
    "null": None,
    "text": "text",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_json_is_no_trial(name: str) -> None:
    with pytest.raises(UserError):
        TrialSpec.from_json(FOREIGN[name])


# -- export ------------------------------------------------------------------------------------------------------------


def test_an_exported_plan_is_read_back_whole(lay_out: Callable[..., tuple[Plan, Inputs]], tmp_path: Path) -> None:
    plan, inputs = lay_out()
    files = export(plan, inputs, tmp_path / "bundle")
    back = [read_bundle(file) for file in files]
    assert [spec for spec, _, _ in back] == list(plan.trials)
    for spec, paths, texts in back:
        assert paths == {}
        assert set(texts) == ({spec.text} if spec.text else set())
        assert all(np.array_equal(texts[name], inputs.texts[name]) for name in texts)


def test_an_export_holds_one_file_a_trial_named_by_its_key(
    lay_out: Callable[..., tuple[Plan, Inputs]], tmp_path: Path
) -> None:
    plan, inputs = lay_out()
    export(plan, inputs, tmp_path / "bundle")
    assert {f.stem for f in (tmp_path / "bundle").glob("*.json")} == {t.key for t in plan.trials}
    assert {f.name for f in (tmp_path / "bundle").iterdir()} - {f"{t.key}.json" for t in plan.trials} == {"texts.npz"}


@pytest.fixture
def bundle(lay_out: Callable[..., tuple[Plan, Inputs]], tmp_path: Path) -> Path:
    """One exported trial that needs text."""
    plan, inputs = lay_out(methods=["text_guided_mixup"], seeds=[0])
    return export(plan, inputs, tmp_path / "bundle")[0]


def test_a_bundle_without_its_text_vectors_is_refused_with_the_file_that_is_missing(bundle: Path) -> None:
    (bundle.parent / "texts.npz").unlink()
    with pytest.raises(UserError, match=r"class-name vectors .* are not in .*texts\.npz"):
        read_bundle(bundle)


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"key": 1}', "\xff", "NaN"])
def test_a_file_that_is_no_bundle_is_refused(bundle: Path, text: str) -> None:
    bundle.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError):
        read_bundle(bundle)


def test_a_bundle_whose_learning_rate_was_edited_is_refused(bundle: Path) -> None:
    bundle.write_text(bundle.read_text().replace('"lr": 0.05', '"lr": 0.5'))
    with pytest.raises(UserError, match="it was edited"):
        read_bundle(bundle)


# -- precision ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_auto_is_bf16_on_gpus_that_multiply_it(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert resolve_precision("auto") == precision


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_a_precision_that_is_named_is_kept(wanted: str) -> None:
    assert resolve_precision(wanted) == wanted


def test_a_plan_records_what_auto_became(planned: Planned) -> None:
    trial = planned("recipes.scratch.precision=auto").trials[0]
    assert trial.recipe["precision"] == resolve_precision("auto")
    assert trial.recipe["precision"] in ("fp32", "bf16")


@pytest.mark.parametrize("suite", ["quickstart", "digits_search"])
@pytest.mark.parametrize(
    "chosen",
    [
        Selection(),
        Selection(methods=["mixup", "ce"]),
        Selection(seeds=[7, 1]),
        Selection(methods=["ce"], datasets=["digits"], seeds=[3]),
    ],
)
def test_a_part_of_the_whole_plan_is_the_plan_of_that_part(suite: str, chosen: Selection, data_root: Path) -> None:
    loaded, registry = load_suite(suite), Registry()
    whole, _ = make_plan(loaded, registry, data_root)
    assert part_of(whole, loaded, chosen) == make_plan(loaded, registry, data_root, chosen)[0]


def test_a_part_of_a_search_keeps_a_setting_that_another_row_tries_too(data_root: Path) -> None:
    """Two rows with one method try the same draws: each trains them where the other is not wanted."""
    loaded, registry = load_suite("digits_search"), Registry()
    name, entries = next((g, rows) for g, rows in loaded.methods.items() if any(r.method == "mixup" for r in rows))
    mixup = next(r for r in entries if r.method == "mixup")
    twin = mixup.model_copy(update={"label": "mixup_other"})
    loaded = loaded.model_copy(update={"methods": {name: [mixup, twin]}})
    whole, _ = make_plan(loaded, registry, data_root)
    assert whole.search is not None
    assert whole.search.same, "nothing was shared, so nothing was tried here"
    for label in ("mixup", "mixup_other"):
        chosen = Selection(methods=[label])
        assert part_of(whole, loaded, chosen) == make_plan(loaded, registry, data_root, chosen)[0]
