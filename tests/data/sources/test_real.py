"""Real images and vectors, where they are at hand: through `folder`, packing, a cell and one step of training."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from ltbench.data.longtail import select
from ltbench.data.sources.downloaded.cifar import Cifar10, Cifar100
from ltbench.data.sources.folder import Folder
from ltbench.models.text import text_vectors


@pytest.mark.nightly
@pytest.mark.slow
def test_a_folder_of_real_photographs_is_read_and_made_long_tailed(shared_data: Path, tmp_path: Path) -> None:
    """A part of CIFAR-10 as JPEG files, as a user would bring them: two classes of the archive."""
    with tarfile.open(shared_data / "cifar10_jpeg.tar.xz") as archive:
        for member in archive:
            part, _, rest = member.name.removeprefix("./").partition("/")
            if member.isfile() and part in ("train", "test") and rest.startswith(("cat/", "ship/")):
                target = tmp_path / "images" / part / rest
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                target.write_bytes(source.read())
    folder = Folder(tmp_path / "cache", tmp_path / "images", size=32)
    facts = folder.facts()
    assert facts.class_names == ("cat", "ship")
    assert facts.train_counts == (5000, 5000)
    assert facts.test_counts == (1000, 1000)
    arrays = folder.arrays()
    assert arrays.train_x.shape == (10_000, 32, 32, 3)
    assert 50 < float(arrays.train_x[:500].mean()) < 200, "photographs are neither black nor white"
    train, _ = select(facts.train_counts, imbalance=100, profile="exp", subset_seed=0)
    assert [len(t) for t in train] == [5000, 50]


@pytest.mark.parametrize(
    ("file", "names"), [("cifar10_text_clip_vitb32.npz", Cifar10), ("cifar100_text_clip_vitb32.npz", Cifar100)]
)
def test_real_clip_vectors_fit_our_class_names(shared_data: Path, file: str, names: type[Cifar10]) -> None:
    config = {"encoder": "file", "path": str(shared_data / file)}
    found = text_vectors(config, "cifar", names.class_names, Path())
    assert found.vectors.shape == (len(names.class_names), 512)
    assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)


def test_in_real_clip_vectors_the_nearest_names_of_a_maple_are_the_other_trees_and_forest(shared_data: Path) -> None:
    config = {"encoder": "file", "path": str(shared_data / "cifar100_text_clip_vitb32.npz")}
    vectors = text_vectors(config, "cifar100", Cifar100.class_names, Path()).vectors
    maple = Cifar100.class_names.index("maple_tree")
    near = np.argsort(-(vectors @ vectors[maple]))[1:6]
    assert {Cifar100.class_names[i] for i in near} == {"oak_tree", "palm_tree", "pine_tree", "willow_tree", "forest"}
