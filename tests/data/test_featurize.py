"""Features from a tiny random CLIP: what the tower gives, once per image, continued after an interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from ltbench.cli import app
from ltbench.data.featurize import ClipTowers, features_of, options_for, write_features
from ltbench.data.sources.features import Features
from ltbench.data.sources.source import Arrays, Facts, Source
from tests.data.made import small_lists
from tests.models.test_text import TINY, add_model

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
MODEL = "tiny-feature-clip"


class Made(Source):
    """Three classes of 4x4 images; some images are there twice."""

    kind = "made"
    summary = ""

    def facts(self) -> Facts:
        return Facts(("a", "b", "c"), (3000, 20, 10), (5, 5, 5), "made", (4, 4, 1))

    def read(self) -> Arrays:
        rng = np.random.default_rng(0)
        train = rng.integers(0, 256, (3030, 4, 4, 1)).astype(np.uint8)
        train[1::2] = train[0::2]
        test = rng.integers(0, 256, (15, 4, 4, 1)).astype(np.uint8)
        return Arrays(train, np.repeat(np.arange(3), (3000, 20, 10)), test, np.repeat(np.arange(3), 5))


def mean_and_size(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    flat = images.reshape(len(images), -1).astype(np.float32)
    return np.stack([flat.mean(axis=1), flat[:, 0], flat[:, -1] + 1], axis=1)


def written(folder: Path, encode: Callable[[], Encode], name: str = "out.npz") -> dict[str, NDArray[np.float32]]:
    write_features(Made(folder), encode, identity=["tower"], origin="made", out=folder / name, batch_size=100)
    return dict(np.load(folder / name))


def test_every_image_has_its_features_and_equal_images_are_encoded_once(tmp_path: Path) -> None:
    seen = []

    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(images))
        return mean_and_size(images)

    found, arrays = written(tmp_path, lambda: encode), Made(tmp_path).read()
    np.testing.assert_allclose(found["train_x"], mean_and_size(arrays.train_x), rtol=1e-3)
    np.testing.assert_allclose(found["test_x"], mean_and_size(arrays.test_x), rtol=1e-3)
    np.testing.assert_array_equal(found["train_y"], arrays.train_y)
    assert sum(seen) == 3030 // 2 + 15
    assert Features(tmp_path, tmp_path / "out.npz").facts().train_counts == (3000, 20, 10)


def test_an_interrupted_call_goes_on_where_it_was_and_damage_is_made_again(tmp_path: Path) -> None:
    calls = []

    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        calls.append(len(images))
        if len(calls) == 13:  # in the second shard
            raise KeyboardInterrupt
        return mean_and_size(images)

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, lambda: encode)
    assert not (tmp_path / "out.npz").exists()
    before = sum(calls[:11])
    found = written(tmp_path, lambda: encode)
    assert before == 1024
    assert sum(calls[13:]) == 3030 // 2 - 1024 + 15
    next(tmp_path.glob("features/*/train-00000.npy")).write_bytes(b"half a file")
    again = written(tmp_path, lambda: encode, "again.npz")
    np.testing.assert_array_equal(found["train_x"], again["train_x"])


def test_with_all_shards_there_no_tower_is_made(tmp_path: Path) -> None:
    written(tmp_path, lambda: mean_and_size)
    written(tmp_path, lambda: pytest.fail("the tower was loaded"), "again.npz")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import open_clip

    folder = tmp_path_factory.mktemp("clip")
    add_model(folder, MODEL, TINY)
    torch.manual_seed(0)
    torch.save(open_clip.create_model(MODEL).state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def test_the_tower_is_open_clips(weights: Path) -> None:
    """At the tower's own size nothing is resized, and the features are open_clip's own of the normalised image."""
    import open_clip

    from ltbench.models.clip import ImageTower

    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    model = open_clip.create_model(MODEL, pretrained=str(weights)).eval()
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255.0 - mean) / std
    with torch.no_grad():
        expected = model.encode_image(x).numpy()
    tower = ImageTower(MODEL, str(weights), "cpu")
    np.testing.assert_allclose(tower(images), expected, rtol=1e-4, atol=1e-5)
    grey = np.repeat(images[..., :1], 3, axis=3)
    np.testing.assert_allclose(tower(images[..., :1]), tower(grey), atol=1e-6)


def test_smaller_images_are_resized_as_pillow_does(weights: Path) -> None:
    """Bicubic, antialiased: within a grey level or two of Pillow's, which rounds to whole levels."""
    from PIL import Image

    from ltbench.models.clip import ImageTower

    small = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    bicubic = Image.Resampling.BICUBIC
    large = np.stack([np.asarray(Image.fromarray(im).resize((32, 32), bicubic)) for im in small])
    tower = ImageTower(MODEL, str(weights), "cpu")
    np.testing.assert_allclose(tower(small), tower(large), atol=0.05)


def test_the_command_writes_both_towers_and_a_suite_runs_on_them(tmp_path: Path, weights: Path) -> None:
    out = tmp_path / "digits.npz"
    command = ["features", "digits", "--model", MODEL, "--pretrained", str(weights), "--out", str(out),
               "--data", str(tmp_path / "data"), "--device", "cpu"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    source = Features(tmp_path, out)
    assert source.facts().class_names[:2] == ("zero", "one")
    text = source.text()
    assert text is not None
    assert text.shape == (10, source.facts().shape[2])
    assert "a photo of a {}" in str(np.load(out)["origin"])


def test_without_weights_one_message_says_what_to_do(tmp_path: Path) -> None:
    from ltbench.errors import UserError

    with pytest.raises(UserError, match="checkpoint"):
        features_of("digits", ClipTowers("ViT-B-32", "openai", device="cpu"), data=tmp_path, out=tmp_path / "x.npz")


def test_images_named_by_lists_are_decoded_as_they_are_wanted(tmp_path: Path) -> None:
    from PIL import Image

    from ltbench.data.sources.kinds import open_source

    root = small_lists(tmp_path / "root")
    source = open_source("lists", tmp_path / "data", str(root), options_for("lists", 24))
    seen: list[NDArray[np.uint8]] = []

    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(images)
        return mean_and_size(images)

    write_features(source, lambda: encode, identity=["tower"], origin="made", out=tmp_path / "out.npz", batch_size=8)
    assert [x.shape for x in seen] == [(8, 24, 24, 3)] * 2 + [(6, 24, 24, 3), (8, 24, 24, 3), (1, 24, 24, 3)]
    with Image.open(root / "train" / "classa" / "0.jpg") as image:
        scale = 24 / min(image.size)
        small = np.asarray(image.resize([round(s * scale) for s in image.size], Image.Resampling.BICUBIC))
    top, left = round((small.shape[0] - 24) / 2), round((small.shape[1] - 24) / 2)
    np.testing.assert_array_equal(seen[0][0], small[top : top + 24, left : left + 24])
    assert np.load(tmp_path / "out.npz")["train_y"].tolist() == [0] * 12 + [1] * 6 + [2] * 4
