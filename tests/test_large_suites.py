"""The suites of large images: planned on lists that count right, without an image; run in small in the real layout."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltbench import cli
from ltbench.cli.text.plan import plan_text
from ltbench.data.sources.inaturalist import INaturalist2018
from ltbench.data.sources.kinds import source_of
from ltbench.data.sources.published_lists import Expected, FieldLists, ImageNetLT, PlacesLT
from ltbench.data.sources.source import Source
from ltbench.errors import UserError
from ltbench.execution import nodes
from ltbench.execution.measure import measure_steps
from ltbench.models import clip
from ltbench.models.torchvision import build
from ltbench.planning.bundle import export, read_bundle
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import Inputs, resolve
from ltbench.registry import Registry
from ltbench.results.journal import Journal
from ltbench.spec import Plan, Selection
from ltbench.suite.load import load_suite
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from ltbench.workflow.plan_suite import plan_suite
from ltbench.workflow.prepare import Request
from tests.data.made import small_lists, tail, write_images, write_list
from tests.models.test_text import TINY, add_model

Run = Callable[..., tuple[int, str, str]]
RESNET152 = {"architecture": "resnet152", "pretrained": "IMAGENET1K_V1", "file": "resnet152-394f9c45.pth",
             "trainable": "last_block"}  # fmt: skip


@pytest.fixture
def ltbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        where = ["--data", str(tmp_path / "data")]
        monkeypatch.setattr(sys, "argv", ["ltbench", *arguments, *where])
        try:
            code = cli.main() or 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def layout(cls: type[FieldLists], label: int, part: str, i: int) -> str:
    """A file's name as the real lists have it; val images are of the training images."""
    if cls is ImageNetLT:
        return f"{'val' if part == 'test' else 'train'}/n{label:08d}/{part}_{i}.JPEG"
    if cls is PlacesLT:
        return f"val_256/Places365_val_{i:08d}.jpg" if part == "test" else f"data_256/a/scene_{label:03d}/{part}{i}.jpg"
    return f"train_val2018/Aves/{label}/{part}{i}.jpg"


def field_lists(cls: type[FieldLists], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists with the counts of the real ones; what they say is not what the pinned digests are of."""
    for part, expected in cls.expected.items():
        counts = tail(expected.images, cls.num_classes, expected.largest, expected.smallest)
        labels = [c for c, n in enumerate(counts) for _ in range(n)]
        write_list(folder / f"{cls.file_prefix}_{part}.txt",
                   [layout(cls, c, part, i) for i, c in enumerate(labels)], labels)  # fmt: skip
    loose = {part: expected._replace(ids=()) for part, expected in cls.expected.items()}
    monkeypatch.setattr(cls, "expected", loose)


def planned(name: str, data: Path, *overrides: str) -> Plan:
    return make_plan(resolve(load_suite(name, overrides), Registry(), data))[0]


@pytest.mark.parametrize(
    ("cls", "backbones"),
    [
        (ImageNetLT, {"resnext50_32x4d": 27, "resnet50": 27, "resnet10": 15}),
        (PlacesLT, {"resnet152": 30}),
        (INaturalist2018, {"resnet50": 48}),
    ],
)
def test_the_suites_are_planned_without_an_image(
    cls: type[FieldLists], backbones: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field_lists(cls, tmp_path / cls.kind, monkeypatch)
    plan = planned(cls.kind, tmp_path)
    assert Counter(t.recipe["backbone"] for t in plan.trials) == backbones
    assert len({t.key for t in plan.trials}) == len(plan.trials)
    cell = plan.trials[0].cell
    assert (cell.profile, cell.imbalance, dict(cell.options)) == ("native", None, {"size": 224, "resize": 256})
    assert not plan.skips
    for spec in plan.trials:
        assert str(tmp_path) not in str(spec.to_json()), "where files lie is no part of a trial"
        assert spec.recipe["augment"].startswith("resized_crop_flip")
        assert spec.recipe.get("pretraining") == ("ImageNet-1k" if cls is PlacesLT else None)
        assert spec.recipe.get("weights") == (RESNET152 if cls is PlacesLT else None)


def test_a_plan_on_the_val_list_says_so_and_has_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    field_lists(ImageNetLT, tmp_path / "imagenet_lt", monkeypatch)
    on_test, on_val = (planned("imagenet_lt", tmp_path, f"datasets.0.tested_on={what}") for what in ("test", "val"))
    assert [t.key for t in on_test.trials] == [t.key for t in planned("imagenet_lt", tmp_path).trials]
    assert not {t.key for t in on_test.trials} & {t.key for t in on_val.trials}
    assert {t.cell.label for t in on_test.trials} == {"imagenet_lt native"}
    assert {t.cell.label for t in on_val.trials} == {"imagenet_lt native, tested on val"}
    val = ["datasets.0.tested_on=val"]
    request = Request(suite="imagenet_lt", overrides=val, results=tmp_path / "results", data=tmp_path)
    assert "imagenet_lt native, tested on val" in plan_text(plan_suite(request))
    assert on_test.expectation().as_published == (("imagenet_lt", "native"),)
    assert on_val.expectation().as_published == ()


def test_a_suite_is_tested_on_val_lists_or_on_test_sets(tmp_path: Path) -> None:
    text = """
        suite: both
        question: Which?
        datasets: [{name: imagenet_lt}, {name: places_lt, tested_on: val}, {name: inaturalist2018}]
        recipes: {r: {backbone: resnet50, epochs: 1, batch_size: 8, optimizer: {name: sgd, lr: 0.1},
                      schedule: {name: cosine}, augment: resized_crop_flip}}
        methods: {r: [ce]}
        protocol: {final: {seeds: [0]}}
        """
    (tmp_path / "both.yaml").write_text(text)
    with pytest.raises(UserError, match=r"both.yaml, line 4: datasets.1.tested_on.*another data set of this suite"):
        load_suite(str(tmp_path / "both.yaml"))
    (tmp_path / "both.yaml").write_text(text.replace("imagenet_lt}", "imagenet_lt, tested_on: val}"))
    assert len(load_suite(str(tmp_path / "both.yaml")).datasets) == 3


# -- run in small -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_lists(tmp_path_factory.mktemp("images"), train=(8, 4, 2))


def small(images: Path, recipe: str, **changes: Any) -> list[str]:
    """Overrides that make a suite of large images one of few and small ones."""
    values = {"datasets.0.kind": "lists", "datasets.0.path": images, "datasets.0.size": 40, "datasets.0.stream": "true",
              f"recipes.{recipe}.epochs": 1, f"recipes.{recipe}.batch_size": 4, **changes}  # fmt: skip
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@pytest.mark.slow
def test_imagenet_lt_runs_in_small(ltbench: Run, images: Path, tmp_path: Path) -> None:
    chosen = ("--only", "ce_r10,tau_norm_r10", "--seeds", "0", "--results", str(tmp_path / "results"))
    code, _, err = ltbench("run", "imagenet_lt", *chosen, "--inline", *small(images, "resnet10"))
    assert code == 0, err
    records = Journal(tmp_path / "results" / "imagenet_lt" / "records").records().values()
    assert {r.spec.label: r.status for r in records} == {"ce_r10": "ok", "tau_norm_r10": "ok"}
    assert all(r.environment["data_cached"] for r in records)
    code, out, _ = ltbench("plan", "imagenet_lt", *chosen, *small(images, "resnet10"))
    assert code == 0
    assert "0 to run, 2 finished" in out


@pytest.mark.nightly
@pytest.mark.slow
def test_places_lt_runs_in_small_from_a_checkpoint(ltbench: Run, images: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.save({"state_dict": build("resnet10", (40, 40, 3)).network.state_dict()}, tmp_path / "mine.pth")
    chosen = ("--only", "ce,crt", "--seeds", "0", "--results", str(tmp_path / "results"), "--inline")
    changes = {"recipes.resnet152.backbone": "resnet10", "recipes.resnet152.pretrained": tmp_path / "mine.pth"}
    code, out, _ = ltbench("plan", "places_lt", *small(images, "resnet152", **changes))
    assert "resized_crop_flip_jitter, fp32, pre-trained: ImageNet-1k, only its last block trains" in out
    code, _, err = ltbench("run", "places_lt", *chosen, *small(images, "resnet152", **changes))
    assert code == 0, err
    records = Journal(tmp_path / "results" / "places_lt" / "records").records().values()
    assert {r.spec.label: (r.status, r.error) for r in records} == {"ce": ("ok", None), "crt": ("ok", None)}
    for record in records:
        weights = record.spec.recipe["weights"]
        assert weights["pretrained"].startswith("sha256:")
        assert str(tmp_path) not in str(record.spec.to_json())
    (tmp_path / "mine.pth").unlink()
    code, _, err = ltbench("run", "places_lt", *chosen, *small(images, "resnet152", **changes))
    assert code == 2
    assert "'" + str(tmp_path / "mine.pth") + "' is neither a file nor there are no tags of it" in err


SPECIES = ("Buteo regalis", "Quercus alba", "Danaus plexippus", "Rana temporaria")
ABOVE = ("Aves", "Plantae", "Insecta", "Amphibia")


@pytest.fixture
def species(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """iNaturalist 2018 in small, as it lies on a disk: images in SUPERCATEGORY/ID, lists apart, names beside them. What
    is set for its suite: where it is, a small network, and a text tower of the smallest size."""
    import open_clip

    monkeypatch.setattr(INaturalist2018, "num_classes", 4)
    monkeypatch.setattr(INaturalist2018, "expected", {"train": Expected(20, 9, 2), "val": Expected(12, 3, 3)})
    for part, counts in (("train", (9, 6, 3, 2)), ("val", (3, 3, 3, 3))):
        labels = [c for c, n in enumerate(counts) for _ in range(n)]
        names = [f"train_val2018/{ABOVE[c]}/{c}/{part}{i}.jpg" for i, c in enumerate(labels)]
        write_list(tmp_path / "lists" / f"iNaturalist18_{part}.txt", names, labels)
        write_images(tmp_path / "images", names, labels, seed=len(part))
    entries = [{"id": c, "name": SPECIES[c], "supercategory": ABOVE[c]} for c in (2, 0, 3, 1)]
    (tmp_path / "lists" / "categories.json").write_text(json.dumps(entries))
    add_model(tmp_path, "tiny-species-clip", TINY)
    with torch.random.fork_rng():
        torch.save(open_clip.create_model("tiny-species-clip").state_dict(), tmp_path / "text.pth")
    values = {
        **{f"datasets.0.{key}": value for key, value in
           {"path": tmp_path / "images", "lists": tmp_path / "lists", "size": 40, "stream": "true"}.items()},
        "text.model": "tiny-species-clip", "text.pretrained": tmp_path / "text.pth",
        **{f"recipes.{name}.{key}": value for name, epochs in (("epochs90", 1), ("epochs200", 2)) for key, value in
           {"backbone": "resnet10", "epochs": epochs, "batch_size": 4}.items()},
    }  # fmt: skip
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def test_inaturalist_plans_text_guided_rows_with_its_names(
    species: list[str], ltbench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = ltbench("plan", "inaturalist2018", *species)
    assert code == 0, err
    assert "skipped" not in out
    assert "48 to run" in out
    asked = list[str]()
    monkeypatch.setattr(clip, "encode_text", lambda m, p, prompts, **_: asked.extend(prompts) or np.eye(4, 16))
    plan, inputs = make_plan(
        resolve(load_suite("inaturalist2018", [x for x in species if x != "--set"]), Registry(), tmp_path)
    )
    guided = {t.text for t in plan.trials if t.method == "text_guided_mixup"}
    assert len(guided) == 1
    assert not asked, "a plan runs no encoder"
    assert inputs.texts[str(guided.pop())].shape == (4, 16)
    assert asked == [f"a photo of a {name}" for name in SPECIES]


@pytest.mark.slow
@pytest.mark.nightly
def test_inaturalist_runs_in_small_with_its_names(species: list[str], ltbench: Run, tmp_path: Path) -> None:
    results = ("--results", str(tmp_path / "results"))
    chosen = ("--only", "ce,text_guided_mixup,crt_200", "--seeds", "0", *results)
    code, _, err = ltbench("run", "inaturalist2018", *chosen, "--inline", *species)
    assert code == 0, err
    records = Journal(tmp_path / "results" / "inaturalist2018" / "records").records().values()
    done = {"ce": ("ok", None), "text_guided_mixup": ("ok", None), "crt_200": ("ok", None)}
    assert {r.spec.label: (r.status, r.error) for r in records} == done
    for record in records:
        assert record.environment["class_names"] == list(SPECIES)
        assert str(tmp_path) not in str(record.spec.to_json())
        assert (record.spec.text is not None) == (record.spec.label == "text_guided_mixup")
    code, out, _ = ltbench("plan", "inaturalist2018", *chosen, *species)
    assert code == 0
    assert "0 to run, 3 finished" in out


def test_weights_that_cannot_be_had_are_refused_before_anything_runs(
    ltbench: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltbench.models import weights

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(weights.socket, "create_connection", refuse)
    chosen = ("--only", "ce", "--seeds", "0", "--results", str(tmp_path / "results"), "--inline")
    code, _, err = ltbench("run", "places_lt", *chosen, *small(images, "resnet152"))
    assert code == 2
    assert "resnet152-394f9c45.pth elsewhere and put it into" in err
    assert not Journal(tmp_path / "results" / "places_lt" / "records").records()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipes.resnet10.augment=crop_flip", "'crop_flip' pads small images; images of 40 pixels are streamed"),
        ("recipes.resnet10.trainable=last_block", "is for networks of torchvision with `pretrained:` weights"),
        ("datasets.0.imbalance=10", "lists is long-tailed and taken as it is; say `profile: exp`"),
        ("datasets.0.resize=30", "`resize` must be a whole number of pixels between `size` (40) and 2048"),
        ("datasets.0.stream=never", "`stream` must be true, false or auto"),
        ("datasets.0.lists=7", "must be the folder with the list files"),
        ("datasets.0.trian=a.txt", "Did you mean 'train'?"),
        ("datasets.0.train=nothing.txt", "there is no nothing.txt or nothing.txt.gz in"),
        ("resources.data_workers=99", "resources.data_workers"),
    ],
)
def test_what_cannot_be_is_refused_with_the_cure(
    override: str, message: str, ltbench: Run, images: Path, tmp_path: Path
) -> None:
    code, _, err = ltbench("plan", "imagenet_lt", "--only", "ce_r10", *small(images, "resnet10"), "--set", override)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_small_images_take_no_random_resized_crops(ltbench: Run, images: Path) -> None:
    code, _, err = ltbench("plan", "imagenet_lt", "--only", "ce_r10", *small(images, "resnet10", **{
        "datasets.0.stream": "false"}))  # fmt: skip
    assert code == 2
    assert "'resized_crop_flip_jitter' is for images that are streamed; these are packed at 40 pixels" in err


def test_lists_made_long_tailed_once_more(images: Path, tmp_path: Path) -> None:
    overrides = [part for part in small(images, "resnet10") if part != "--set"]
    overrides += ["datasets.0.profile=exp", "datasets.0.imbalance=2"]
    plan = planned("imagenet_lt", tmp_path, *overrides)
    assert plan.trials[0].cell.imbalance_label == "IF2"


# -- on other machines ------------------------------------------------------------------------------------------------


@pytest.fixture
def apart(images: Path, tmp_path: Path) -> tuple[Plan, Site]:
    """A plan whose lists and names lie apart from the images, and the site its trials get."""
    lists = tmp_path / "lists"
    lists.mkdir()
    for part in ("train", "test"):
        (lists / f"{part}.txt").write_text((images / f"{part}.txt").read_text())
    (tmp_path / "names.txt").write_text("oak\nelm\nash\n")
    where = [f"datasets.0.lists={lists}", f"datasets.0.class_names={tmp_path / 'names.txt'}"]
    tiny = small(images, "resnet10", **{"recipes.resnet10.backbone": "cnn_small"})
    overrides = [part for part in tiny if part != "--set"]
    chosen = Selection(methods=["ce_r10"], seeds=[0])
    plan, inputs = make_plan(
        resolve(load_suite("imagenet_lt", [*overrides, *where]), Registry(), tmp_path / "data", chosen)
    )
    return plan, Site(tmp_path / "data", paths=inputs.paths, device="cpu", threads=1)


def test_a_machine_is_asked_for_lists_and_images(apart: tuple[Plan, Site], tmp_path: Path) -> None:
    plan, site = apart
    cells = nodes.cells_of(plan.trials)
    assert nodes.check_data(cells, site) is None
    moved = {**site.paths, "imagenet_lt": str(tmp_path / "nowhere")}
    assert "there is no such folder of images" in str(nodes.check_data(cells, replace(site, paths=moved)))
    (tmp_path / "lists" / "train.txt").unlink()
    assert "there is no train.txt or train.txt.gz" in str(nodes.check_data(cells, site))


def test_other_lists_are_other_images(apart: tuple[Plan, Site], tmp_path: Path) -> None:
    plan, site = apart
    lines = (tmp_path / "lists" / "train.txt").read_text().splitlines()
    (tmp_path / "lists" / "train.txt").write_text("\n".join([lines[1], lines[0], *lines[2:]]))
    assert "has other images there" in str(nodes.check_data(nodes.cells_of(plan.trials), site))


def test_an_exported_trial_knows_where_lists_and_images_are(apart: tuple[Plan, Site], tmp_path: Path) -> None:
    plan, site = apart
    (file,) = export(plan, Inputs(sources_of(plan, site), {}), tmp_path / "exported")
    spec, paths, _ = read_bundle(file)
    assert paths == site.paths
    record = run_trial(spec, replace(site, paths=paths))
    assert record.error is None
    assert record.environment["class_names"] == ["oak", "elm", "ash"]


def sources_of(plan: Plan, site: Site) -> dict[str, Source]:
    return {spec.cell.dataset: source_of(spec.cell, site.data, site.paths) for spec in plan.trials}


def test_measuring_a_few_steps_decodes_no_more_than_they_need(apart: tuple[Plan, Site]) -> None:
    plan, site = apart
    spec = replace(plan.trials[0], recipe={**plan.trials[0].recipe, "epochs": 60.0})
    times, _ = measure_steps(spec, site)
    assert len(times) >= 10
    assert not list((site.data / "packed").glob("decoded-*"))
