"""Plans: which trials, in which order, under which names, and what is skipped and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltbench.errors import UserError
from ltbench.execution.run_plan import bring_up_to_date, state_of
from ltbench.models import build_backbone, has_stages
from ltbench.planning.planner import make_plan, part_of
from ltbench.planning.recipes import resolve_precision
from ltbench.planning.resolve import Inputs, resolve
from ltbench.planning.trials import misfit
from ltbench.registry import Registry
from ltbench.results.journal import Journal
from ltbench.spec import Expectation, Plan, Record, Selection, canonical
from ltbench.suite.load import load_suite
from tests.planning.conftest import SUITE
from tests.spec.test_trial import NAMES, SPEC

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
    assert list(expected.rows) == ["ce", "mixup", "text_guided_mixup"]
    assert len(expected.rows) * len(expected.columns) * len(expected.protocol["seeds"]) == len(plan.trials)
    assert Expectation.from_json(json.loads(json.dumps(expected.to_json()))) == expected


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
    ((label, reason, where),) = expected.skips
    assert (label, where) == ("text_guided_mixup", ("digits IF20", "digits IF50"))
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
    whole, _ = make_plan(resolve(loaded, registry, data_root))
    assert part_of(whole, loaded, chosen) == make_plan(resolve(loaded, registry, data_root, chosen))[0]


def test_a_part_of_a_search_keeps_a_setting_that_another_row_tries_too(data_root: Path) -> None:
    """Two rows with one method try the same draws: each trains them where the other is not wanted."""
    loaded, registry = load_suite("digits_search"), Registry()
    name, entries = next((g, rows) for g, rows in loaded.methods.items() if any(r.method == "mixup" for r in rows))
    mixup = next(r for r in entries if r.method == "mixup")
    twin = mixup.model_copy(update={"label": "mixup_other"})
    loaded = loaded.model_copy(update={"methods": {name: [mixup, twin]}})
    whole, _ = make_plan(resolve(loaded, registry, data_root))
    assert whole.search is not None
    assert whole.search.same, "nothing was shared, so nothing was tried here"
    for label in ("mixup", "mixup_other"):
        chosen = Selection(methods=[label])
        assert part_of(whole, loaded, chosen) == make_plan(resolve(loaded, registry, data_root, chosen))[0]


@pytest.mark.parametrize("name", ["tau_norm", "vs_loss"])
def test_what_needs_a_linear_head_is_skipped_on_class_names(name: str) -> None:
    """VS-loss multiplies logits by class counts: on cosines, all positive, that is a shift against rare classes."""
    cls = Registry().get(name)
    assert misfit(cls, {"backbone": "identity", "head": "text"}) == "needs a linear head; this recipe has `head: text`"
    assert misfit(cls, {"backbone": "identity"}) == ""


@pytest.mark.parametrize("name", ["ride", "sade", "bbn"])
def test_experts_are_skipped_where_a_backbone_has_no_stages(name: str) -> None:
    cls = Registry().get(name)
    for backbone in ("identity", "densenet121", "clip_vit_b32", "vgg11"):
        assert "needs a backbone in stages" in misfit(cls, {"backbone": backbone})
    for backbone in (
        "resnet32",
        "cnn_small",
        "mlp",
        "vit_small",
        "resnet10",
        "resnext50_32x4d",
        "wide_resnet50_2",
        "vit_b_16",
    ):
        assert misfit(cls, {"backbone": backbone}) == ""


def test_a_method_of_maps_is_skipped_where_there_are_none() -> None:
    cls = Registry().get("shike")
    assert {b for b in ("mlp", "vit_small", "resnet32", "cnn_small") if not misfit(cls, {"backbone": b})} == {
        "resnet32",
        "cnn_small",
    }


def test_views_are_those_that_the_method_takes(planned: Planned) -> None:
    """A method of one view has the key that it has without them."""
    suite = SUITE.replace("[ce, mixup, text_guided_mixup]", "[ce, paco, bcl, glmc]")
    assert suite != SUITE
    both = [planned(*extra, text=suite).trials for extra in ([], ["recipes.scratch.views=[flip]"])]
    plain, viewed = ({t.label: t for t in trials} for trials in both)
    assert {label: t.recipe.get("views") for label, t in viewed.items()} == {
        "ce": None, "paco": ["flip"], "bcl": ["flip", "flip"], "glmc": [viewed["ce"].recipe["augment"]],
    }  # fmt: skip
    assert [label for label in plain if plain[label].key == viewed[label].key] == ["ce", "glmc"]
    assert len({t.recipe_id for t in viewed.values()}) == 1, "all rows of a recipe stand in one table"
    assert planned(text=suite).expectation().recipes == {"scratch": plain["ce"].recipe}


def test_feature_vectors_have_one_view() -> None:
    assert "3 views" in misfit(Registry().get("bcl"), {"backbone": "identity"})


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "densenet121", "shufflenet_v2_x0_5", "regnet_y_400mf"])
def test_what_is_said_of_stages_is_what_the_network_has(name: str) -> None:
    size = 32 if name == "resnet20" else 224
    network = build_backbone(name, (size, size, 3))
    assert has_stages(name) == (len(getattr(network, "stages", ())) > 1)


def test_the_adapters_of_the_features_suite_have_their_rivals_learning_rate() -> None:
    suite = load_suite("clip_features")
    rate = suite.recipes["clip"].optimizer.lr
    adapters = [entry for entry in suite.methods["clip"] if entry.method == "tgm_clip"]
    assert [entry.hyperparameters["adapter_lr"] for entry in adapters] == [rate, rate]


def test_as_many_images_for_every_row_is_part_of_the_key(lay_out: Callable[..., tuple[Plan, Inputs]]) -> None:
    plain, named, alike = (lay_out(*o)[0] for o in ((), ("protocol.budget=steps",), ("protocol.budget=images",)))
    assert [t.key for t in plain.trials] == [t.key for t in named.trials]
    assert not {t.key for t in plain.trials} & {t.key for t in alike.trials}
    assert {t.recipe["budget"] for t in alike.trials} == {"images"}
    assert all("budget" not in t.recipe for t in plain.trials)
