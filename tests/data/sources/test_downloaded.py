"""SVHN, STL-10 and Tiny ImageNet: small files in the published formats, fetched from a server and read."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from ltbench.data.longtail import long_tail_counts, select
from ltbench.data.sources.downloaded.archives import Published
from ltbench.data.sources.downloaded.stl10 import Stl10
from ltbench.data.sources.downloaded.svhn import Svhn
from ltbench.data.sources.downloaded.tiny_imagenet import TinyImageNet, classes
from ltbench.data.sources.kinds import open_source
from ltbench.data.sources.source import Source
from ltbench.errors import UserError
from tests.data.sources.test_sources import no_network


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which its files can be fetched."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def image(number: int, side: int) -> NDArray[np.uint8]:
    """(side, side, 3): red says which image, green the row, blue the column."""
    made = np.zeros((side, side, 3), dtype=np.uint8)
    made[..., 0], made[..., 1], made[..., 2] = number, np.arange(side)[:, None], np.arange(side)[None, :]
    return made


# -- SVHN -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def svhn(served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Twenty training images and ten of the test, as MATLAB files with their classes numbered from 1 to 10."""
    folder, address = served
    files = {}
    for part, numbers in (("train", range(20)), ("test", range(20, 30))):
        x = np.stack([image(n, 32) for n in numbers]).transpose(1, 2, 3, 0)
        y = np.array([[n % 10 + 1] for n in numbers], dtype=np.uint8)
        savemat(folder / f"{part}_32x32.mat", {"X": x, "y": y}, do_compression=True)
        files[part] = Published(f"{address}/{part}_32x32.mat", md5(folder / f"{part}_32x32.mat"))
    monkeypatch.setattr(Svhn, "files", files)
    monkeypatch.setattr(Svhn, "train_counts", (2,) * 10)
    monkeypatch.setattr(Svhn, "test_counts", (1,) * 10)
    return open_source("svhn", tmp_path / "data")


def test_svhn_is_fetched_and_read_with_rows_as_rows(svhn: Source) -> None:
    arrays = svhn.arrays()
    np.testing.assert_array_equal(arrays.train_x, np.stack([image(n, 32) for n in range(20)]))
    np.testing.assert_array_equal(arrays.test_x, np.stack([image(n, 32) for n in range(20, 30)]))
    assert arrays.train_y.tolist() == [n % 10 for n in range(20)], "class 10, the digit 0, is the last label"
    assert svhn.facts().class_names[9] == "zero"


def test_svhn_is_what_torchvision_reads_but_for_the_number_of_the_digit_0(
    svhn: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = svhn.arrays()
    monkeypatch.setattr(datasets.SVHN, "split_list", {p: [f.url, f.name, f.md5] for p, f in Svhn.files.items()})
    theirs = datasets.SVHN(svhn.data, split="train")
    np.testing.assert_array_equal(arrays.train_x, theirs.data.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal((np.asarray(arrays.train_y) + 1) % 10, theirs.labels)


def test_svhns_files_are_those_that_torchvision_fetches() -> None:
    for part, file in Svhn.files.items():
        assert list(datasets.SVHN.split_list[part]) == [file.url, file.name, file.md5]
    assert (sum(Svhn.train_counts), sum(Svhn.test_counts)) == (73_257, 26_032)


@pytest.mark.parametrize("imbalance", [10, 50, 100])
def test_svhn_lt_has_the_images_of_yang_and_xu(imbalance: int) -> None:
    """Their procedure on labels in any order: 1,000 images of the digit 1, classes 1 to 9 and then 0, one legacy
    generator with seed 0 that shuffles the positions of each class (imbalanced-semi-self, imbalance_svhn.py)."""
    counts = dict(zip([*range(1, 10), 0], Svhn.train_counts, strict=True))
    digits = np.random.default_rng(7).permutation(np.repeat(list(counts), list(counts.values())))
    rng, theirs = np.random.RandomState(0), []
    for rank, digit in enumerate([*range(1, 10), 0]):
        rows = np.flatnonzero(digits == digit)
        rng.shuffle(rows)
        theirs.append(rows[: int(1000 * (1 / imbalance) ** (rank / 9.0))])
    train, _ = select(Svhn.train_counts, imbalance=imbalance, profile="exp:1000", subset_seed=0)
    labels = (digits - 1) % 10
    ours = [np.flatnonzero(labels == c)[positions] for c, positions in enumerate(train)]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


# -- STL-10 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stl10(served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Ten images in each part, as the binary files have them, beside unlabelled ones that nobody asks for."""
    folder, address = served
    members = {"unlabeled_X.bin": b"\0" * 100, "class_names.txt": b"\n".join(n.encode() for n in Stl10.class_names)}
    for part, first in (("train", 0), ("test", 10)):
        # Three channels, each column by column.
        x = np.stack([image(first + n, 96).transpose(2, 1, 0) for n in range(10)])
        members[f"{part}_X.bin"] = x.tobytes()
        members[f"{part}_y.bin"] = np.arange(1, 11, dtype=np.uint8).tobytes()
    with tarfile.open(folder / "stl10_binary.tar.gz", "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"stl10_binary/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    archive = folder / "stl10_binary.tar.gz"
    monkeypatch.setattr(Stl10, "archive", Published(f"{address}/{archive.name}", md5(archive)))
    sums = {name: hashlib.md5(members[name]).hexdigest() for name in Stl10.files}
    monkeypatch.setattr(Stl10, "files", sums)
    monkeypatch.setattr(Stl10, "train_per_class", 1)
    monkeypatch.setattr(Stl10, "test_per_class", 1)
    return open_source("stl10", tmp_path / "data")


def test_stl10_is_fetched_and_read_with_rows_as_rows(stl10: Source) -> None:
    arrays = stl10.arrays()
    np.testing.assert_array_equal(arrays.train_x, np.stack([image(n, 96) for n in range(10)]))
    np.testing.assert_array_equal(arrays.test_x, np.stack([image(n, 96) for n in range(10, 20)]))
    assert arrays.test_y.tolist() == list(range(10))
    assert not (stl10.data / "stl10_binary" / "unlabeled_X.bin").exists()


def test_stl10_is_what_torchvision_reads(stl10: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = stl10.arrays()
    monkeypatch.setattr(datasets.STL10, "train_list", [(n, s) for n, s in Stl10.files.items() if "train" in n])
    monkeypatch.setattr(datasets.STL10, "test_list", [(n, s) for n, s in Stl10.files.items() if "test" in n])
    for part in ("train", "test"):
        theirs = datasets.STL10(stl10.data, split=part)
        np.testing.assert_array_equal(getattr(arrays, f"{part}_x"), theirs.data.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(getattr(arrays, f"{part}_y"), theirs.labels)


def test_stl10s_files_are_those_that_torchvision_fetches() -> None:
    assert (datasets.STL10.url, datasets.STL10.tgz_md5) == Stl10.archive
    known = dict([*datasets.STL10.train_list, *datasets.STL10.test_list])
    assert Stl10.files.items() <= known.items()


def test_stl10_can_be_made_smaller(stl10: Source) -> None:
    small = open_source("stl10", stl10.data, options={"size": 32})
    assert small.facts().shape == (32, 32, 3)
    x = small.arrays().train_x
    assert x.shape == (10, 32, 32, 3)
    assert [int(i[0, 0, 0]) for i in x] == list(range(10))
    assert abs(int(x[0, 16, 0, 1]) - 49) <= 1, "rows stay rows"
    assert small.packed != stl10.packed


@pytest.mark.parametrize("size", [0, 97, "32", True, 32.0])
def test_a_size_that_stl10_cannot_have_is_refused(size: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="between 4 and 96"):
        open_source("stl10", tmp_path, options={"size": size})


# -- Tiny ImageNet ----------------------------------------------------------------------------------------------------


def jpeg(number: int, mode: str = "RGB") -> bytes:
    written = io.BytesIO()
    Image.new(mode, (64, 64), (number, 100, 50) if mode == "RGB" else number).save(written, "JPEG")
    return written.getvalue()


@pytest.fixture
def tiny(served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Eleven images of each class and one of the test, in a zip as the published one."""
    folder, address = served
    archive = folder / "tiny-imagenet-200.zip"
    ids = list(classes())
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("tiny-imagenet-200/wnids.txt", "\n".join(reversed(ids)))
        for c, wordnet_id in enumerate(ids):
            for n in range(11):
                mode = "L" if n == 3 else "RGB"
                made.writestr(f"tiny-imagenet-200/train/{wordnet_id}/images/{wordnet_id}_{n}.JPEG", jpeg(c, mode))
            made.writestr(f"tiny-imagenet-200/val/images/val_{c}.JPEG", jpeg(c))
            made.writestr(f"tiny-imagenet-200/test/images/test_{c}.JPEG", jpeg(0))
        boxes = [f"val_{c}.JPEG\t{wordnet_id}\t0\t32\t44\t62" for c, wordnet_id in enumerate(ids)]
        made.writestr("tiny-imagenet-200/val/val_annotations.txt", "\n".join(reversed(boxes)))
    monkeypatch.setattr(TinyImageNet, "archive", Published(f"{address}/{archive.name}", md5(archive)))
    monkeypatch.setattr(TinyImageNet, "train_per_class", 11)
    monkeypatch.setattr(TinyImageNet, "test_per_class", 1)
    return open_source("tiny_imagenet", tmp_path / "data")


def test_tiny_imagenet_is_fetched_and_read_in_the_order_of_sorted_names(tiny: Source) -> None:
    arrays = tiny.arrays()
    assert arrays.train_x.shape == (2200, 64, 64, 3)
    assert arrays.train_y.tolist() == [c for c in range(200) for _ in range(11)]
    assert arrays.test_y.tolist() == list(range(200))
    assert [abs(int(x[0, 0, 0]) - c) <= 3 for c, x in enumerate(arrays.test_x)] == [True] * 200
    grey = [bool(np.ptp(x[32, 32]) == 0) for x in arrays.train_x[11:22]]
    assert grey == [n == 4 for n in range(11)], "0, 1, 10, 2, 3, ...: of texts, 10 comes before 2"


def test_tiny_imagenets_classes_are_imagenets() -> None:
    from torchvision.models import ResNet50_Weights

    names = list(classes().values())
    assert len(names) == len(set(names)) == 200
    assert list(classes()) == sorted(classes())
    order = [ResNet50_Weights.IMAGENET1K_V1.meta["categories"].index(name) for name in names if name != "crane"]
    assert order == sorted(order), "names of ImageNet, whose labels follow the same ids"
    assert classes()["n01443537"] == "goldfish"
    assert classes()["n12267677"] == "acorn"


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "place"),
    [("svhn", "train_32x32.mat"), ("stl10", "stl10_binary"), ("tiny_imagenet", "tiny-imagenet-200.zip")],
)
def test_without_a_network_it_says_where_to_put_the_file(
    kind: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.utils.download_url", no_network)
    with pytest.raises(UserError) as caught:
        open_source(kind, tmp_path).arrays()
    verb = "unpack" if kind == "stl10" else "put"
    for words in (
        kind,
        f"{verb} the official file",
        str(tmp_path / place),
        "--data",
        "LTBENCH_DATA",
        "Name or service",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["svhn", "stl10", "tiny_imagenet"])
def test_what_the_server_gives_must_have_the_published_checksum(
    kind: str, request: pytest.FixtureRequest, served: tuple[Path, str]
) -> None:
    source: Source = request.getfixturevalue(kind.replace("_imagenet", ""))
    for file in served[0].iterdir():
        file.write_bytes(b"a page that says: moved")
    with pytest.raises(UserError, match="could not be downloaded"):
        source.arrays()
    assert not source.packed.exists()


@pytest.mark.parametrize(
    ("kind", "train", "test"),
    [("svhn", 73_257, 26_032), ("stl10", 5000, 8000), ("tiny_imagenet", 100_000, 10_000)],
)
def test_facts_need_neither_disk_nor_network(kind: str, train: int, test: int, tmp_path: Path) -> None:
    facts = open_source(kind, tmp_path / "nowhere").facts()
    assert (sum(facts.train_counts), sum(facts.test_counts)) == (train, test)
    assert not (tmp_path / "nowhere").exists()


# -- their long tails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "profile", "imbalance", "counts"),
    [
        ("svhn", "exp:1000", 100, [1000, 599, 359, 215, 129, 77, 46, 27, 16, 10]),
        ("stl10", "exp:450", 10, [450, 348, 269, 208, 161, 125, 96, 75, 58, 45]),
        ("stl10", "exp:150", 20, [150, 107, 77, 55, 39, 28, 20, 14, 10, 7]),
    ],
)
def test_long_tails_have_the_sizes_of_the_papers(
    kind: str, profile: str, imbalance: float, counts: list[int], tmp_path: Path
) -> None:
    """Yang and Xu (NeurIPS 2020) for SVHN-LT, Oh et al. (DASO, CVPR 2022) for STL10-LT: int(head * IF ** (-c / 9))."""
    assert long_tail_counts(open_source(kind, tmp_path).facts().train_counts, imbalance, profile) == counts


def test_tiny_imagenet_lt_ends_at_five_images(tmp_path: Path) -> None:
    counts = long_tail_counts(open_source("tiny_imagenet", tmp_path).facts().train_counts, 100, "exp")
    assert (max(counts), min(counts), len(counts)) == (500, 5, 200)
