"""Batches of images against a slow reference that crops and flips one image at a time, and against torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision import transforms

from ltbench.data.cell import cell_data
from ltbench.data.loader import ImageBatches, channel_statistics
from ltbench.data.longtail import select, select_cell
from ltbench.data.sources.downloaded.cifar import MEAN, STD
from ltbench.data.sources.source import Arrays, Facts
from ltbench.spec import Cell

GREY = ((0.0,), (1.0,))


def pixels(n: int = 40, size: int = 32, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def batches(x: NDArray[np.uint8], augment: str = "none", seed: int = 0, plain: bool = False) -> ImageBatches:
    mean, std = GREY if plain or x.shape[-1] == 1 else (MEAN, STD)
    mean, std = mean * (x.shape[-1] // len(mean)), std * (x.shape[-1] // len(std))
    labels = np.arange(len(x)) % 7
    return ImageBatches(x, labels, mean, std, augment=augment, rng=np.random.default_rng(seed))


# -- normalisation and layout -----------------------------------------------------------------------------------------


def test_normalisation_is_torchvisions() -> None:
    x = pixels()
    found, _ = batches(x).batch(np.arange(40))
    reference = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    expected = torch.stack([reference(image) for image in x])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_every_pixel_value_is_normalised_to_a_millionth() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    made = ImageBatches(ramp, np.zeros(1, dtype=np.int64), (0.4914,), (0.2023,))
    found = made.batch(np.zeros(1, dtype=np.int64))[0].flatten()
    np.testing.assert_allclose(found, [(v / 255 - 0.4914) / 0.2023 for v in range(256)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_batches_are_channels_last_float32(augment: str) -> None:
    x, _ = batches(pixels(), augment).batch(np.arange(8))
    assert x.shape == (8, 3, 32, 32)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_labels_are_those_of_the_asked_positions() -> None:
    index = np.array([3, 3, 39, 0])
    _, y = batches(pixels()).batch(index)
    assert y.dtype == torch.int64
    np.testing.assert_array_equal(y, index % 7)


def test_the_same_image_may_come_twice_in_a_batch() -> None:
    x, _ = batches(pixels()).batch(np.array([5, 5]))
    assert torch.equal(x[0], x[1])


@pytest.mark.parametrize("augment", ["none", "flip", "crop", "crop_flip"])
@pytest.mark.parametrize("batch_size", [1, 7, 40, 64])
def test_in_order_gives_every_image_once_as_it_is(augment: str, batch_size: int) -> None:
    x = pixels()
    parts = list(batches(x, augment).in_order(batch_size))
    assert max(len(part) for part in parts) <= batch_size
    torch.testing.assert_close(torch.cat(parts), batches(x).batch(np.arange(40))[0])


def test_a_batch_does_not_change_the_images() -> None:
    x = pixels()
    before, made = x.copy(), batches(x, "crop_flip")
    made.batch(np.arange(40))[0].zero_()
    next(iter(made.in_order(40))).zero_()
    np.testing.assert_array_equal(x, before)
    torch.testing.assert_close(next(iter(made.in_order(40))), batches(before).batch(np.arange(40))[0])


def test_read_only_images_are_copied_and_not_complained_about() -> None:
    x = pixels()
    x.flags.writeable = False
    assert len(batches(x)) == 40


# -- augmentation -----------------------------------------------------------------------------------------------------


def crop_and_flip(image: NDArray[np.uint8], pad: int, top: int, left: int, mirrored: bool) -> NDArray[np.uint8]:
    """RandomCrop with zero padding, then horizontal flip, of one image; pixel by pixel."""
    size = image.shape[0]
    out = np.zeros_like(image)
    for i in range(size):
        for j in range(size):
            row, column = i + top - pad, j + left - pad
            if 0 <= row < size and 0 <= column < size:
                out[i, size - 1 - j if mirrored else j] = image[row, column]
    return out


def shown(x: torch.Tensor) -> NDArray[np.uint8]:
    """Batch of unnormalised images back to uint8 (B, H, W, channels)."""
    return (x.permute(0, 2, 3, 1) * 255).round().byte().numpy()


@pytest.mark.parametrize(("size", "pad"), [(32, 4), (8, 1), (12, 1), (64, 8)])
@pytest.mark.parametrize("augment", ["crop", "flip", "crop_flip"])
def test_augmented_images_are_those_of_the_slow_reference_with_the_same_dice(augment: str, size: int, pad: int) -> None:
    x, index = pixels(12, size), np.array([0, 5, 5, 11, 3, 8])
    pad = pad if "crop" in augment else 0
    rng = np.random.default_rng(7)
    tops, lefts = rng.integers(0, 2 * pad + 1, (2, 6))
    mirrored = (rng.random(6) < 0.5) & ("flip" in augment)
    found = shown(batches(x, augment, seed=7, plain=True).batch(index)[0])
    for k, i in enumerate(index):
        np.testing.assert_array_equal(found[k], crop_and_flip(x[i], pad, tops[k], lefts[k], bool(mirrored[k])))


def seen_variants(augment: str, size: int = 8, draws: int = 4000) -> dict[tuple[int, int, bool], int]:
    """How often one image came with each (top, left, mirrored); every variant of it looks different."""
    x = pixels(1, size)
    pad = max(1, size // 8) if "crop" in augment else 0
    known = {
        crop_and_flip(x[0], pad, top, left, mirrored).tobytes(): (top, left, mirrored)
        for top in range(2 * pad + 1)
        for left in range(2 * pad + 1)
        for mirrored in (False, True)
    }
    found = shown(batches(x, augment, plain=True).batch(np.zeros(draws, dtype=np.int64))[0])
    counts: dict[tuple[int, int, bool], int] = {}
    for image in found:
        variant = known[image.tobytes()]
        counts[variant] = counts.get(variant, 0) + 1
    return counts


def test_all_crops_and_flips_are_equally_likely() -> None:
    counts = np.array(list(seen_variants("crop_flip").values()))
    assert len(counts) == 9 * 2
    assert ((counts - 4000 / 18) ** 2 / (4000 / 18)).sum() < 41  # chi-square, 17 degrees of freedom, p = 0.001


def test_crop_alone_never_mirrors_and_flip_alone_never_moves() -> None:
    assert {mirrored for _, _, mirrored in seen_variants("crop")} == {False}
    assert set(seen_variants("flip")) == {(0, 0, False), (0, 0, True)}


def test_images_of_a_batch_are_augmented_each_in_its_own_way() -> None:
    x, _ = batches(pixels(1), "crop_flip", plain=True).batch(np.zeros(64, dtype=np.int64))
    assert len({image.numpy().tobytes() for image in x}) > 30


def test_what_is_padded_is_black_before_normalisation() -> None:
    white = np.full((1, 8, 8, 3), 255, dtype=np.uint8)
    x, _ = batches(white, "crop").batch(np.zeros(200, dtype=np.int64))
    mean, std = np.array(MEAN), np.array(STD)
    corners = x[:, :, 0, 0].numpy()
    padded = corners[:, 0] < 0
    assert 0 < padded.sum() < 200
    np.testing.assert_allclose(corners, np.where(padded[:, None], -mean / std, (1 - mean) / std), atol=1e-5)


def test_crop_and_crop_flip_crop_alike_from_one_seed() -> None:
    x, index = pixels(), np.arange(40)
    cropped = batches(x, "crop", seed=3).batch(index)[0]
    both = batches(x, "crop_flip", seed=3).batch(index)[0]
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(cropped, both, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(cropped, both, strict=True)]
    assert all(m or s for m, s in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)


def test_the_same_seed_augments_alike_and_another_otherwise() -> None:
    one, again, other = (batches(pixels(), "crop_flip", seed=s).batch(np.arange(40))[0] for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_without_augmentation_no_dice_are_thrown() -> None:
    rng = np.random.default_rng(0)
    made = ImageBatches(pixels(), np.zeros(40, dtype=np.int64), MEAN, STD, rng=rng)
    before = rng.bit_generator.state
    made.batch(np.arange(40))
    assert rng.bit_generator.state == before


# -- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_channel_statistics_are_numpys(channels: int) -> None:
    x = pixels(channels=channels) // np.array([1, 2, 3], dtype=np.uint8)[:channels]
    mean, std = channel_statistics(x)
    np.testing.assert_allclose(mean, (x / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (x / 255).std(axis=(0, 1, 2)), rtol=1e-12)


def test_a_channel_that_never_changes_does_not_divide_by_zero() -> None:
    mean, std = channel_statistics(np.full((4, 8, 8, 1), 51, dtype=np.uint8))
    assert mean == pytest.approx((0.2,))
    assert std[0] > 0


def test_images_normalised_by_their_own_statistics_have_mean_0_and_deviation_1() -> None:
    x = pixels()
    made = ImageBatches(x, np.zeros(40, dtype=np.int64), *channel_statistics(x))
    found = torch.cat(list(made.in_order(16))).double()
    torch.testing.assert_close(found.mean(dim=(0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=(0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-5, rtol=0)


# -- cutting a cell out -----------------------------------------------------------------------------------------------


def source(sorted_by_class: bool) -> tuple[Facts, Arrays]:
    """60 + 10 images of 2 classes whose pixels say which image they are."""
    y = np.repeat([0, 1], [40, 20]) if sorted_by_class else np.tile([0, 1, 0], 20)
    x = np.arange(60, dtype=np.uint8)[:, None, None, None] * np.ones((60, 2, 2, 1), dtype=np.uint8)
    test_x, test_y = np.zeros((10, 2, 2, 1), dtype=np.uint8), np.arange(10) % 2
    facts = Facts(("a", "b"), (40, 20), (5, 5), "made", (2, 2, 1))
    return facts, Arrays(x, y.astype(np.int64), test_x, test_y.astype(np.int64))


@pytest.mark.parametrize("sorted_by_class", [True, False])
def test_a_cell_holds_the_chosen_images_with_their_own_labels(sorted_by_class: bool) -> None:
    facts, arrays = source(sorted_by_class)
    cell = Cell(dataset="made", kind="made", imbalance=5.0, holdout_per_class=4)
    data = cell_data(arrays, *select_cell(cell, facts.train_counts))
    train, held = select((40, 20), imbalance=5.0, profile="exp", subset_seed=0, holdout_per_class=4)
    for x, y, chosen in ((data.train_x, data.train_y, train), (data.holdout_x, data.holdout_y, held)):
        numbers = x[:, 0, 0, 0]
        np.testing.assert_array_equal(arrays.train_y[numbers], y)
        for c in (0, 1):
            within = np.flatnonzero(arrays.train_y == c)
            assert set(numbers[y == c].tolist()) == set(within[chosen[c]].tolist())
    assert len(data.test_y) == 10


def test_training_and_hold_out_of_a_cell_share_no_image() -> None:
    facts, arrays = source(True)
    cell = Cell(dataset="made", kind="made", imbalance=2.0, holdout_per_class=5)
    data = cell_data(arrays, *select_cell(cell, facts.train_counts))
    assert not set(data.train_x[:, 0, 0, 0].tolist()) & set(data.holdout_x[:, 0, 0, 0].tolist())
    assert np.bincount(data.holdout_y).tolist() == [5, 5]
