"""Sources: digits, CIFAR in torchvision's real file format, a user's folder; packing."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets

from ltbench.data.images.decode import decode_image
from ltbench.data.sources import source as source_module
from ltbench.data.sources.downloaded.cifar import Cifar10, Cifar100
from ltbench.data.sources.kinds import open_source, source_kinds
from ltbench.data.sources.source import Arrays, Facts, Source
from ltbench.errors import UserError

# -- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", source_kinds())
def test_every_source_has_a_summary_in_one_line(kind: str) -> None:
    assert 20 < len(source_kinds()[kind].summary) <= 120
    assert source_kinds()[kind].kind == kind


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "cifar_10"}, "unknown data set 'cifar_10'. Did you mean 'cifar10'?"),
        ({"kind": "digits", "options": {"size": 8}}, "data set 'digits' has no option 'size'"),
        ({"kind": "folder", "path": "x", "options": {"sise": 8}}, "Did you mean 'size'?"),
        ({"kind": "folder"}, "data set 'folder' needs `path:`"),
        ({"kind": "digits", "path": "x"}, "data set 'digits' takes no `path:`"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_cure(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        open_source(data=tmp_path, **arguments)


# -- digits -----------------------------------------------------------------------------------------------------------


def test_digits_facts_are_those_of_its_arrays(digits: Source) -> None:
    facts, arrays = digits.facts(), digits.arrays()
    assert tuple(np.bincount(arrays.train_y).tolist()) == facts.train_counts
    assert tuple(np.bincount(arrays.test_y).tolist()) == facts.test_counts == (50,) * 10
    assert sum(facts.train_counts) == 1297
    assert arrays.train_x.shape == (1297, *facts.shape)
    assert arrays.train_x.dtype == np.uint8


def test_the_test_part_of_digits_is_the_last_50_of_each_class(digits: Source) -> None:
    from sklearn.datasets import load_digits

    bunch, arrays = load_digits(), digits.arrays()
    for c in range(10):
        images = bunch.images[bunch.target == c]
        train, test = (
            np.asarray(x)[np.asarray(y) == c][..., 0]
            for x, y in ((arrays.train_x, arrays.train_y), (arrays.test_x, arrays.test_y))
        )
        np.testing.assert_allclose(train, images[:-50] * 255 / 16, atol=0.51)
        np.testing.assert_allclose(test, images[-50:] * 255 / 16, atol=0.51)


def test_digits_use_the_whole_range_of_a_byte(digits: Source) -> None:
    x = np.asarray(digits.arrays().train_x)
    assert (x.min(), x.max(), len(np.unique(x))) == (0, 255, 17)


# -- CIFAR ------------------------------------------------------------------------------------------------------------


def cifar_image(number: int) -> NDArray[np.uint8]:
    """(32, 32, 3): red says which image, green the row, blue the column."""
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    image[..., 0] = number
    image[..., 1] = np.arange(32)[:, None]
    image[..., 2] = np.arange(32)[None, :]
    return image


def write_batch(file: Path, numbers: range, labels: Mapping[str, list[int]]) -> str:
    """One batch file as the official archives have it: rows of 1,024 reds, greens and blues. Gives its md5."""
    rows = np.stack([cifar_image(n).transpose(2, 0, 1).reshape(-1) for n in numbers])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps({"data": rows, **labels, "batch_label": file.name}, protocol=2))
    return hashlib.md5(file.read_bytes()).hexdigest()


def write_meta(file: Path, content: dict[str, list[str]]) -> str:
    file.write_bytes(pickle.dumps(content, protocol=2))
    return hashlib.md5(file.read_bytes()).hexdigest()


def no_network(*_: Any, **__: Any) -> None:
    raise URLError("[Errno -2] Name or service not known")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.utils.download_url", no_network)


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> Source:
    """Five batches of 20 images and a test batch of 10, with torchvision's checksums set to theirs."""
    folder, names = tmp_path / "cifar-10-batches-py", [f"data_batch_{b}" for b in range(1, 6)]
    labels = [(3 * n) % 10 for n in range(110)]
    sums = [write_batch(folder / name, range(20 * b, 20 * b + 20), {"labels": labels[20 * b : 20 * b + 20]})
            for b, name in enumerate(names)]  # fmt: skip
    test_sum = write_batch(folder / "test_batch", range(100, 110), {"labels": labels[100:]})
    meta_sum = write_meta(folder / "batches.meta", {"label_names": list(Cifar10.class_names)})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [list(pair) for pair in zip(names, sums, strict=True)])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", test_sum]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": meta_sum})
    monkeypatch.setattr(Cifar10, "train_per_class", 10)
    monkeypatch.setattr(Cifar10, "test_per_class", 1)
    return open_source("cifar10", tmp_path)


@pytest.fixture
def cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> Source:
    """Two images and one test image per class."""
    folder = tmp_path / "cifar-100-python"
    train = {"fine_labels": [n % 100 for n in range(200)], "coarse_labels": [n % 20 for n in range(200)]}
    test = {"fine_labels": list(range(100)), "coarse_labels": [0] * 100}
    train_sum = write_batch(folder / "train", range(200), train)
    test_sum = write_batch(folder / "test", range(100), test)
    meta_sum = write_meta(folder / "meta", {"fine_label_names": list(Cifar100.class_names)})
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", train_sum]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", test_sum]])
    monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": meta_sum})
    monkeypatch.setattr(Cifar100, "train_per_class", 2)
    monkeypatch.setattr(Cifar100, "test_per_class", 1)
    return open_source("cifar100", tmp_path)


def test_cifar10_is_read_in_the_order_of_its_batches_with_rows_as_rows(cifar10: Source) -> None:
    arrays = cifar10.arrays()
    np.testing.assert_array_equal(arrays.train_x, np.stack([cifar_image(n) for n in range(100)]))
    np.testing.assert_array_equal(arrays.test_x, np.stack([cifar_image(n) for n in range(100, 110)]))
    assert arrays.train_y.tolist() == [(3 * n) % 10 for n in range(100)]
    assert arrays.train_x.dtype == np.uint8
    assert arrays.train_y.dtype == np.int64


def test_cifar100_has_the_fine_labels(cifar100: Source) -> None:
    arrays = cifar100.arrays()
    assert arrays.train_y.tolist() == [n % 100 for n in range(200)]
    np.testing.assert_array_equal(arrays.test_x[42], cifar_image(42))


def test_cifar_with_missing_images_is_refused_with_both_numbers(
    cifar10: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cifar10, "train_per_class", 5000)
    with pytest.raises(UserError, match="training part has 100 images where 50000 were expected"):
        cifar10.arrays()


@pytest.mark.parametrize(("kind", "inside"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_cifar_that_is_not_there_and_cannot_be_fetched_says_where_to_put_it(
    kind: str, inside: str, tmp_path: Path, offline: None
) -> None:
    with pytest.raises(UserError) as caught:
        open_source(kind, tmp_path).arrays()
    for words in (kind, str(tmp_path / inside), "python.tar.gz", "--data", "LTBENCH_DATA", "Name or service not known"):
        assert words in str(caught.value)


def test_a_damaged_cifar_file_is_not_read(cifar10: Source, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"half a file")
    with pytest.raises(UserError, match="could not be downloaded"):
        cifar10.arrays()
    assert not cifar10.packed.exists()


@pytest.mark.parametrize(("kind", "classes", "per_class"), [("cifar10", 10, 5000), ("cifar100", 100, 500)])
def test_cifars_facts_need_neither_disk_nor_network(kind: str, classes: int, per_class: int, tmp_path: Path) -> None:
    facts = open_source(kind, tmp_path / "nowhere").facts()
    assert facts.train_counts == (per_class,) * classes
    assert facts.test_counts == (10_000 // classes,) * classes
    assert len(set(facts.class_names)) == classes
    assert facts.shape == (32, 32, 3)
    assert not (tmp_path / "nowhere").exists()


def test_cifars_fingerprints_name_the_archives_that_torchvision_fetches() -> None:
    assert Cifar10.archive_md5 == datasets.CIFAR10.tgz_md5
    assert Cifar100.archive_md5 == datasets.CIFAR100.tgz_md5


def test_cifar100s_names_are_in_the_official_order(shared_data: Path) -> None:
    assert list(Cifar100.class_names) == sorted(Cifar100.class_names), "the official order is alphabetical"
    names = np.load(shared_data / "cifar100_text_clip_vitb32.npz")["class_names"]
    assert [str(n) for n in names] == list(Cifar100.class_names)


# -- folder -----------------------------------------------------------------------------------------------------------


def picture(seed: int, size: int = 8) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 8x8 images: three cats and two dogs to train on, one of each to test."""
    root = tmp_path / "photos"
    for seed, name in enumerate(("train/cat/0", "train/cat/1", "train/cat/2", "train/dog/0", "train/dog/1",
                                 "test/cat/0", "test/dog/0")):  # fmt: skip
        file = root / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(file)
    return root


@pytest.fixture
def opened(photos: Path, tmp_path: Path) -> Callable[..., Source]:
    """`opened()`: the folder as a source, at 8 pixels; `opened(path, size=16)`: another."""

    def make(path: Path = photos, cache: str = "data", **options: Any) -> Source:
        return open_source("folder", tmp_path / cache, str(path), {"size": 8, **options})

    return make


def test_a_folders_facts_are_those_of_its_files(opened: Callable[..., Source]) -> None:
    facts = opened().facts()
    assert facts.class_names == ("cat", "dog")
    assert facts.train_counts == (3, 2)
    assert facts.test_counts == (1, 1)
    assert facts.shape == (8, 8, 3)
    assert facts.mean is None


def test_images_of_the_asked_size_are_left_as_they_are(opened: Callable[..., Source]) -> None:
    arrays = opened().arrays()
    np.testing.assert_array_equal(arrays.train_x, np.stack([np.asarray(picture(seed)) for seed in range(5)]))
    np.testing.assert_array_equal(arrays.test_x, np.stack([np.asarray(picture(seed)) for seed in (5, 6)]))
    assert arrays.train_y.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (8, 9), (9, 8)])
def test_of_a_long_image_the_centre_is_kept(shape: tuple[int, int], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "long.png")
    top, left = (shape[0] - 8) // 2, (shape[1] - 8) // 2
    np.testing.assert_array_equal(decode_image(tmp_path / "long.png", 8), pixels[top : top + 8, left : left + 8])


@pytest.mark.parametrize("shape", [(64, 64), (5, 5), (40, 17), (3, 50), (1, 1)])
def test_images_of_any_size_come_out_square_and_of_their_colour(shape: tuple[int, int], tmp_path: Path) -> None:
    Image.fromarray(np.full((*shape, 3), (200, 100, 50), dtype=np.uint8)).save(tmp_path / "plain.png")
    found = decode_image(tmp_path / "plain.png", 16)
    np.testing.assert_array_equal(found, np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8))


def test_shrinking_averages_and_does_not_pick_pixels(tmp_path: Path) -> None:
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checks).save(tmp_path / "checks.png")
    inner = decode_image(tmp_path / "checks.png", 16)[2:-2, 2:-2]
    assert np.abs(inner.astype(int) - 127).max() <= 3


MODES: dict[str, tuple[Image.Image, tuple[int, int, int]]] = {
    "grey.png": (Image.new("L", (8, 8), 100), (100, 100, 100)),
    "grey_alpha.png": (Image.new("LA", (8, 8), (100, 10)), (100, 100, 100)),
    "alpha.png": (Image.new("RGBA", (8, 8), (10, 20, 30, 128)), (10, 20, 30)),
    "black_and_white.png": (Image.new("1", (8, 8), 1), (255, 255, 255)),
    "palette.png": (Image.new("RGB", (8, 8), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE), (10, 20, 30)),
    "palette.gif": (Image.new("RGB", (8, 8), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE), (10, 20, 30)),
    "print.tif": (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), (255, 0, 0)),
}


@pytest.mark.parametrize("name", MODES)
def test_images_that_are_not_rgb_become_rgb(name: str, tmp_path: Path) -> None:
    image, colour = MODES[name]
    image.save(tmp_path / name)
    np.testing.assert_array_equal(decode_image(tmp_path / name, 8), np.full((8, 8, 3), colour, dtype=np.uint8))


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(tmp_path / "clear.png", transparency=b"\x80\x10")
    assert decode_image(tmp_path / "clear.png", 8)[0, 0].tolist() == [10, 20, 30]


def test_a_16_bit_image_keeps_its_greys(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65_535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    found = decode_image(tmp_path / "deep.png", 8)
    np.testing.assert_allclose(found[..., 0], ramp / 257, atol=1)


def test_an_image_of_floats_is_refused_and_not_read_as_black(tmp_path: Path, opened: Callable[..., Source]) -> None:
    photos = tmp_path / "photos"
    Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32)).save(photos / "train" / "cat" / "float.tif")
    with pytest.raises(UserError, match=r"float\.tif"):
        opened().arrays()


def test_all_unreadable_images_are_named_in_one_message(photos: Path, opened: Callable[..., Source]) -> None:
    whole = (photos / "train" / "cat" / "0.png").read_bytes()
    (photos / "train" / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])
    (photos / "train" / "dog" / "empty.jpg").touch()
    (photos / "test" / "dog" / "text.jpg").write_text("not an image")
    source = opened()
    with pytest.raises(UserError) as caught:
        source.arrays()
    assert "3 unreadable images" in str(caught.value)
    for name in ("train/cat/0.png", "train/dog/empty.jpg", "test/dog/text.jpg"):
        assert str(photos / name) in str(caught.value)
    assert not source.packed.exists()


def test_of_many_unreadable_images_twenty_are_named_and_the_rest_counted(
    photos: Path, opened: Callable[..., Source]
) -> None:
    for number in range(27):
        (photos / "train" / "cat" / f"bad{number:02}.jpg").touch()
    with pytest.raises(UserError, match=r"27 unreadable images[\s\S]*and 7 more"):
        opened().arrays()


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: shutil.rmtree(root / name)


def empty(*names: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for name in names:
            shutil.rmtree(root / name)
            (root / name).mkdir()

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove("train"), ["train: no such folder", "train/CLASS/*"]),
        (remove("test"), ["test: no such folder"]),
        (remove("test/dog"), ["must have the same classes", "dog"]),
        (empty("train/dog"), ["no images in train/dog"]),
        (empty("train/dog", "test/cat"), ["train/dog", "test/cat"]),
        (lambda root: [remove(f"{part}/dog")(root) for part in ("train", "test")], ["found 1 class folders"]),
    ],
)
def test_a_folder_that_cannot_be_used_says_what_is_missing(
    change: Callable[[Path], Any], words: list[str], photos: Path, opened: Callable[..., Source]
) -> None:
    change(photos)
    with pytest.raises(UserError) as caught:
        opened().facts()
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("size", [0, 3, 1025, "32", 8.0, True, None])
def test_a_size_that_is_none_is_refused(size: Any, opened: Callable[..., Source]) -> None:
    with pytest.raises(UserError, match="`size` must be a whole number"):
        opened(size=size).facts()


def test_other_files_and_hidden_ones_are_passed_over(photos: Path, opened: Callable[..., Source]) -> None:
    before = opened().facts()
    for name in ("train/cat/notes.txt", "train/cat/.hidden.png", "train/README.md", "train/dog/Thumbs.db"):
        (photos / name).write_text("x")
    for name in ("train/.cache", "train/cat/more"):
        (photos / name).mkdir()
    assert opened().facts() == before


def test_extensions_may_be_in_capitals(photos: Path, opened: Callable[..., Source]) -> None:
    picture(50).save(photos / "train" / "dog" / "IMG_1.JPG")
    assert opened().facts().train_counts == (3, 3)


# -- a folder's fingerprint -------------------------------------------------------------------------------------------


def test_a_copy_elsewhere_has_the_same_fingerprint(photos: Path, tmp_path: Path, opened: Callable[..., Source]) -> None:
    shutil.copytree(photos, tmp_path / "elsewhere" / "copy")
    assert opened(tmp_path / "elsewhere" / "copy").facts() == opened().facts()


def test_touching_a_file_does_not_change_the_fingerprint(photos: Path, opened: Callable[..., Source]) -> None:
    before = opened().facts().fingerprint
    os.utime(photos / "train" / "cat" / "0.png", (1, 1))
    assert opened().facts().fingerprint == before


def test_the_fingerprint_does_not_depend_on_what_is_remembered(opened: Callable[..., Source]) -> None:
    first, remembered, fresh = (opened(cache=c).facts().fingerprint for c in ("one", "one", "two"))
    assert first == remembered == fresh


def repaint(root: Path) -> None:
    picture(99).save(root / "train" / "cat" / "0.png")


def flip_a_bit(root: Path) -> None:
    file = root / "test" / "dog" / "0.png"
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 10**9))


@pytest.mark.parametrize(
    "change",
    [
        repaint,
        flip_a_bit,
        lambda root: picture(99).save(root / "train" / "cat" / "9.png"),
        lambda root: (root / "train" / "cat" / "0.png").unlink(),
        lambda root: (root / "train" / "cat" / "0.png").rename(root / "train" / "dog" / "7.png"),
        lambda root: [(root / part / "dog").rename(root / part / "wolf") for part in ("train", "test")],
    ],
    ids=["repainted", "one bit", "added", "removed", "moved to another class", "class renamed"],
)
def test_any_change_of_the_images_changes_the_fingerprint(
    change: Callable[[Path], Any], photos: Path, opened: Callable[..., Source]
) -> None:
    before = opened().facts().fingerprint
    change(photos)
    assert opened().facts().fingerprint != before


def write_bitmaps(root: Path, brightness: int) -> None:
    """Files of equal names, sizes and times, whatever the pixels: as reproducible archives unpack them."""
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (root / name).mkdir(parents=True, exist_ok=True)
        file = root / name / "0.bmp"
        Image.new("RGB", (8, 8), (brightness,) * 3).save(file)
        os.utime(file, (0, 0))


def test_two_folders_that_differ_in_their_pixels_only_are_told_apart(
    tmp_path: Path, opened: Callable[..., Source]
) -> None:
    write_bitmaps(tmp_path / "dark", 10)
    write_bitmaps(tmp_path / "bright", 200)
    dark, bright = opened(tmp_path / "dark"), opened(tmp_path / "bright")
    assert dark.facts().fingerprint != bright.facts().fingerprint
    assert int(dark.arrays().train_x.max()) == 10
    assert int(bright.arrays().train_x.max()) == 200


def test_a_file_replaced_by_one_of_equal_size_and_time_is_noticed(
    tmp_path: Path, opened: Callable[..., Source]
) -> None:
    write_bitmaps(tmp_path / "images", 10)
    before = opened(tmp_path / "images").facts().fingerprint
    time.sleep(0.03)  # file systems tick in milliseconds
    write_bitmaps(tmp_path / "images", 200)
    assert opened(tmp_path / "images").facts().fingerprint != before


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, opened: Callable[..., Source]) -> None:
    (tmp_path / "occupied").write_text("a file where the cache should be")
    assert opened(cache="occupied").facts() == opened().facts()


def test_above_the_limit_the_fingerprint_says_that_it_covers_sizes_only(
    opened: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened(cache="one").facts().fingerprint.startswith("folder-contents-")
    monkeypatch.setattr("ltbench.data.sources.listing.HASH_LIMIT", 10)
    assert opened(cache="two").facts().fingerprint.startswith("folder-sizes-")


# -- packing ----------------------------------------------------------------------------------------------------------


class Made(Source):
    """Four images; notes how often they are read."""

    kind = "made"
    reads = 0

    def facts(self) -> Facts:
        return Facts(("a", "b"), (2, 1), (1, 0), "made-1", (4, 4, 1))

    def read(self) -> Arrays:
        self.reads += 1
        x = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4, 1)
        return Arrays(x, np.array([0, 0, 1]), x[:1], np.array([0]))


def leftovers(data: Path) -> list[str]:
    packed = data / "packed"
    return sorted(p.name for p in packed.iterdir()) if packed.exists() else []


def test_packed_images_are_those_that_were_read(tmp_path: Path) -> None:
    made = Made(tmp_path)
    expected, found = made.read(), made.arrays()
    for name in ("train_x", "train_y", "test_x", "test_y"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert isinstance(found.train_x, np.memmap)


def test_images_are_packed_once_and_then_reused(tmp_path: Path) -> None:
    first, second = Made(tmp_path), Made(tmp_path)
    first.arrays()
    first.arrays()
    second.arrays()
    assert (first.reads, second.reads) == (1, 0)
    assert len(leftovers(tmp_path)) == 1


def test_sizes_are_packed_apart(opened: Callable[..., Source]) -> None:
    small, large = opened(size=8), opened(size=16)
    assert small.facts().fingerprint == large.facts().fingerprint
    assert small.arrays().train_x.shape == (5, 8, 8, 3)
    assert large.arrays().train_x.shape == (5, 16, 16, 3)


@pytest.mark.parametrize("after", range(4))
def test_packing_that_breaks_off_leaves_nothing_behind_and_can_be_repeated(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, save = [], np.save

    def breaks(file: Any, array: Any) -> None:
        if len(saved) == after:
            raise OSError("disk full")
        saved.append(file)
        save(file, array)

    monkeypatch.setattr(source_module.np, "save", breaks)
    with pytest.raises(OSError, match="disk full"):
        Made(tmp_path).arrays()
    assert leftovers(tmp_path) == []
    monkeypatch.setattr(source_module.np, "save", save)
    assert Made(tmp_path).arrays().train_y.tolist() == [0, 0, 1]


def test_of_two_that_pack_at_once_the_second_takes_the_firsts(tmp_path: Path) -> None:
    class Overtaken(Made):
        """While it reads, another process finishes."""

        def read(self) -> Arrays:
            Made(tmp_path).prepare()
            return super().read()

    assert Overtaken(tmp_path).arrays().train_y.tolist() == [0, 0, 1]
    assert leftovers(tmp_path) == [Made(tmp_path).packed.name]


def test_a_reader_that_finds_other_counts_than_the_facts_is_refused_and_nothing_is_packed(tmp_path: Path) -> None:
    class Short(Made):
        """Loses its last training image."""

        def read(self) -> Arrays:
            whole = super().read()
            return Arrays(whole.train_x[:2], whole.train_y[:2], whole.test_x, whole.test_y)

    with pytest.raises(UserError, match="training part has 2 images where 3 were expected"):
        Short(tmp_path).arrays()
    assert leftovers(tmp_path) == []
