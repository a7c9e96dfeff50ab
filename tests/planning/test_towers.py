"""Image towers in a plan: what a recipe says of them, weights that are not there, and what does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ltbench.cli import app
from ltbench.errors import UserError
from ltbench.execution import nodes
from ltbench.models.towers import content_of, weights_of
from ltbench.planning.bundle import export, read_bundle
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.suite.load import load_suite
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.models.towers import REGISTRY, SUITE, Planned

# -- trials ------------------------------------------------------------------------------------------------------------


def test_the_recipe_says_what_the_tower_is_and_the_path_is_not_in_it(
    planned: Callable[..., Planned], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    file = checkpoints["tiny-vit-tower"]
    plan, inputs, _ = planned()
    recipe = plan.trials[0].recipe
    assert recipe["tower"]["pretrained"] == content_of(file)
    assert recipe["pretraining"] == f"open_clip {weights_of(recipe['tower'])}"
    assert {"pretrained", "image_size", "interpolation"}.isdisjoint(recipe)
    assert inputs.paths[content_of(file)] == str(file)
    moved = tmp_path / "moved.pt"
    moved.write_bytes(file.read_bytes())
    assert [t.key for t in planned(f"recipes.clip.pretrained={moved}")[0].trials] == [t.key for t in plan.trials]
    state = torch.load(file, weights_only=True)
    torch.save({**state, "logit_scale": state["logit_scale"] + 1}, moved)
    assert planned(f"recipes.clip.pretrained={moved}")[0].trials[0].key != plan.trials[0].key


def test_size_and_interpolation_can_be_chosen_and_are_in_the_key(planned: Callable[..., Planned]) -> None:
    usual, _, _ = planned()
    found, _, site = planned("recipes.clip.image_size=24", "recipes.clip.interpolation=bilinear")
    assert found.trials[0].key != usual.trials[0].key
    assert (found.trials[0].recipe["tower"]["image_size"], usual.trials[0].recipe["tower"]["image_size"]) == (24, 16)
    assert run_trial(found.trials[0], site).status == "ok"


def test_an_exported_trial_knows_where_its_weights_are(planned: Callable[..., Planned], tmp_path: Path) -> None:
    plan, inputs, site = planned("methods.clip=[clip_zero_shot]")
    file = export(plan, inputs, tmp_path / "out")[0]
    spec, paths, texts = read_bundle(file)
    again = run_trial(spec, Site(site.data, paths=paths, texts=texts, device="cpu", threads=1))
    assert again.numbers() == run_trial(plan.trials[0], site).numbers()


# -- weights that are not there ----------------------------------------------------------------------------------------


def test_a_plan_needs_no_weights_and_a_run_is_refused_at_once_with_three_cures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "suite.yaml"
    text = SUITE.replace("open_clip:tiny-vit-tower", "clip_vit_b32").replace(
        "pretrained: WEIGHTS", "pretrained: openai"
    )
    file.write_text(text)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    options = [str(file), "--data", str(tmp_path / "data"), "--results", str(tmp_path / "results")]
    shown = CliRunner().invoke(app, ["plan", *options])
    assert shown.exit_code == 0, shown.output
    assert "3 trials: 3 to run" in shown.output
    refused = CliRunner().invoke(app, ["run", *options, "--tracking-uri", f"sqlite:///{tmp_path}/m.db"])
    assert isinstance(refused.exception, UserError)
    for words in (
        "'openai' of ViT-B-32",
        "another tag",
        "laion400m_e31",
        "checkpoint",
        "`ltbench features`",
        "HF_HOME",
    ):
        assert words in str(refused.exception)
    assert not (tmp_path / "results" / "towers" / "records").exists()


def test_a_checkpoint_that_changed_since_the_plan_is_refused(
    planned: Callable[..., Planned], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.pt"
    mine.write_bytes(checkpoints["tiny-vit-tower"].read_bytes())
    plan, _, site = planned(f"recipes.clip.pretrained={mine}")
    mine.write_bytes(checkpoints["tiny-rn-tower"].read_bytes())
    record = run_trial(plan.trials[0], site)
    assert record.error is not None
    assert "other contents" in record.error
    mine.unlink()
    assert "the same path on every machine" in str(run_trial(plan.trials[0], site).error)


def test_a_machine_without_the_weights_is_named_before_anything_trains(
    planned: Callable[..., Planned], tmp_path: Path
) -> None:
    plan, _, site = planned()
    tower = plan.trials[0].recipe["tower"]
    site = dataclasses.replace(site, towers={weights_of(tower): tower})
    cells = [plan.trials[0].cell]
    assert nodes.check_data(cells, site) is None
    elsewhere = dataclasses.replace(site, paths={tower["pretrained"]: str(tmp_path / "nowhere.pt")})
    problem = nodes.check_data(cells, elsewhere)
    assert problem is not None
    assert "nowhere.pt" in problem


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["recipes.clip.backbone=open_clip:ViT-Q-9"], "unknown open_clip model 'ViT-Q-9'"),
        (["recipes.clip.backbone=clip_vit_b33"], "Did you mean 'clip_vit_b32'"),
        (["recipes.clip.pretrained=open-ai", "recipes.clip.backbone=clip_vit_b32"], "Did you mean 'openai'"),
        (["recipes.clip.backbone=resnet20"], "has no effect with backbone 'resnet20'"),
        (["text={encoder: open_clip, model: ViT-B-32, pretrained: openai}"], "the image tower is tiny-vit-tower"),
        (["text={encoder: bundled}"], "have 16 numbers, the class names' vectors .* 384"),
        (["text={encoder: tower, templates: imagenet_81}"], "Did you mean 'imagenet_80'"),
        (["text={encoder: tower, template: a photo}"], "has no {} where the class name goes"),
        (["text={encoder: tower, template: 'a {}', templates: ['{}']}"], "not both"),
        (["text={encoder: tower, names: {underscore: keep}}"], "unknown key. Did you mean 'underscores'"),
        (["text={encoder: tower, modle: x}"], "unknown key"),
        (["recipes.clip.interpolation=nearest"], "'nearest' is not one of"),
    ],
)
def test_what_does_not_fit_a_tower_is_refused(planned: Callable[..., Planned], changes: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        planned(*changes)


def test_another_architecture_needs_the_name_of_its_weights(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(SUITE.replace("    pretrained: WEIGHTS\n", "").replace("tiny-vit-tower", "ViT-B-32"))
    with pytest.raises(UserError, match=r"recipes\.clip\.pretrained: is missing"):
        make_plan(resolve(load_suite(str(file)), REGISTRY, tmp_path))


def test_a_backbone_without_a_text_tower_is_a_reason_to_skip(planned: Callable[..., Planned]) -> None:
    changes = ["recipes.clip.backbone=cnn_small", "recipes.clip.pretrained=null", "recipes.clip.head=linear"]
    plan, _, _ = planned(*changes, "methods.clip=[ce, text_guided_mixup]", "protocol.reference=ce")
    assert [t.label for t in plan.trials] == ["ce"]
    assert "has no text tower" in plan.skips[0].reason


# -- methods on towers -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tower_trains_as_it_should_from_the_command_line(
    checkpoints: dict[str, Path], tmp_path: Path, data_root: Path
) -> None:
    """The whole track: plan, run with checkpoints and MLflow, and a leaderboard that says what was pre-trained on."""
    file = tmp_path / "suite.yaml"
    text = SUITE.replace("WEIGHTS", checkpoints["tiny-vit-tower"].name).replace("seeds: [0]", "seeds: [0, 1, 2]")
    file.write_text(text.replace("clip_linear_probe, ce]", "clip_linear_probe, lift]"))
    weights = tmp_path / checkpoints["tiny-vit-tower"].name
    weights.write_bytes(checkpoints["tiny-vit-tower"].read_bytes())
    options = ["--data", str(data_root), "--results", str(tmp_path / "results")]
    store = ["--tracking-uri", f"sqlite:///{tmp_path}/m.db"]
    done = CliRunner().invoke(app, ["run", str(file), *options, *store])
    assert done.exit_code == 0, done.output
    for words in ("9 of 9 trials", "lift", "open_clip tiny-vit-tower sha256:"):
        assert words in done.output
    again = CliRunner().invoke(app, ["plan", str(file), *options])
    assert "9 finished" in again.output
