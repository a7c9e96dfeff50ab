"""iNaturalist 2019 and 2021 by the authors' annotations: read, kept, named; and what is said without them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ltbench.data.sources.inaturalist import INaturalist2019, INaturalist2021
from ltbench.data.sources.kinds import open_source
from ltbench.data.sources.published_lists import Expected
from ltbench.errors import UserError
from tests.data.made import write_list


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three training images of two species, and an image of each to test."""
    for cls in (INaturalist2019, INaturalist2021):
        monkeypatch.setattr(cls, "num_classes", 2)
        monkeypatch.setattr(cls, "expected", {"train": Expected(3, None, None), "val": Expected(2, 1, 1)})


BIRD, PLANT = "train_val2019/Birds/0/{}.jpg", "train_val2019/Plants/1/{}.jpg"


def annotations(file: Path, images: list[tuple[str, int]]) -> None:
    """A file as the competitions': ids of images are not their places, and annotations are in another order."""
    ids = [100 + 7 * n for n in range(len(images))]
    entries = [{"id": 900 + i, "image_id": i, "category_id": label} for i, (_, label) in zip(ids, images, strict=True)]
    file.write_text(json.dumps({
        "info": {"year": 2019}, "licenses": [],
        "images": [{"id": i, "file_name": path, "width": 8} for i, (path, _) in zip(ids, images, strict=True)],
        "annotations": entries[::-1],
        "categories": [{"id": c, "name": str(c)} for c in range(2)],
    }))  # fmt: skip


@pytest.fixture
def nineteen(tmp_path: Path) -> Path:
    folder = tmp_path / "inaturalist2019"
    folder.mkdir()
    annotations(folder / "train2019.json", [(BIRD.format("a"), 0), (PLANT.format("b"), 1), (BIRD.format("c"), 0)])
    annotations(folder / "val2019.json", [(BIRD.format("d"), 0), (PLANT.format("e"), 1)])
    return folder


def test_annotations_are_read_in_the_order_of_their_images(nineteen: Path, tmp_path: Path) -> None:
    source = open_source("inaturalist2019", tmp_path)
    assert source.facts().train_counts == (2, 1)
    assert not source.facts().named, "the competition's names are numbers"
    assert isinstance(source, INaturalist2019)
    assert source.names("train") == (BIRD.format("a"), PLANT.format("b"), BIRD.format("c"))
    assert source.labels("train").tolist() == [0, 1, 0]


def test_categories_beside_them_name_the_species(nineteen: Path, tmp_path: Path) -> None:
    named = [{"id": 0, "name": "Turdus merula", "kingdom": "Animalia"}, {"id": 1, "name": "Bellis perennis"}]
    (nineteen / "categories.json").write_text(json.dumps(named))
    assert open_source("inaturalist2019", tmp_path).facts().class_names == ("Turdus merula", "Bellis perennis")


def test_large_annotations_are_parsed_once(nineteen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_source("inaturalist2019", tmp_path).facts()
    monkeypatch.setattr("ltbench.data.sources.inaturalist._annotated", None)
    assert open_source("inaturalist2019", tmp_path).facts() == first


def test_annotations_that_changed_are_read_anew(nineteen: Path, tmp_path: Path) -> None:
    before = open_source("inaturalist2019", tmp_path).facts()
    annotations(nineteen / "val2019.json", [(BIRD.format("x"), 0), (PLANT.format("e"), 1)])
    assert open_source("inaturalist2019", tmp_path).facts().fingerprint != before.fingerprint


def test_lists_come_before_annotations_and_say_the_same(nineteen: Path, tmp_path: Path) -> None:
    before = open_source("inaturalist2019", tmp_path).facts()
    paths = [BIRD.format("a"), PLANT.format("b"), BIRD.format("c")]
    write_list(nineteen / "iNaturalist19_train.txt", paths, [0, 1, 0])
    (nineteen / "train2019.json").unlink()
    assert open_source("inaturalist2019", tmp_path).facts().fingerprint == before.fingerprint


def test_2021s_species_are_named_by_their_folders(tmp_path: Path) -> None:
    worm, crane = (f"{n}_Animalia_Phylum_Class_Order_Family_{s}" for n, s in
                   (("00000", "Lumbricus_terrestris"), ("00001", "Grus_grus")))  # fmt: skip
    folder = tmp_path / "inaturalist2021"
    folder.mkdir()
    train = [(f"train/{worm}/a.jpg", 0), (f"train/{crane}/b.jpg", 1), (f"train/{worm}/c.jpg", 0)]
    annotations(folder / "train.json", train)
    annotations(folder / "val.json", [(f"val/{crane}/d.jpg", 1), (f"val/{worm}/e.jpg", 0)])
    assert open_source("inaturalist2021", tmp_path).facts().class_names == ("Lumbricus terrestris", "Grus grus")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "inaturalist2019",
            ["iNaturalist19_train.txt", "train2019.json", "c60a6e2962c9b8ccbd458d12c8582644", "/2019/"],
        ),
        ("inaturalist2021", ["iNaturalist21_train.txt", "train.json", "e0526d53c7f7b2e3167b2b43bb2690ed", "/2021/"]),
    ],
)
def test_where_nothing_is_one_message_says_what_to_get_and_where_to_put_it(
    kind: str, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        open_source(kind, tmp_path).facts()
    for word in (*words, str(tmp_path / kind), "amazonaws.com", "`path:`", "`lists:`"):
        assert word in str(caught.value)


def test_torchvisions_checksums_are_the_same() -> None:
    from torchvision.datasets.inaturalist import DATASET_MD5, DATASET_URLS

    assert DATASET_URLS["2019"].startswith(INaturalist2019.offered)
    assert DATASET_MD5["2019"] == INaturalist2019.archives["train_val2019.tar.gz"]
    assert DATASET_URLS["2021_train"].startswith(INaturalist2021.offered)
    assert DATASET_MD5["2021_train"] == INaturalist2021.archives["train.tar.gz"]
    assert DATASET_MD5["2021_valid"] == INaturalist2021.archives["val.tar.gz"]


@pytest.mark.parametrize(
    "text", ["{", '{"images": []}', '{"images": [{"id": 1, "file_name": "a"}], "annotations": []}']
)
def test_a_broken_file_of_annotations_is_named(nineteen: Path, tmp_path: Path, text: str) -> None:
    (nineteen / "train2019.json").write_text(text)
    with pytest.raises(UserError, match=r"train2019.json: is not a file of annotations"):
        open_source("inaturalist2019", tmp_path).facts()


def test_another_years_annotations_are_refused(nineteen: Path, tmp_path: Path) -> None:
    annotations(nineteen / "train2019.json", [(BIRD.format("a"), 0), (PLANT.format("b"), 1)])
    with pytest.raises(UserError, match="this is not the list of inaturalist2019: it has 2 images"):
        open_source("inaturalist2019", tmp_path).facts()
