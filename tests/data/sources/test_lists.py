"""Data sets by list files: reading them, checking them, the names of their classes, what is missing."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ltbench.data.sources import inaturalist
from ltbench.data.sources.inaturalist import INaturalist2018, species_names
from ltbench.data.sources.kinds import open_source
from ltbench.data.sources.lists import Listed, git_id, read_list
from ltbench.data.sources.published_lists import Expected, FieldLists, ImageNetLT, PlacesLT
from ltbench.errors import UserError
from tests.data.made import small_lists, tail, write_images, write_list

# -- the files --------------------------------------------------------------------------------------------------------


def test_a_list_is_read_plain_or_gzipped_to_the_same(tmp_path: Path) -> None:
    text = "a/b c.jpg 0\nd.jpg 12\r\n\n e/f.png\t3\n"
    (tmp_path / "l.txt").write_text(text)
    (tmp_path / "l.txt.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("l.txt", "l.txt.gz"):
        found = read_list(tmp_path / name)
        assert found.paths == ("a/b c.jpg", "d.jpg", "e/f.png")
        assert found.labels.tolist() == [0, 12, 3]
        assert found.digest == hashlib.sha256(b"a/b c.jpg\x000\nd.jpg\x0012\ne/f.png\x003\n").hexdigest()
        # `git hash-object` of the rows as `path label` lines, and of the text above
        assert found.ids == {"5f3f5a876dd818ec87887599c0fb85662c13c1ab", "75a02b5ca4ea6823075362cdb99bac62b82948fb"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg\n", "line 1: expected `relative/path label`"),
        ("a.jpg 0\nb.jpg x\n", "line 2: expected"),
        ("a.jpg -1\n", "line 1: expected"),
        ("a.jpg 1.0\n", "line 1: expected"),
        ("/etc/a.jpg 0\n", "leads out of the folder"),
        ("a/../../b.jpg 0\n", "leads out of the folder"),
        ("\n", "lists no images"),
    ],
)
def test_a_line_that_is_none_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        read_list(tmp_path / "l.txt")


def test_only_ends_of_lines_end_a_line(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes("a\u2028b.jpg 0\r\nc\x85d.jpg 1\re.jpg 2".encode())
    assert read_list(tmp_path / "l.txt").paths == ("a\u2028b.jpg", "c\x85d.jpg", "e.jpg")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"not gzip"])
def test_a_file_that_is_no_list_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "l.txt.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"not a list file|cannot be read"):
        read_list(tmp_path / "l.txt.gz")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("a.jpg 0\nb.jpg 2\n", "c.jpg 0\n", r"of which [1] have none"),
        ("a.jpg 0\nb.jpg 0\n", "c.jpg 0\n", "at least 2"),
        ("a.jpg 0\nb.jpg 1\n", "c.jpg 5\n", "has labels up to 5"),
        ("a.jpg 0\nb.jpg 1\n", "c.jpg 0\nb.jpg 1\n", "1 of its images are in"),
        ("a.jpg 0\nb.jpg 1\na.jpg 0\n", "c.jpg 0\n", "lists a.jpg twice"),
    ],
)
def test_lists_that_do_not_fit_are_refused(train: str, test: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(train)
    (tmp_path / "test.txt").write_text(test)
    with pytest.raises(UserError, match=re.escape(message)):
        open_source("lists", tmp_path, str(tmp_path)).facts()


def test_more_classes_than_records_can_keep_are_refused(tmp_path: Path) -> None:
    write_list(tmp_path / "train.txt", [f"{c}.jpg" for c in range(65_537)], range(65_537))
    write_list(tmp_path / "test.txt", ["x.jpg"], [0])
    with pytest.raises(UserError, match="65,537 classes; at most 65,536"):
        open_source("lists", tmp_path, str(tmp_path)).facts()


def test_facts_need_the_lists_and_no_image(tmp_path: Path) -> None:
    small_lists(tmp_path / "root", images=False)
    facts = open_source("lists", tmp_path, str(tmp_path / "root")).facts()
    assert facts.class_names == ("classa", "classb", "classc")
    assert (facts.train_counts, facts.test_counts) == ((12, 6, 4), (3, 3, 3))
    assert facts.shape == (224, 224, 3)
    assert facts.streams
    assert facts.named


def test_lists_may_lie_apart_and_have_names_of_their_own(tmp_path: Path) -> None:
    small_lists(tmp_path / "root", images=False)
    (tmp_path / "mine").mkdir()
    shutil.move(tmp_path / "root" / "train.txt", tmp_path / "mine" / "fold1.txt")
    shutil.move(tmp_path / "root" / "test.txt", tmp_path / "mine" / "test.txt")
    where = {"lists": str(tmp_path / "mine"), "train": "fold1.txt"}
    source = open_source("lists", tmp_path, str(tmp_path / "root"), where)
    assert source.facts().train_counts == (12, 6, 4)
    assert source.chosen == {"size": 224, "resize": 256}, "where the lists lie is no part of an identity"
    with pytest.raises(UserError, match=r"there is no train.txt or train.txt.gz in .*mine"):
        open_source("lists", tmp_path, str(tmp_path / "root"), {"lists": where["lists"]}).facts()


def test_the_fingerprint_follows_what_the_lists_say(tmp_path: Path) -> None:
    small_lists(tmp_path / "a", images=False)
    small_lists(tmp_path / "b", images=False)
    small_lists(tmp_path / "c", test=4, images=False)
    a, b, c = (open_source("lists", tmp_path, str(tmp_path / n)).facts().fingerprint for n in "abc")
    assert a == b != c


def test_class_names_may_come_from_a_file(tmp_path: Path) -> None:
    root = small_lists(tmp_path / "root", images=False)
    (tmp_path / "names.txt").write_text("oak\nelm\nash\n")
    source = open_source("lists", tmp_path, str(root), {"class_names": str(tmp_path / "names.txt")})
    assert source.facts().class_names == ("oak", "elm", "ash")
    (tmp_path / "names.txt").write_text("oak\nelm\n")
    with pytest.raises(UserError, match="has 2 names"):
        open_source("lists", tmp_path, str(root), {"class_names": str(tmp_path / "names.txt")}).facts()


def test_classes_without_names_are_numbered_and_said_to_be(tmp_path: Path) -> None:
    write_list(tmp_path / "train.txt", ["all/1.jpg", "all/2.jpg"], [0, 1])
    write_list(tmp_path / "test.txt", ["all/3.jpg"], [0])
    facts = open_source("lists", tmp_path, str(tmp_path)).facts()
    assert facts.class_names == ("class_0", "class_1")
    assert not facts.named


# -- the images -------------------------------------------------------------------------------------------------------


def test_missing_images_are_named_and_counted_before_anything_is_decoded(tmp_path: Path) -> None:
    root = small_lists(tmp_path / "root", train=(30, 6, 4))
    for i in range(24):
        (root / "train" / "classa" / f"{i}.jpg").unlink()
    (root / "test" / "classc" / "0.jpg").unlink()
    with pytest.raises(UserError) as caught:
        open_source("lists", tmp_path, str(root)).prepare()
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"25 of 49 images are not under {root}")
    assert lines[1].strip() == "train/classa/0.jpg"
    assert len(lines) == 23, "twenty of them, how many more, and what to do"
    assert lines[-2].strip() == "... and 5 more"
    assert not list((tmp_path / "packed").glob("decoded-*/*")) if (tmp_path / "packed").exists() else True


def test_a_missing_folder_of_images_is_said_so(tmp_path: Path) -> None:
    root = small_lists(tmp_path / "root", images=False)
    source = open_source("lists", tmp_path, str(tmp_path / "nowhere"), {"lists": str(root)})
    with pytest.raises(UserError, match="nowhere: there is no such folder of images"):
        source.prepare()


def test_what_was_found_is_remembered_until_a_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltbench.data.sources import files

    root, looked = small_lists(tmp_path / "root"), list[Path]()
    real = files._sizes
    monkeypatch.setattr(files, "_sizes", lambda folder, wanted: looked.append(folder) or real(folder, wanted))

    def content() -> str:
        looked.clear()
        return open_source("lists", tmp_path, str(root)).content()  # type: ignore[attr-defined, no-any-return]

    first = content()
    assert len(looked) == 6
    assert content() == first
    assert looked == []
    (root / "train" / "classa" / "0.jpg").unlink()
    write_images(root, ["train/classa/0.jpg"], [1], seed=99)
    assert content() != first, "another image under the same name is another content"


def test_small_images_are_packed_as_those_of_a_folder(tmp_path: Path) -> None:
    root = small_lists(tmp_path / "root")
    packed = open_source("lists", tmp_path, str(root), {"size": 16}).arrays()
    folder = open_source("folder", tmp_path, str(root), {"size": 16}).arrays()
    for part in ("train", "test"):
        names = [line.split()[0] for line in (root / f"{part}.txt").read_text().splitlines()]
        in_folder = [f"{part}/class{'abc'[c]}/{f.name}" for c in range(3)
                     for f in sorted((root / part / f"class{'abc'[c]}").iterdir())]  # fmt: skip
        rows = [in_folder.index(name) for name in names]
        np.testing.assert_array_equal(getattr(packed, f"{part}_x"), getattr(folder, f"{part}_x")[rows])
        np.testing.assert_array_equal(getattr(packed, f"{part}_y"), getattr(folder, f"{part}_y")[rows])


# -- the field's ------------------------------------------------------------------------------------------------------


def unpinned(cls: type[FieldLists], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists that count right will do; those that were made here are not those whose ids are known."""
    monkeypatch.setattr(cls, "expected", {part: e._replace(ids=()) for part, e in cls.expected.items()})


def imagenet_train(file: Path, ids: list[str]) -> None:
    labels = [c for c, n in enumerate(tail(115_846, 1000, 1280, 5)) for _ in range(n)]
    write_list(file, [f"train/{ids[c]}/{ids[c]}_{i}.JPEG" for i, c in enumerate(labels)], labels)


@pytest.fixture
def places(tmp_path: Path, shared_data: Path) -> Path:
    for name in ("Places_LT_train.txt.gz", "Places_LT_test.txt.gz"):
        shutil.copy(shared_data / "splits" / name, tmp_path)
    return tmp_path


def test_places_lt_from_its_own_lists(places: Path) -> None:
    facts = open_source("places_lt", places / "data", str(places)).facts()
    assert (sum(facts.train_counts), max(facts.train_counts), min(facts.train_counts)) == (62_500, 4980, 5)
    assert facts.test_counts == (100,) * 365
    assert facts.class_names[:2] + facts.class_names[15:17] + facts.class_names[-1:] == (
        *("airfield", "airplane_cabin"), *("arena hockey", "arena performance"), "zen_garden")  # fmt: skip
    assert len(set(facts.class_names)) == 365


def test_a_list_with_two_images_exchanged_is_not_the_fields(places: Path) -> None:
    lines = gzip.decompress((places / "Places_LT_train.txt.gz").read_bytes()).decode().splitlines()
    lines[0], lines[1] = lines[1], lines[0]
    (places / "Places_LT_train.txt").write_text("\n".join(lines))
    with pytest.raises(UserError, match="not the list of places_lt: it has as many images, but other ones"):
        open_source("places_lt", places / "data", str(places)).facts()


def test_imagenet_lt_takes_torchvisions_names_in_the_order_of_the_wordnet_ids(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpinned(ImageNetLT, monkeypatch)
    listed = read_list(shared_data / "splits" / "ImageNet_LT_test.txt.gz")
    ids = sorted({path.split("/")[1] for path in listed.paths})
    shutil.copy(listed.file, tmp_path)
    imagenet_train(tmp_path / "ImageNet_LT_train.txt", ids)
    facts = open_source("imagenet_lt", tmp_path, str(tmp_path)).facts()
    assert (sum(facts.train_counts), max(facts.train_counts), min(facts.train_counts)) == (115_846, 1280, 5)
    assert facts.test_counts == (50,) * 1000
    known = {"n01440764": "tench", "n02099601": "golden retriever", "n15075141": "toilet tissue"}
    assert {wnid: facts.class_names[ids.index(wnid)] for wnid in known} == known
    imagenet_train(tmp_path / "ImageNet_LT_train.txt", [*ids[1:], ids[0]])
    with pytest.raises(UserError, match="not the 1,000 WordNet ids in label order"):
        open_source("imagenet_lt", tmp_path, str(tmp_path)).facts()


@pytest.fixture
def species(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    unpinned(INaturalist2018, monkeypatch)
    shutil.copy(shared_data / "splits" / "iNaturalist18_val.txt.gz", tmp_path)
    labels = [c for c, n in enumerate(tail(437_513, 8142, 1000, 2)) for _ in range(n)]
    write_list(tmp_path / "iNaturalist18_train.txt", [f"train_val2018/Aves/{c}/{i}.jpg" for i, c in enumerate(labels)],
               labels)  # fmt: skip
    return tmp_path


def categories(folder: Path) -> None:
    """A file as the data set's own: each category in the supercategory whose folder has its images."""
    listed = read_list(folder / "iNaturalist18_val.txt.gz")
    above = {label: path.split("/")[1] for path, label in zip(listed.paths, listed.labels.tolist(), strict=True)}
    entries = [{"id": c, "name": f"Genus species{c}", "supercategory": above[c]} for c in range(8142)]
    (folder / "categories.json").write_text(json.dumps(entries))


def test_inaturalist_has_the_names_of_its_species(species: Path) -> None:
    facts = open_source("inaturalist2018", species, str(species)).facts()
    assert sum(facts.train_counts) == 437_513
    assert facts.test_counts == (3,) * 8142
    assert facts.named
    assert facts.class_names == tuple(species_names())
    (species / "categories.json").write_text(json.dumps([{"id": c, "name": str(c)} for c in range(8142)]))
    facts = open_source("inaturalist2018", species, str(species)).facts()
    assert facts.class_names == tuple(species_names()), "the competition's file has numbers only"
    categories(species)
    facts = open_source("inaturalist2018", species, str(species)).facts()
    assert facts.class_names[7291] == "Genus species7291", "the user's own file comes first"
    (species / "mine.txt").write_text("\n".join(f"my {c}" for c in range(8142)))
    facts = open_source("inaturalist2018", species, str(species), {"class_names": str(species / "mine.txt")}).facts()
    assert facts.class_names[7291] == "my 7291", "what the suite names wins"


def test_the_bundled_names_stand_in_the_order_of_the_labels(shared_data: Path) -> None:
    """What is known of some: birds' labels are in folders of birds. A list that is shifted by one fails."""
    listed = read_list(shared_data / "splits" / "iNaturalist18_val.txt.gz")
    above = {label: path.split("/")[1] for path, label in zip(listed.paths, listed.labels.tolist(), strict=True)}
    names = species_names()
    known = {"Turdus migratorius": "Aves", "Apis mellifera": "Insecta", "Bufo bufo": "Amphibia",
             "Lynx rufus": "Mammalia", "Iris oratoria": "Insecta", "Iris germanica": "Plantae",
             "Alligator mississippiensis": "Reptilia", "Amanita muscaria": "Fungi", "Danaus plexippus": "Insecta",
             "Taraxacum officinale": "Plantae", "Latrodectus mactans": "Arachnida"}  # fmt: skip
    assert {name: above[names.index(name)] for name in known} == known
    # A name in a strange folder would tear its genus apart. These are torn by nature: plants and animals are named by
    # two codes, so a genus of each may have one name (Iris are flowers and a mantis, Oenanthe a herb and wheatears).
    homonyms = {
        "Dysphania",
        "Iris",
        "Amorpha",
        "Oenanthe",
        "Scoparia",
        "Linaria",
        "Chloris",
        "Arenaria",
        "Prunella",
        "Anticlea",
    }
    homes: dict[str, set[str]] = {}
    for c, name in enumerate(names):
        homes.setdefault(name.split()[0], set()).add(above[c])
    assert {genus for genus, folders in homes.items() if len(folders) > 1} == homonyms


def test_names_of_species_are_names() -> None:
    names = species_names()
    assert len(names) == len(set(names)) == 8142
    assert all(name == name.strip() and len(name.split()) >= 2 for name in names if name.isascii())


def test_categories_of_another_data_set_are_refused(species: Path) -> None:
    categories(species)
    right = json.loads((species / "categories.json").read_text())
    names = [entry["name"] for entry in right]

    def refused(entries: list[dict[str, object]], message: str) -> None:
        (species / "categories.json").write_text(json.dumps(entries))
        with pytest.raises(UserError, match=message):
            open_source("inaturalist2018", species, str(species)).facts()

    elsewhere = r"has category \d+ \(Genus species\d+\) among \w+, .*_val.txt.gz has its images in \w+"
    refused([{**right[c], "id": 8141 - c} for c in range(8142)], elsewhere)
    refused([*right, {"id": 8142, "name": "One of 2021"}], "has 8,143 categories, with 8,142 different names")
    refused([{**e, "name": names[0]} if e["id"] == 1 else e for e in right], "with 8,141 different names")


def test_the_lists_in_the_shared_folder_are_the_pinned_ones(shared_data: Path) -> None:
    for cls, part in ((ImageNetLT, "test"), (PlacesLT, "train"), (PlacesLT, "test"), (INaturalist2018, "val")):
        listed = read_list(shared_data / "splits" / f"{cls.file_prefix}_{part}.txt.gz")
        assert listed.ids == {cls.expected[part].ids[0]}, "the file is plain `path label` lines already"
        assert cls.expected[part].identity in (None, listed.digest)


def test_a_train_list_that_was_never_at_hand_is_checked_by_its_id(tmp_path: Path, shared_data: Path) -> None:
    listed = read_list(shared_data / "splits" / "ImageNet_LT_test.txt.gz")
    shutil.copy(listed.file, tmp_path)
    imagenet_train(tmp_path / "ImageNet_LT_train.txt", sorted({path.split("/")[1] for path in listed.paths}))
    with pytest.raises(UserError, match=r"ImageNet_LT_train.txt: this is not the list of imagenet_lt: it has as many"):
        open_source("imagenet_lt", tmp_path, str(tmp_path)).facts()


OLTR_FORM = "lists-859c43ba4b9a118bc67e17fe7c369225"
"""Its fingerprint before there was another form: keys of trials follow from it."""


def other_form(places: Path, part: str) -> str:
    """The list of a part as classifier-balancing has it, made of the one of OLTR by the rule that the one form follows
    from the other. Its id proves the rule: it is that of the real file."""
    folders = {row.rpartition(" ")[2]: "-".join(row.split("/")[2:-1]) for row in rows_of(places, "train")}
    top = "train" if part == "train" else "val"
    rows = [(folders[row.rpartition(" ")[2]], row.rpartition("/")[2]) for row in rows_of(places, part)]
    text = "".join(f"{top}/{folder}/{name_and_label}\n" for folder, name_and_label in rows)
    assert git_id(text.encode()) == PlacesLT.expected[part].ids[1]
    return text


def rows_of(places: Path, part: str) -> list[str]:
    return gzip.decompress((places / f"Places_LT_{part}.txt.gz").read_bytes()).decode().splitlines()


@pytest.mark.parametrize("replaced", [("train", "test"), ("train",), ("test",)])
def test_places_lt_is_the_same_data_set_in_either_form(replaced: tuple[str, ...], places: Path) -> None:
    before = open_source("places_lt", places / "data", str(places)).facts()
    assert before.fingerprint == OLTR_FORM
    texts = {part: other_form(places, part) for part in replaced}
    for part, text in texts.items():
        (places / f"Places_LT_{part}.txt.gz").unlink()
        (places / f"Places_LT_{part}.txt").write_text(text.replace("\n", "\r\n").rstrip())
    source = open_source("places_lt", places / "data", str(places))
    assert source.facts() == before, "names of all 365 classes, counts and fingerprint"
    for part in replaced:
        assert source.names(part)[0].startswith("train/airfield/" if part == "train" else "val/airfield/")  # type: ignore[attr-defined]


def test_a_form_with_two_images_exchanged_is_neither(places: Path) -> None:
    first, second, *rest = other_form(places, "train").splitlines()
    (places / "Places_LT_train.txt").write_text("\n".join([second, first, *rest]))
    with pytest.raises(UserError, match="not the list of places_lt: it has as many images, but other ones"):
        open_source("places_lt", places / "data", str(places)).facts()


@pytest.fixture
def with_val(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lists of Places-LT that count right, each label's images in a folder, with a val list."""
    unpinned(PlacesLT, monkeypatch)
    for name, expected in PlacesLT.expected.items():
        counts = tail(expected.images, 365, expected.largest, expected.smallest) if name == "train" else [
            expected.smallest] * 365  # fmt: skip
        labels = [c for c, n in enumerate(counts) for _ in range(n)]
        write_list(tmp_path / f"Places_LT_{name}.txt", [f"train/scene_{c}/{name}{i}.jpg" for i, c in enumerate(labels)],
                   labels)  # fmt: skip
    return tmp_path


def test_the_val_list_is_tested_on_where_the_suite_says_so(with_val: Path) -> None:
    usual, test, val = (open_source("places_lt", with_val, str(with_val), options) for options in (
        {}, {"tested_on": "test"}, {"tested_on": "val"}))  # fmt: skip
    assert usual.chosen == test.chosen == {"size": 224, "resize": 256}, "keys stay as they were"
    assert val.chosen == {"size": 224, "resize": 256, "tested_on": "val"}
    assert test.facts() == usual.facts()
    assert (test.facts().test_counts, val.facts().test_counts) == ((100,) * 365, (20,) * 365)
    assert val.facts().train_counts == test.facts().train_counts
    assert val.facts().fingerprint != test.facts().fingerprint
    assert {name.split("/")[2][:3] for name in val.names("test")} == {"val"}  # type: ignore[attr-defined]


def test_a_val_list_is_checked_as_a_test_list_is(with_val: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message):
            open_source("places_lt", with_val, str(with_val), {"tested_on": "val"}).facts()

    file = with_val / "Places_LT_val.txt"
    rows = file.read_text().splitlines()
    trained = (with_val / "Places_LT_train.txt").read_text().splitlines()[0]
    file.write_text("\n".join([trained, *rows[1:]]))
    refused("Places_LT_val.txt: 1 of its images are in .*_train.txt as well.*must not be trained on")
    file.write_text("\n".join(rows[1:]))
    refused(r"has 7,299 images of 365 classes, 20 to 19 each, and 7,300 of 365, 20 to 20, were expected")
    file.write_text("\n".join(rows))
    known = {**PlacesLT.expected, "val": PlacesLT.expected["val"]._replace(ids=("0" * 40,))}
    monkeypatch.setattr(PlacesLT, "expected", known)
    refused("Places_LT_val.txt: this is not the list of places_lt: it has as many images, but other ones")
    file.unlink()
    refused(r"there is no Places_LT_val.txt or Places_LT_val.txt.gz")


def test_what_is_tested_on_is_test_or_val_where_there_is_a_val_list(tmp_path: Path) -> None:
    for wrong in ("vall", True, ["test"]):
        with pytest.raises(UserError, match="imagenet_lt: `tested_on` must be test or val"):
            open_source("imagenet_lt", tmp_path, str(tmp_path), {"tested_on": wrong})
    for kind in ("inaturalist2018", "lists"):
        with pytest.raises(UserError, match=f"data set '{kind}' has no option 'tested_on'"):
            open_source(kind, tmp_path, str(tmp_path), {"tested_on": "val"})


def test_a_list_of_other_counts_is_refused_with_both(tmp_path: Path) -> None:
    """Without the real lists: a class too few, an image too many, another profile."""
    write_list(tmp_path / "Places_LT_train.txt", ["a/b/c/1.jpg", "a/b/d/2.jpg"], [0, 1])
    write_list(tmp_path / "Places_LT_test.txt", ["a/b/c/3.jpg"], [0])
    with pytest.raises(UserError, match=r"not the list of places_lt: it has 2 images of 365 classes, 1 to 0 each, and "
                                        r"62,500 of 365, 4,980 to 5, were expected.*kind: lists"):  # fmt: skip
        open_source("places_lt", tmp_path, str(tmp_path)).facts()


def test_without_a_path_the_files_are_under_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"train": Expected(3, 2, 1), "test": Expected(2, 1, 1)}
    monkeypatch.setattr(PlacesLT, "expected", expected)
    monkeypatch.setattr(PlacesLT, "num_classes", 2)
    folder = tmp_path / "places_lt"
    write_list(folder / "Places_LT_train.txt", ["data_256/a/x/1.jpg", "data_256/a/x/2.jpg", "data_256/a/z/1.jpg"],
               [0, 0, 1])  # fmt: skip
    with pytest.raises(
        UserError, match=r"there is no Places_LT_test.txt or .*`lists:` names another folder.*, `path:` the"
    ):
        open_source("places_lt", tmp_path).facts()
    write_list(folder / "Places_LT_test.txt", ["val_256/1.jpg", "val_256/2.jpg"], [0, 1])
    assert open_source("places_lt", tmp_path).facts().train_counts == (2, 1)


@pytest.mark.parametrize("make", [lambda f: f.write_text("{"), lambda f: f.write_text('[{"id": 0}]')])
def test_a_broken_file_of_categories_is_named(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "categories.json")
    with pytest.raises(UserError, match=r"categories.json: is not a list of categories"):
        inaturalist._species(tmp_path / "categories.json", 3, Listed(tmp_path, (), np.zeros(0, np.int64)))


# -- lists as other people write them ---------------------------------------------------------------------------------


def lists_in(folder: Path, train: str, test: str) -> Path:
    (folder / "train.txt").write_bytes(train.encode())
    (folder / "test.txt").write_bytes(test.encode())
    return folder


def test_a_byte_order_mark_is_no_part_of_the_first_path(tmp_path: Path) -> None:
    lists_in(tmp_path, "\ufeffa/0.jpg 0\r\nb/0.jpg 1\r\n", "a/1.jpg 0\nb/1.jpg 1\n")
    with_mark = open_source("lists", tmp_path, str(tmp_path)).facts()
    lists_in(tmp_path, "a/0.jpg 0\nb/0.jpg 1\n", "a/1.jpg 0\nb/1.jpg 1\n")
    assert with_mark == open_source("lists", tmp_path, str(tmp_path)).facts()


@pytest.mark.parametrize("spelled", ["./a/0.jpg", "a//0.jpg", "a/./0.jpg", ".//a/0.jpg"])
def test_a_path_is_the_same_however_it_is_spelled(spelled: str, tmp_path: Path) -> None:
    lists_in(tmp_path, "a/0.jpg 0\nb/0.jpg 1\n", f"{spelled} 0\nb/1.jpg 1\n")
    with pytest.raises(UserError, match=re.escape(f"1 of its images are in {tmp_path}/train.txt as well")):
        open_source("lists", tmp_path, str(tmp_path)).facts()
    lists_in(tmp_path, f"a/0.jpg 0\n{spelled} 0\nb/0.jpg 1\n", "a/1.jpg 0\nb/1.jpg 1\n")
    with pytest.raises(UserError, match=r"train\.txt: lists a/0\.jpg twice"):
        open_source("lists", tmp_path, str(tmp_path)).facts()


def test_a_class_without_a_test_image_is_told(tmp_path: Path) -> None:
    lists_in(tmp_path, "ant/0.jpg 0\nbee/0.jpg 1\n", "ant/1.jpg 0\n")
    (note,) = open_source("lists", tmp_path, str(tmp_path)).facts().notes
    assert "1 of 2 classes without a test image (bee)" in note


def test_class_names_of_one_look_are_refused_and_a_mark_before_the_first_is_left_out(tmp_path: Path) -> None:
    lists_in(tmp_path, "0.jpg 0\n1.jpg 1\n", "2.jpg 0\n3.jpg 1\n")

    def names(text: str) -> tuple[str, ...]:
        (tmp_path / "names.txt").write_bytes(text.encode())
        options = {"class_names": str(tmp_path / "names.txt")}
        return open_source("lists", tmp_path, str(tmp_path), options).facts().class_names

    assert names("\ufeffant\nbee\n") == ("ant", "bee")
    with pytest.raises(UserError, match="2 names, 1 of them different"):
        names("caf\u00e9\ncafe\u0301\n")
