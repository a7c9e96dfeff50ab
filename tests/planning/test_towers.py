"""Image towers inside trials: a tiny random CLIP from a local checkpoint runs the whole track, offline."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ltbench.api import Stage, Task
from ltbench.checks.rehearsal import READ, Host
from ltbench.cli import app
from ltbench.errors import UserError
from ltbench.execution import nodes
from ltbench.models import build_backbone
from ltbench.models.clip import ImageTower, describe, encode_text, image_tower
from ltbench.models.towers import Preparation, Tower, content_of, weights_of
from ltbench.parts import Classifier
from ltbench.planning.bundle import export, read_bundle
from ltbench.planning.inputs import Inputs
from ltbench.planning.planner import make_plan
from ltbench.registry import Registry
from ltbench.spec import Plan, Record
from ltbench.suite.load import load_suite
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.checkpoints.files import discard
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.data.made import small_lists
from tests.models.test_text import add_model

REGISTRY = Registry()
TEXT: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 16, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
SUITE = """
suite: towers
text: {encoder: tower}
datasets: [{name: digits, imbalance: [20]}]
recipes:
  clip:
    backbone: open_clip:tiny-vit-tower
    pretrained: WEIGHTS
    head: text
    epochs: 0.25
    batch_size: 32
    optimizer: {name: sgd, lr: 0.01, momentum: 0.9}
    schedule: {name: cosine}
methods: {clip: [clip_zero_shot, clip_linear_probe, ce]}
protocol: {reference: clip_zero_shot, final: {seeds: [0]}}
resources: {executor: inline}
"""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random CLIP models of the smallest sizes, one with a transformer and one with a ResNet, by name."""
    import open_clip

    folder, made = tmp_path_factory.mktemp("towers"), {}
    for name, vision in (("tiny-vit-tower", VIT), ("tiny-rn-tower", RESNET)):
        add_model(folder, name, {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT})
        torch.manual_seed(0)
        made[name] = folder / f"{name}.pt"
        torch.save(open_clip.create_model(name).state_dict(), made[name])
    return made


Planned = tuple[Plan, Inputs, Site]


@pytest.fixture
def planned(checkpoints: dict[str, Path], tmp_path: Path, data_root: Path) -> Callable[..., Planned]:
    """`planned("recipes.clip.epochs=1")`: the suite above with changes, laid out."""

    def make(*changes: str, model: str = "tiny-vit-tower") -> Planned:
        file = tmp_path / "suite.yaml"
        file.write_text(SUITE.replace("WEIGHTS", str(checkpoints[model])).replace("tiny-vit-tower", model))
        plan, inputs = make_plan(load_suite(str(file), list(changes)), REGISTRY, data_root)
        return plan, inputs, Site(data_root, paths=inputs.paths, texts=inputs.texts, device="cpu", threads=1)

    return make


def run(planned: Planned, **changes: Any) -> dict[str, Record]:
    plan, _, site = planned
    site = dataclasses.replace(site, keep_logits=True, **changes)
    records = {t.label: run_trial(t, site) for t in plan.trials}
    for record in records.values():
        assert record.status == "ok", record.error
        assert "checkpoint_messages" not in record.environment
    return records


def logits(record: Record) -> Any:
    assert record.predictions is not None
    return np.load(io.BytesIO(record.predictions))["logits"]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through a tower, call by call."""
    seen: list[int] = []
    forward = Tower.forward

    def counted(self: Tower, x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(Tower, "forward", counted)
    return seen


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("model", ["tiny-vit-tower", "tiny-rn-tower"])
def test_trials_on_towers_have_everything_on_the_device_and_wait_for_it_once_an_epoch(
    planned: Callable[..., Planned], model: str, cached: bool, tmp_path: Path
) -> None:
    methods = "methods={clip: [clip_zero_shot, clip_linear_probe, ce, tgm_clip, lp_ft]}"
    times: dict[str, list[Counter[str]]] = {}
    for epochs in (1, 3):
        plan, _, site = planned(methods, f"recipes.clip.epochs={epochs}", model=model)
        site = dataclasses.replace(site, data=tmp_path, device="meta", cache_features=cached)
        for trial in plan.trials:
            with Host([]) as host:
                record = run_trial(trial, site)
            assert record.status == "ok", record.error
            times.setdefault(trial.label, []).append(host.times)
    for label, (short, long) in times.items():
        trains = label != "clip_zero_shot"
        assert long - short <= Counter({READ: 2 * trains}), label


# -- the tower ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tiny-vit-tower", "tiny-rn-tower"])
def test_a_towers_features_are_open_clips(checkpoints: dict[str, Path], model: str) -> None:
    import open_clip

    described = describe(model, str(checkpoints[model]))
    side = described["image_size"]
    x = torch.randint(0, 256, (3, 3, side, side), generator=torch.Generator().manual_seed(0)).float()
    whole = open_clip.create_model(model, pretrained=str(checkpoints[model])).eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    tower = image_tower(described, str(checkpoints[model])).eval()
    with torch.no_grad():
        torch.testing.assert_close(tower(tower.prepare(x)), whole.encode_image((x / 255 - mean) / std))
    assert tower.dim == 16


def test_loading_a_tower_throws_no_dice(checkpoints: dict[str, Path]) -> None:
    described = describe("tiny-vit-tower", str(checkpoints["tiny-vit-tower"]))
    torch.manual_seed(3)
    image_tower(described, str(checkpoints["tiny-vit-tower"]))
    after = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(2))


@pytest.mark.parametrize(
    ("name", "architecture", "dim", "side"),
    [("clip_rn50", "RN50", 1024, 224), ("clip_vit_b32", "ViT-B-32", 512, 224), ("clip_vit_b16", "ViT-B-16", 512, 224),
     ("clip_vit_l14", "ViT-L-14", 768, 224)],
)  # fmt: skip
def test_the_fields_towers_are_clips_own(name: str, architecture: str, dim: int, side: int) -> None:
    """CLIP was trained with its own activation (QuickGELU), which open_clip gives only if it is told to."""
    found = describe(name, "openai")
    assert (found["architecture"], found["dim"], found["image_size"], found["quick_gelu"]) == (
        architecture, dim, side, True)  # fmt: skip
    assert found["interpolation"] == "bicubic"
    np.testing.assert_allclose(found["mean"], [0.48145466, 0.4578275, 0.40821073])


def test_activation_and_statistics_are_those_of_the_weights(tmp_path: Path) -> None:
    assert describe("ViT-B-32", "openai")["quick_gelu"]
    assert not describe("ViT-B-32", "laion2b_s34b_b79k")["quick_gelu"]
    assert describe("ViT-B-16-SigLIP", "webli")["mean"] == [0.5, 0.5, 0.5]
    file = tmp_path / "mine.pt"
    file.write_bytes(b"weights")
    assert describe("ViT-B-16-SigLIP", str(file))["mean"] == [0.5, 0.5, 0.5]
    assert describe("clip_vit_b32", str(file))["quick_gelu"]
    assert not describe("ViT-B-32", str(file))["quick_gelu"]


def test_the_activation_reaches_the_network(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    file = str(checkpoints["tiny-vit-tower"])
    described = describe("tiny-vit-tower", file)
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain, quick = (image_tower({**described, "quick_gelu": q}, file).eval() for q in (False, True))
    with torch.no_grad():
        assert not torch.allclose(plain(x), quick(x))


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 8), (3, 16), (3, 40)])
def test_images_of_any_size_are_prepared(channels: int, side: int) -> None:
    """A flat image stays flat, and is normalised by the tower's statistics, whatever its size and colour."""
    tower = {"image_size": 16, "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    found = Preparation(tower)(torch.full((2, channels, side, side), 102.0))
    assert found.shape == (2, 3, 16, 16)
    for c in range(3):
        expected = (0.4 - tower["mean"][c]) / tower["std"][c]  # type: ignore[index]
        torch.testing.assert_close(found[:, c], torch.full((2, 16, 16), expected), atol=1e-5, rtol=1e-5)


def test_overshoot_of_the_interpolation_is_cut_off() -> None:
    tower = {"image_size": 32, "interpolation": "bicubic", "mean": [0.0] * 3, "std": [1.0] * 3}
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 255.0
    found = Preparation(tower)(edge)
    assert (float(found.min()), float(found.max())) == (0.0, 1.0)


# -- trials ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["tiny-vit-tower", "tiny-rn-tower"])
def test_zero_shot_in_a_trial_is_the_cosine_of_both_towers(
    planned: Callable[..., Planned], checkpoints: dict[str, Path], digits: Any, model: str
) -> None:
    record = run(planned("methods.clip=[clip_zero_shot]", model=model))["clip_zero_shot"]
    file, arrays = str(checkpoints[model]), digits.arrays()
    images = ImageTower(model, file, "cpu")(np.array(arrays.test_x)).astype(np.float64)
    text = encode_text(model, file, [f"a photo of a {n}" for n in digits.facts().class_names]).astype(np.float64)
    expected = [[100 * (x @ t) / np.sqrt((x @ x) * (t @ t)) for t in text] for x in images]
    np.testing.assert_allclose(logits(record), expected, rtol=2e-3, atol=0.02)  # stored as float16


def test_mixing_acts_on_the_images_the_tower_sees(planned: Callable[..., Planned], monkeypatch: Any) -> None:
    """The paper mixes after augmentation, resizing and normalisation (shape and statistics of the tower)."""
    seen: list[torch.Tensor] = []
    mix = REGISTRY.get("mixup").mix

    def watched(self: Any, x: torch.Tensor, y: torch.Tensor, now: Any) -> Any:
        seen.append(x)
        return mix(self, x, y, now)

    monkeypatch.setattr(REGISTRY.get("mixup"), "mix", watched)
    plan, _, site = planned("methods.clip=[mixup]", "protocol.reference=mixup")
    monkeypatch.setattr("ltbench.training.assemble.Registry", lambda folder: REGISTRY)
    assert run_trial(plan.trials[0], site).status == "ok"
    assert seen[0].shape == (32, 3, 16, 16)
    black = (0 - 0.48145466) / 0.26862954
    assert float(seen[0][:, 0].min()) == pytest.approx(black, abs=1e-5)


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


def test_in_bf16_the_head_keeps_its_digits(planned: Callable[..., Planned]) -> None:
    """Cosines that were rounded to bfloat16 would be off by up to 0.2 at a scale of 100, and many of them equal."""
    record = run(planned("recipes.clip.precision=bf16", "methods.clip=[clip_zero_shot]"))["clip_zero_shot"]
    found = logits(record).astype(np.float32)
    assert len(np.unique(torch.from_numpy(found).bfloat16().float().numpy())) < 0.5 * len(np.unique(found))


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
        make_plan(load_suite(str(file)), REGISTRY, tmp_path)


def test_a_backbone_without_a_text_tower_is_a_reason_to_skip(planned: Callable[..., Planned]) -> None:
    changes = ["recipes.clip.backbone=cnn_small", "recipes.clip.pretrained=null", "recipes.clip.head=linear"]
    plan, _, _ = planned(*changes, "methods.clip=[ce, text_guided_mixup]", "protocol.reference=ce")
    assert [t.label for t in plan.trials] == ["ce"]
    assert "has no text tower" in plan.skips[0].reason


# -- cached features ---------------------------------------------------------------------------------------------------

HEADS = "methods.clip=[clip_zero_shot, clip_linear_probe, crt]"


@pytest.mark.parametrize("model", ["tiny-vit-tower", "tiny-rn-tower"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_numbers_with_and_without_the_cache_agree(
    planned: Callable[..., Planned], tmp_path: Path, model: str, precision: str
) -> None:
    tried = planned(HEADS, f"recipes.clip.precision={precision}", "recipes.clip.epochs=2", model=model)
    plain = run(tried, cache_features=False)
    kept = run(tried)
    for name, record in kept.items():
        found, expected = logits(record).astype(np.float64), logits(plain[name]).astype(np.float64)
        tolerance = 0.03 if precision == "fp32" else 0.5  # logits of some tens, stored as float16; bf16 has eight bits
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_frozen_stages_run_the_tower_once_for_all_trials(
    planned: Callable[..., Planned], passes: list[int], tmp_path: Path
) -> None:
    plan, inputs, site = planned(HEADS, "recipes.clip.epochs=3", "methods.clip=[clip_linear_probe, clip_zero_shot]")
    site = dataclasses.replace(site, data=tmp_path / "fresh")
    images = 2 * sum(inputs.sources["digits"].facts().test_counts)
    first = [run_trial(t, site).numbers() for t in plan.trials]
    train = sum(passes) - images // 2
    assert 0 < train < 600, "every training image once, every test image once, for both trials"
    passes.clear()
    assert [run_trial(t, site).numbers() for t in plan.trials] == first
    assert passes == [], "all of it was kept"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Preparation, "__call__", lambda self, pixels: pytest.fail("images were read and resized"))
        assert [run_trial(t, site).numbers() for t in plan.trials] == first
    for shard in (tmp_path / "fresh" / "towers").rglob("*.npy"):
        shard.write_bytes(b"damaged")
    assert [run_trial(t, site).numbers() for t in plan.trials] == first


@pytest.mark.parametrize(
    ("row", "changes"),
    [("ce", []), ("mixup", []), ("clip_linear_probe", ["recipes.clip.augment=flip"])],
)
def test_what_trains_the_tower_or_alters_images_reads_images(
    planned: Callable[..., Planned], passes: list[int], row: str, changes: list[str]
) -> None:
    plan, _, site = planned(f"methods.clip=[{row}]", f"protocol.reference={row}", *changes)
    assert run_trial(plan.trials[0], site).status == "ok"
    assert passes.count(32) >= 3


def test_a_tower_that_was_trained_is_not_taken_for_the_loaded_one(
    planned: Callable[..., Planned], tmp_path: Path
) -> None:
    """cRT trains the tower first: its second stage and the test pass must see the trained one."""
    tried = planned("methods.clip=[crt]", "protocol.reference=crt", "recipes.clip.epochs=4")
    run(planned("methods.clip=[clip_linear_probe]", "protocol.reference=clip_linear_probe"))  # fills the cache
    with_cache, without = run(tried)["crt"], run(tried, cache_features=False)["crt"]
    np.testing.assert_allclose(logits(with_cache), logits(without), atol=0.05)


@pytest.mark.parametrize("row", ["crt: {classifier_share: 0.5}", "clip_linear_probe", "tgm_clip: {}", "ce"])
def test_an_interrupted_trial_on_a_tower_ends_as_an_undisturbed_one(
    planned: Callable[..., Planned], tmp_path: Path, row: str
) -> None:
    """A second stage on cached features must not be served those of the tower before it was restored."""
    plan, _, site = planned(f"methods.clip=[{row}]", "protocol.reference=null", "recipes.clip.epochs=3")
    undisturbed = run_trial(plan.trials[0], site)
    (tmp_path / "checkpoints").mkdir()
    resumable = dataclasses.replace(site, checkpoints=tmp_path / "checkpoints", checkpoint_seconds=1000.0)
    asked = 0
    for stop_after in (9, 23, 10**6):

        def stop(limit: int = stop_after) -> bool:
            nonlocal asked
            asked += 1
            return asked >= limit

        asked = 0
        with contextlib.suppress(Stopped):
            record = run_trial(plan.trials[0], resumable, stop=stop)
    assert record.environment["resumed"] == 2
    assert "checkpoint_messages" not in record.environment
    assert record.numbers() == undisturbed.numbers()


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("row", ["crt: {classifier_share: 0.5}", "clip_linear_probe", "ce"])
def test_what_another_trial_trained_on_a_tower_gives_the_same_numbers(
    planned: Callable[..., Planned], tmp_path: Path, row: str, cached: bool
) -> None:
    """The other one is the same trial once more: a tower that was trained and one that was not, with features that are
    kept and without."""
    plan, _, site = planned(f"methods.clip=[{row}]", "protocol.reference=null", "recipes.clip.epochs=3")
    spec, place = plan.trials[0], tmp_path / "checkpoints"
    place.mkdir()
    site = dataclasses.replace(site, cache_features=cached)
    alone = run_trial(spec, site)
    shared = dataclasses.replace(site, checkpoints=place, shared={spec.key: "a" * 12})
    trainer = run_trial(spec, shared)
    discard(place, spec.key)
    taker = run_trial(spec, shared)
    assert "trained_by" not in trainer.environment
    assert taker.environment["trained_by"] == spec.key
    assert trainer.numbers() == taker.numbers() == alone.numbers()
    assert trainer.predictions == taker.predictions == alone.predictions


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(
    planned: Callable[..., Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = planned("methods.clip=[clip_linear_probe]", "protocol.reference=clip_linear_probe")
    expected = run(tried)["clip_linear_probe"].numbers()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ltbench.training.frozen.keep", full)
    monkeypatch.setattr("ltbench.training.frozen.kept", lambda file: None)
    assert run(tried)["clip_linear_probe"].numbers() == expected


# -- methods on towers -------------------------------------------------------------------------------------------------


def tower_model(method: str, checkpoints: dict[str, Path], model: str = "tiny-vit-tower", **values: Any) -> Any:
    """The method and a model of the tiny tower, as a trial makes them."""
    file = str(checkpoints[model])
    labels = np.repeat(np.arange(10), 10)
    text = encode_text(model, file, [f"a photo of a {n}" for n in "abcdefghij"])
    text = text / np.linalg.norm(text, axis=1, keepdims=True)
    task = Task(labels, list("abcdefghij"), text=text, logit_scale=100.0)
    made = REGISTRY.get(method)(task, **values)
    tower = image_tower(describe(model, file), file)
    return made, Classifier(tower, made.head(tower.dim))


def trained_names(stage: Stage, model: Classifier) -> set[str]:
    assert stage.optimizer is not None
    ids = {id(p) for group in stage.optimizer.param_groups for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in ids}


def test_lift_trains_adapters_and_head_and_nothing_else(checkpoints: dict[str, Path]) -> None:
    method, model = tower_model("lift", checkpoints)
    (stage,) = method.stages(model)
    trained = trained_names(stage, model)
    assert {n for n, _ in model.named_parameters() if ".adapter." in n} | {"head.weight"} == trained
    assert sum(p.numel() for n, p in model.named_parameters() if n.endswith("down.weight")) == 2 * 32 * 2
    groups = stage.optimizer.param_groups
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in groups] == [(0.01, 0.9, 5e-4)]


@pytest.mark.parametrize(("classes", "blocks", "width"), [(100, 12, 4), (1000, 12, 32), (8142, 12, 256), (10, 12, 1)])
def test_lifts_bottleneck_is_as_wide_as_the_authors(
    classes: int, blocks: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that adapters have about as many weights as a classifier: 2 blocks x width is about the number of classes."""
    task = Task(np.arange(classes), [str(c) for c in range(classes)], text=np.eye(classes, 64, dtype=np.float32) + 0.1,
                logit_scale=100.0)  # fmt: skip
    method = REGISTRY.get("lift")(task)
    body = build_backbone("vit_small", (8, 8, 1))
    body.blocks = torch.nn.Sequential(*(copy.deepcopy(body.blocks[0]) for _ in range(blocks)))
    next(iter(method.stages(Classifier(body, method.head(64)))))
    assert body.blocks[0].mlp.adapter.down.out_features == width


def test_lift_starts_as_the_cosine_before_the_projection(checkpoints: dict[str, Path]) -> None:
    """f the feature before the projection P, t a name's vector: 25 cos(f, P t); f . P t is the tower's own product."""
    import open_clip

    method, model = tower_model("lift", checkpoints)
    list(method.stages(model))
    visual = open_clip.create_model("tiny-vit-tower", pretrained=str(checkpoints["tiny-vit-tower"])).visual.eval()
    projection = visual.proj.detach().clone()
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = visual(x)
        visual.proj = None
        f = visual(x)
        torch.testing.assert_close(f @ projection, own)
        start = method.task.text @ projection.T
        expected = 25 * torch.nn.functional.cosine_similarity(f[:, None], start[None], dim=2)
        torch.testing.assert_close(model.eval()(x), expected)


def test_lift_is_skipped_where_there_are_no_blocks(planned: Callable[..., Planned]) -> None:
    rows = "methods.clip=[clip_zero_shot, lift]"
    plan, _, _ = planned(rows, model="tiny-rn-tower")
    assert [t.label for t in plan.trials] == ["clip_zero_shot"]
    assert "needs transformer blocks" in plan.skips[0].reason
    assert [t.label for t in planned(rows)[0].trials] == ["clip_zero_shot", "lift"]


def test_full_fine_tuning_has_a_learning_rate_for_each_part(checkpoints: dict[str, Path]) -> None:
    method, model = tower_model("clip_full_finetune", checkpoints, tower_lr=1e-5, head_lr=1e-3)
    (stage,) = method.stages(model)
    tower, head = stage.optimizer.param_groups
    assert (tower["lr"], head["lr"], tower["weight_decay"]) == (1e-5, 1e-3, 0.1)
    assert {id(p) for p in tower["params"]} == {id(p) for p in model.backbone.parameters()}
    assert [id(p) for p in head["params"]] == [id(model.head.weight)]


def test_lp_ft_trains_the_head_and_then_everything(checkpoints: dict[str, Path]) -> None:
    method, model = tower_model("lp_ft", checkpoints, probe_share=0.25)
    first, second = method.stages(model)
    assert trained_names(first, model) == {"head.weight"}
    assert trained_names(second, model) == {name for name, _ in model.named_parameters()}
    assert (first.share, second.share) == (0.25, 0.75)


def test_every_clip_method_trains_on_a_tower_and_beats_chance(planned: Callable[..., Planned]) -> None:
    """A random tower knows nothing; what trains it, or adapts it, learns the digits."""
    rows = """methods.clip=[clip_zero_shot, clip_full_finetune: {tower_lr: 0.003, head_lr: 0.03},
        lp_ft: {tower_lr: 0.003, head_lr: 0.03, probe_lr: 0.03}, lift: {bottleneck: 16},
        tgm_clip: {tower_lr: 0.003, alpha: 0.0, adapter_alpha: 0.0, tau: 1.0}]"""
    records = run(planned(rows, "recipes.clip.epochs=12"))
    found = {name: record.metrics["accuracy"] or 0.0 for name, record in records.items()}
    assert found.pop("clip_zero_shot") < 25
    assert min(found.values()) > 30, found


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


# -- images that are streamed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["clip_linear_probe", "tgm_clip: {}", "lift: {}"])
def test_towers_read_streamed_images_with_and_without_the_cache(
    checkpoints: dict[str, Path], tmp_path: Path, row: str
) -> None:
    text = SUITE.replace("WEIGHTS", str(checkpoints["tiny-vit-tower"]))
    root = small_lists(tmp_path / "images")
    data = f"[{{name: made, kind: lists, path: {root}, size: 24, stream: true, profile: native}}]"
    file = tmp_path / "suite.yaml"
    file.write_text(text.replace("[{name: digits, imbalance: [20]}]", data))
    changes = [f"methods.clip=[{row}]", "protocol.reference=null", "recipes.clip.batch_size=8", "recipes.clip.epochs=2"]
    plan, inputs = make_plan(load_suite(str(file), changes), REGISTRY, tmp_path / "data")
    site = Site(tmp_path / "data", paths=inputs.paths, texts=inputs.texts, device="cpu", threads=1)
    with_cache, without = (run((plan, inputs, site), cache_features=c) for c in (True, False))
    for name, record in with_cache.items():
        np.testing.assert_allclose(logits(record), logits(without[name]), atol=0.03)


STREAMED = """
suite: streamed
text: {encoder: tower}
datasets: [{name: mine, kind: lists, path: IMAGES, size: 16, resize: 16, interpolation: bicubic}]
recipes:
  clip:
    backbone: open_clip:tiny-vit-tower
    pretrained: WEIGHTS
    head: text
    epochs: 2
    batch_size: 8
    optimizer: {name: sgd, lr: 0.01, momentum: 0.9}
methods: {clip: [clip_zero_shot, clip_linear_probe, tgm_clip, ce]}
protocol: {reference: ce, final: {seeds: [0]}}
"""


def test_towers_read_streamed_images_with_and_without_kept_features(
    checkpoints: dict[str, Path], tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltbench.data.images import pictures

    file, root = tmp_path / "suite.yaml", small_lists(tmp_path / "root")
    file.write_text(STREAMED.replace("IMAGES", str(root)).replace("WEIGHTS", str(checkpoints["tiny-vit-tower"])))
    plan, inputs = make_plan(load_suite(str(file)), REGISTRY, tmp_path)
    site = Site(tmp_path, paths=inputs.paths, texts=inputs.texts, device="cpu", threads=1, decoded_cache=False)
    decoded: list[Path] = []
    whole = pictures.whole
    monkeypatch.setattr(pictures, "whole", lambda file, *how: decoded.append(file) or whole(file, *how))
    kept = run((plan, inputs, site))
    asked = len(passes)
    decoded.clear()
    again = run((plan, inputs, site))
    assert {k: r.numbers() for k, r in kept.items()} == {k: r.numbers() for k, r in again.items()}
    of_test = [file for file in decoded if "/test/" in str(file)]
    assert len(of_test) == 2 * 9, "two methods train the tower and read the test images; of the others all is kept"
    plain = run((plan, inputs, site), cache_features=False)
    assert len(passes) - asked > asked
    for label, record in plain.items():
        np.testing.assert_allclose(logits(kept[label]), logits(record), atol=2e-3, err_msg=label)


def test_curves_on_a_hold_out_are_drawn_on_a_tower(planned: Callable[..., Planned]) -> None:
    changes = ["protocol.holdout_per_class=4", "protocol.curves=holdout", "recipes.clip.epochs=2"]
    for record in run(planned("methods.clip=[clip_linear_probe, ce]", "protocol.reference=ce", *changes)).values():
        points = record.curves["curve/holdout_balanced_accuracy"]
        assert len(points) == 2
        assert all(0 <= value <= 100 for _, value in points)


def test_code_in_a_checkpoint_is_never_run(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"text_projection": Malicious()}, tmp_path / "weights.pt")
    file = str(tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt does not hold the weights of tiny-vit-tower"):
        image_tower(describe("tiny-vit-tower", file), file)
    assert not (tmp_path / "ran").exists()
