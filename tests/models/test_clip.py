"""The CLIP track: the text-guided mixup paper's loss in plain loops, one footing for all heads, real CLIP vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ltbench.api import Moment, Stage, Task
from ltbench.data.loader import VectorBatches
from ltbench.data.order import BatchOrder
from ltbench.data.sources.features import Features
from ltbench.errors import UserError
from ltbench.models.identity import Identity
from ltbench.parts import Classifier, CosineHead
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.spec import Plan
from ltbench.suite.load import load_suite
from ltbench.training.engine import Clock, Setup, share_out, train
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

REGISTRY = Registry()
COUNTS = (50, 20, 5)
DIM = 6
SUITE = """
suite: tiny
text: {encoder: dataset}
datasets: [{name: made, kind: features, path: PATH, profile: native}]
recipes:
  clip: {backbone: identity, head: text, epochs: 2, batch_size: 16, optimizer: {name: adam, lr: 0.001}}
methods: {clip: [clip_zero_shot, ce, ldam_drw: {scale: 100.0}, tgm_clip: {tower_share: 0.0}]}
protocol: {reference: clip_zero_shot, final: {seeds: [0, 1]}}
"""


def unit(x: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), dtype=np.float32)


def text_vectors(classes: int = len(COUNTS), dim: int = DIM) -> NDArray[np.float32]:
    return unit(np.random.default_rng(1).normal(size=(classes, dim)) + 0.3)


def task(text: NDArray[np.float32] | None = None, scale: float | None = 100.0) -> Task:
    labels = np.repeat(np.arange(len(COUNTS)), COUNTS).astype(np.int64)
    names = [f"c{i}" for i in range(len(COUNTS))]
    return Task(labels, names, text=text_vectors() if text is None else text, logit_scale=scale)


def made(method: str, **values: Any) -> Any:
    return REGISTRY.get(method)(task(), **values)


def moment(stage: str = "adapter") -> Moment:
    return Moment(stage, 0.0, np.random.default_rng(0), torch.device("cpu"))


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Three classes around their names' vectors, 12 numbers each."""
    rng, text = np.random.default_rng(0), text_vectors(3, 12)
    parts = {}
    for part, counts in (("train", (40, 20, 6)), ("test", (10, 10, 10))):
        y = np.repeat(np.arange(3), counts)
        parts[f"{part}_x"] = (3 * text[y] + 0.6 * rng.normal(size=(len(y), 12))).astype(np.float16)
        parts[f"{part}_y"] = y
    file = tmp_path / "features.npz"
    np.savez(file, class_names=np.array(["ant", "bee", "cat"]), text=text, **parts)
    return file


def suite_of(folder: Path, features: Path, *changes: str) -> Any:
    file = folder / "suite.yaml"
    file.write_text(SUITE.replace("PATH", str(features)))
    return load_suite(str(file), list(changes))


# -- margin metric softmax ---------------------------------------------------------------------------------------------


def mms(scores: Any, target: Any, text: Any, margin: float, temperature: float) -> float:
    """The paper's loss in plain loops: for each of the two largest entries of a label (weight a, class y), a times the
    cross-entropy of z_k = (s_k + margin (1 - cos(t_y, t_k))) / T; mean over the batch."""
    whole = 0.0
    for s, t in zip(scores, target, strict=True):
        for y in sorted(range(len(t)), key=lambda k: -t[k])[:2]:
            z = [
                (s[k] + margin * (1 - sum(a * b for a, b in zip(text[y], text[k], strict=True)))) / temperature
                for k in range(len(s))
            ]
            top = max(z)
            whole += t[y] * (math.log(sum(math.exp(v - top) for v in z)) + top - z[y])
    return whole / len(scores)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("margin", "temperature"), [(0.3, 0.01), (0.0, 0.01), (0.5, 0.1)])
def test_the_loss_is_the_papers_and_so_is_its_gradient(soft: bool, margin: float, temperature: float) -> None:
    method = made("tgm_clip", margin=margin, temperature=temperature)
    method.task.text = method.task.text.double()
    rng = np.random.default_rng(2)
    scores = torch.tensor(rng.uniform(-0.2, 0.4, (5, 3)), dtype=torch.float64, requires_grad=True)
    weights = rng.uniform(0, 1, 5) if soft else np.ones(5)
    target = torch.zeros(5, 3, dtype=torch.float64)
    for i, (w, (a, b)) in enumerate(zip(weights, [(0, 1), (1, 2), (2, 0), (0, 2), (1, 0)], strict=True)):
        target[i, a], target[i, b] = w, 1 - w
    loss = method.loss(scores, target, moment())
    text = method.task.text.tolist()
    expected = mms(scores.tolist(), target.tolist(), text, margin, temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert scores.grad is not None
    for i, k in ((0, 0), (2, 1), (4, 2)):
        moved = [[list(row) for row in scores.tolist()] for _ in "+-"]
        moved[0][i][k] += 1e-6
        moved[1][i][k] -= 1e-6
        up, down = (mms(m, target.tolist(), text, margin, temperature) for m in moved)
        assert scores.grad[i, k].item() == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.98, 0.5, 0.0)], ids=["hard", "soft"])
def test_the_gradient_is_the_papers_in_every_entry(weights: tuple[float, ...]) -> None:
    """By hand: d/ds_k of sum_y t_y CE(z^y, y) is sum_y t_y (softmax(z^y)_k - [k = y]) / T, over the batch's size."""
    method = made("tgm_clip")
    method.task.text = method.task.text.double()
    text = method.task.text.tolist()
    scores = torch.tensor([[0.31, 0.24, 0.2], [0.1, 0.28, 0.27], [0.22, 0.21, 0.26]], dtype=torch.float64)
    scores.requires_grad_()
    target = torch.zeros(3, 3, dtype=torch.float64)
    for i, (w, (a, b)) in enumerate(zip(weights, [(0, 1), (1, 2), (2, 0)], strict=True)):
        target[i, a], target[i, b] = w, 1 - w
    method.loss(scores, target, moment()).backward()
    assert scores.grad is not None
    for i in range(3):
        expected = [0.0, 0.0, 0.0]
        for y in sorted(range(3), key=lambda k: -float(target[i, k]))[:2]:
            far = [1 - sum(p * q for p, q in zip(text[y], text[k], strict=True)) for k in range(3)]
            z = [(scores[i, k].item() + 0.3 * far[k]) / 0.01 for k in range(3)]
            total = sum(math.exp(v - max(z)) for v in z)
            for k in range(3):
                expected[k] += float(target[i, y]) * (math.exp(z[k] - max(z)) / total - (k == y)) / 0.01 / 3
        np.testing.assert_allclose(scores.grad[i].numpy(), expected, rtol=1e-6, atol=1e-6)


def test_each_phase_anneals_as_torchs_cosine_over_its_own_epochs() -> None:
    """Where an epoch begins, the learning rate is that of CosineAnnealingLR(T_max=epochs of the phase, lr/1000)."""
    rates: dict[str, list[float]] = {}

    class Watched(REGISTRY.get("tgm_clip")):  # type: ignore[misc]
        """Notes the learning rate of every step."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            for self.stage in super().stages(model):
                yield self.stage

        def mix(self, x: torch.Tensor, y: torch.Tensor, now: Moment) -> Any:
            rates.setdefault(now.stage, []).append(self.stage.optimizer.param_groups[0]["lr"])
            return super().mix(x, y, now)

    labels = np.repeat(np.arange(3), (20, 8, 4)).astype(np.int64)
    tower = torch.nn.Linear(4, DIM)
    tower.dim = DIM  # type: ignore[assignment]
    method = Watched(Task(labels, ["a", "b", "c"], text=text_vectors(), logit_scale=100.0), tower_share=2 / 3)
    model = Classifier(tower, method.head(DIM))
    rng = np.random.default_rng(0)
    batches = VectorBatches(rng.normal(size=(32, 4)).astype(np.float32), labels, rng=rng, device=torch.device("cpu"))
    schedule = {"name": "cosine", "floor": 0.001, "warmup": 0.0, "warmup_stairs": 0}
    recipe = {"epochs": 12, "batch_size": 8, "precision": "fp32", "schedule": schedule}
    clock = Clock(rng, torch.device("cpu"))
    train(model, method, Setup(batches, BatchOrder(labels, 3, 8, rng), clock, recipe))
    for stage, epochs, lr in (("tower", 8, 1e-6), ("adapter", 4, 1e-2)):
        assert len(rates[stage]) == 4 * epochs
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
        torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=lr / 1000)
        for epoch in range(epochs):
            assert rates[stage][4 * epoch] == pytest.approx(torchs.get_last_lr()[0], rel=1e-6)
            optimizer.step()
            torchs.step()


def test_a_maples_partners_are_the_other_trees(shared_data: Path) -> None:
    stored = np.load(shared_data / "cifar100_text_clip_vitb32.npz")
    names = [str(n) for n in stored["class_names"]]
    labels = np.arange(100).repeat(2)
    method = REGISTRY.get("text_guided_mixup")(Task(labels, names, text=unit(stored["embeddings"])))
    chance = np.diff(method.partner_cdf[names.index("maple_tree")], prepend=0.0)
    nearest = {names[j] for j in np.argsort(-chance)[:5]}
    assert nearest == {"oak_tree", "pine_tree", "willow_tree", "palm_tree", "forest"}
    assert chance[names.index("oak_tree")] == chance.max() > 10 / 99


def test_without_margin_it_is_cross_entropy_of_the_scaled_cosines() -> None:
    scores, target = torch.randn(4, 3) * 0.1, torch.eye(3)[[0, 1, 2, 1]]
    plain, none = made("tgm_clip", loss_function="ce"), made("tgm_clip", margin=0.0)
    torch.testing.assert_close(none.loss(scores, target, moment()), plain.loss(scores, target, moment()))


def test_each_phase_shifts_labels_by_its_own_alpha() -> None:
    method = made("tgm_clip", alpha=0.25, adapter_alpha=2.0)
    assert (method.label_shift(moment("tower")), method.label_shift(moment("adapter"))) == (0.25, 2.0)


def test_the_two_phases_train_the_tower_and_then_the_adapter() -> None:
    tower = torch.nn.Linear(4, DIM)
    tower.dim = DIM  # type: ignore[assignment]
    method = made("tgm_clip", tower_share=0.75)
    model = Classifier(tower, method.head(DIM))
    first, second = method.stages(model)
    trained = [{id(p) for g in stage.optimizer.param_groups for p in g["params"]} for stage in (first, second)]
    assert trained == [{id(p) for p in tower.parameters()}, {id(p) for p in model.head.parameters()}]
    assert (first.share, second.share) == (0.75, 0.25)


def test_precomputed_features_have_no_tower_to_train() -> None:
    method = made("tgm_clip")
    with pytest.raises(ValueError, match="tower_share: 0"):
        list(method.stages(Classifier(Identity(DIM), method.head(DIM))))


def test_the_adapter_starts_as_zero_shot() -> None:
    x = torch.from_numpy(unit(np.random.default_rng(5).normal(size=(7, DIM))))
    method = made("tgm_clip")
    zero_shot = made("clip_zero_shot").head(DIM)
    torch.testing.assert_close(method.predict(method.head(DIM)(x)), zero_shot(x))


# -- one footing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ce", "balanced_softmax", "focal", "mixup", "logit_adjustment", "crt", "cb_reweight"])
def test_every_head_starts_at_the_names_with_clips_scale(name: str) -> None:
    head = made(name).head(DIM)
    assert isinstance(head, CosineHead)
    x = torch.randn(4, DIM)
    expected = 100 * torch.nn.functional.normalize(x, dim=1) @ torch.from_numpy(text_vectors()).T
    torch.testing.assert_close(head(x), expected)


def test_ldam_has_the_same_start_and_its_own_scale() -> None:
    method = made("ldam_drw", scale=100.0)
    x = torch.randn(4, DIM)
    torch.testing.assert_close(method.predict(method.head(DIM)(x)), made("ce").head(DIM)(x))


def test_without_the_text_head_nothing_changes() -> None:
    assert isinstance(REGISTRY.get("ce")(task(scale=None)).head(DIM), torch.nn.Linear)


def test_vectors_of_another_space_are_refused() -> None:
    with pytest.raises(UserError, match="the same model"):
        made("ce").head(DIM + 1)


# -- a suite on features -----------------------------------------------------------------------------------------------


def test_a_suite_on_features_runs_and_zero_shot_trains_nothing(tmp_path: Path, features: Path) -> None:
    plan, inputs = make_plan(resolve(suite_of(tmp_path, features), REGISTRY, tmp_path / "data"))
    site = Site(tmp_path / "data", paths=inputs.paths, texts=inputs.texts, device="cpu", threads=1)
    records = {(t.label, t.seed): run_trial(t, site) for t in plan.trials}
    assert {r.status for r in records.values()} == {"ok"}
    stored = np.load(features)
    nearest = (unit(stored["test_x"].astype(np.float64)) @ unit(stored["text"]).T).argmax(axis=1)
    right = 100 * float((nearest == stored["test_y"]).mean())
    assert records["clip_zero_shot", 0].metrics["accuracy"] == pytest.approx(right)
    assert records["clip_zero_shot", 0].metrics == records["clip_zero_shot", 1].metrics
    assert records["clip_zero_shot", 0].curves == {"train/loss": []}
    assert records["ce", 0].metrics != records["ce", 1].metrics


def test_a_method_that_the_head_leaves_no_sense_is_skipped_with_the_reason(tmp_path: Path, features: Path) -> None:
    plan, _ = make_plan(
        resolve(suite_of(tmp_path, features, "methods.clip=[clip_zero_shot, tau_norm]"), REGISTRY, tmp_path)
    )
    assert [(s.label, s.reason) for s in plan.skips] == [
        ("tau_norm", "needs a linear head; this recipe has `head: text`")
    ]


def test_a_clip_method_needs_the_text_head(tmp_path: Path, features: Path) -> None:
    plan, _ = make_plan(resolve(suite_of(tmp_path, features, "recipes.clip.head=linear"), REGISTRY, tmp_path))
    assert {s.label for s in plan.skips} == {"clip_zero_shot", "tgm_clip"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("recipes.clip.augment=flip", "cannot be augmented"),
        ("recipes.clip.backbone=mlp", "backbone: identity"),
        ("datasets.0.unit_length=2", "unit_length"),
    ],
)
def test_what_does_not_fit_features_is_refused(tmp_path: Path, features: Path, change: str, says: str) -> None:
    suite = suite_of(tmp_path, features, change)
    with pytest.raises(UserError, match=says):
        make_plan(resolve(suite, REGISTRY, tmp_path))


def test_names_without_vectors_are_skips(tmp_path: Path, features: Path) -> None:
    plan, _ = make_plan(resolve(suite_of(tmp_path, features, "text={encoder: bundled}"), REGISTRY, tmp_path))
    assert len(plan.skips) == 4
    assert all("lack" in skip.reason for skip in plan.skips)


def test_the_usual_recipes_keep_their_identity() -> None:
    """The new keys are in a trial's identity only where they are used: records made before stay good."""
    suite = load_suite("cifar_lt", [])
    plan, _ = make_plan(resolve(suite, REGISTRY, Path("/nowhere")))
    assert {"head", "logit_scale", "pretraining"}.isdisjoint(plan.trials[0].recipe)


# -- the suites that come with ltbench ---------------------------------------------------------------------------------


def suite_plan(name: str) -> Plan:
    plan, _ = make_plan(resolve(load_suite(name, []), REGISTRY, Path("/nowhere")))
    return plan


@pytest.mark.parametrize(
    ("name", "epochs", "phases"),
    [("clip_lt", 60, {"tower": (50, 1e-6), "adapter": (10, 1e-2)}),
     ("clip_lt_cifar10", 20, {"tower": (10, 1e-9), "adapter": (10, 0.5)})],
)  # fmt: skip
def test_the_papers_suites_have_its_settings(name: str, epochs: int, phases: dict[str, tuple[int, float]]) -> None:
    """published/README.md, 3.4; read from the stages that would train, not from the options."""
    plan = suite_plan(name)
    spec = next(t for t in plan.trials if t.label == "tgm_clip")
    recipe = spec.recipe
    assert recipe["tower"]["architecture"] == "ViT-B-32"
    assert (recipe["epochs"], recipe["batch_size"], recipe["augment"]) == (epochs, 32, "flip")
    assert (recipe["schedule"]["name"], recipe["schedule"]["floor"]) == ("cosine", 0.001)
    tower = torch.nn.Linear(4, DIM)
    tower.dim = DIM  # type: ignore[assignment]
    method = REGISTRY.get("tgm_clip")(task(), **spec.hyperparameters)
    found = {
        stage.name: (steps, stage.optimizer.param_groups[0]["lr"])
        for stage, steps in share_out(method.stages(Classifier(tower, method.head(DIM))), epochs)
        if stage.optimizer is not None
    }
    assert found == phases
    assert (method.alpha, method.adapter_alpha, method.tau, method.beta) == (1.0, 1.0, 0.05, 0.2)
    assert (method.margin, method.temperature, method.loss_function) == (0.3, 0.01, "mms")
    assert not method.per_sample


@pytest.mark.parametrize(
    ("name", "backbone", "phases", "alphas", "tau"),
    [("clip_lt_imagenet", "clip_vit_b16", {"tower": (30, 5e-6), "adapter": (10, 1e-2)}, (1.0, 1.0), 0.05),
     ("clip_lt_places", "clip_vit_b32", {"tower": (30, 1e-7), "adapter": (10, 5e-4)}, (1.25, 1.5), 1.0)],
)  # fmt: skip
def test_the_suites_of_large_data_have_the_papers_settings(
    name: str, backbone: str, phases: dict[str, tuple[int, float]], alphas: tuple[float, float], tau: float
) -> None:
    """published/README.md, 3.4: 32 images on each of three GPUs."""
    suite = load_suite(name, [])
    recipe = suite.recipes["paper"]
    assert (recipe.backbone, recipe.epochs, recipe.batch_size) == (backbone, 40, 96)
    entry = next(entry for entry in suite.methods["paper"] if entry.label == "tgm_clip")
    method = REGISTRY.get("tgm_clip")(task(), **REGISTRY.get("tgm_clip").complete(entry.hyperparameters))
    tower = torch.nn.Linear(4, DIM)
    tower.dim = DIM  # type: ignore[assignment]
    found = {
        stage.name: (steps, stage.optimizer.param_groups[0]["lr"])
        for stage, steps in share_out(method.stages(Classifier(tower, method.head(DIM))), 40)
        if stage.optimizer is not None
    }
    assert found == phases
    assert (method.alpha, method.adapter_alpha, method.tau, method.beta) == (*alphas, tau, 0.2)


@pytest.mark.parametrize("name", ["clip_lt", "clip_lt_cifar10"])
def test_the_papers_suites_are_planned_offline_without_a_skip(name: str) -> None:
    plan = suite_plan(name)
    assert plan.skips == ()
    assert [c.imbalance for c in {t.cell.label: t.cell for t in plan.trials}.values()] == [100, 50, 10]
    assert {t.recipe["pretraining"] for t in plan.trials} == {"open_clip ViT-B-32 openai", "open_clip ViT-B-16 openai"}
    labels = {t.label for t in plan.trials}
    rivals = {"clip_zero_shot", "clip_linear_probe", "clip_full_finetune", "lp_ft", "lift", "ce", "balanced_softmax",
              "ldam_drw", "focal", "mixup", "remix", "cb_reweight", "tgm_clip", "tgm_ce", "tgm_alpha0",
              "tgm_per_sample"}  # fmt: skip
    assert rivals <= labels
    assert {t.text_origin for t in plan.trials} >= {"open_clip ViT-B-32 openai, underscores kept"}


# -- the file ----------------------------------------------------------------------------------------------------------


def test_safetensors_hold_the_same(tmp_path: Path, features: Path) -> None:
    import json

    from safetensors.numpy import save_file

    stored = np.load(features)
    other = tmp_path / "features.safetensors"
    names = json.dumps([str(n) for n in stored["class_names"]])
    save_file({k: stored[k] for k in stored.files if k != "class_names"}, other, metadata={"class_names": names})
    one, two = (Features(tmp_path, file).read() for file in (features, other))
    for a, b in zip(vars(one).values(), vars(two).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert Features(tmp_path, other).facts().class_names == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_y": None}, "lacks train_y"),
        ({"train_y": np.zeros(3, dtype=np.int64)}, "whole numbers"),
        ({"test_y": np.full(30, 3)}, "3 class names"),
        ({"train_x": np.zeros((66, 12), dtype=np.float32)}, "zero, not a number or too large"),
        ({"test_x": np.zeros((30, 5), dtype=np.float32)}, "must be numbers of shape"),
        ({"text": np.zeros((2, 12))}, "`text` has shape"),
        ({"class_names": np.array(["a", None], dtype=object)}, "cannot be read"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, features: Path, changes: dict[str, Any], says: str
) -> None:
    stored = dict(np.load(features))
    bad = tmp_path / "bad.npz"
    np.savez(bad, allow_pickle=True, **{k: v for k, v in (stored | changes).items() if v is not None})
    source = Features(tmp_path, bad)
    with pytest.raises(UserError, match=says) as refused:
        [source.read(), source.text()]
    assert str(bad) in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Features(tmp_path, tmp_path / "none.npz").facts()


# -- real CLIP vectors -------------------------------------------------------------------------------------------------


def test_zero_shot_on_real_clip_features(tmp_path: Path, shared_data: Path) -> None:
    """48 classes of Caltech-101. By the stored text vectors as they are 95.46 % (94.56 balanced); their lengths differ
    by up to 6e-4, and by cosines, as CLIP and this harness do it, two more images are right."""
    file = shared_data / "caltech_clip_vitb32_features.npz"
    stored = np.load(file)
    x, text, y = stored["test_x"].astype(np.float32), stored["text"], stored["test_y"]
    as_stored, cosines = ((x @ t.T).argmax(axis=1) == y for t in (text, unit(text)))
    balanced = [100 * np.mean([right[y == c].mean() for c in range(48)]) for right in (as_stored, cosines)]
    assert (100 * as_stored.mean(), balanced[0]) == pytest.approx((95.46, 94.56), abs=0.005)
    suite = suite_of(tmp_path, file, "methods.clip=[clip_zero_shot]", "protocol.final.seeds=[0]")
    plan, inputs = make_plan(resolve(suite, REGISTRY, tmp_path / "data"))
    site = Site(tmp_path / "data", paths=inputs.paths, texts=inputs.texts, device="cpu", threads=1)
    record = run_trial(plan.trials[0], site)
    assert record.metrics["accuracy"] == pytest.approx(100 * cosines.mean())
    assert record.metrics["balanced_accuracy"] == pytest.approx(balanced[1])
