"""Crops, resizing and colour jitter of large images, against torchvision's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from ltbench.data.images import crops

SIZES = np.array([[20, 90], [64, 64], [90, 20], [256, 341], [224, 224], [31, 47]])


def padded(sizes: NDArray[np.int64], seed: int = 0) -> NDArray[np.uint8]:
    """(B, H, W, 3) random pixels, with rubbish where there is no image."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (len(sizes), *sizes.max(axis=0), 3)).astype(np.uint8)


WAYS = [(crops.resampled, 5e-3), (crops.by_matrices, 3e-4)]
"""On a CPU and on a GPU, and how far they may be from float64, of 255."""
Resize = Callable[..., torch.Tensor]


@pytest.mark.parametrize(("resize", "tolerance"), WAYS)
@pytest.mark.parametrize("side", [16, 48, 224])
def test_resizing_is_torchvisions_antialiased_bilinear_of_the_image_without_its_padding(
    side: int, resize: Resize, tolerance: float
) -> None:
    x, mirror = padded(SIZES), np.array([True, False, True, False, True, False])
    found = resize(torch.from_numpy(x), torch.from_numpy(SIZES), side, torch.from_numpy(mirror))
    for i, (h, w) in enumerate(SIZES):
        image = torch.from_numpy(x[i, :h, :w].copy()).permute(2, 0, 1)[None].double()
        expected = F.resize(image, [side, side], antialias=True)
        expected = expected.flip(3) if mirror[i] else expected
        torch.testing.assert_close(found[i : i + 1].double(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("resize", "_"), WAYS)
def test_an_image_of_the_right_size_comes_back_to_the_bit(resize: Resize, _: float) -> None:
    x = padded(np.array([[48, 48], [48, 48]]))
    found = resize(torch.from_numpy(x), torch.tensor([[48, 48]] * 2), 48)
    assert torch.equal(found, torch.from_numpy(x).permute(0, 3, 1, 2).float())


def test_a_large_batch_is_done_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    x, mirror = torch.from_numpy(padded(SIZES)), torch.tensor([True, False] * 3)
    whole = crops.by_matrices(x, torch.from_numpy(SIZES), 32, mirror)
    monkeypatch.setattr(crops, "_ELEMENTS", 2 * x[0].numel())
    torch.testing.assert_close(crops.by_matrices(x, torch.from_numpy(SIZES), 32, mirror), whole, atol=1e-4, rtol=0)


# -- boxes ------------------------------------------------------------------------------------------------------------


def boxes_by_the_book(uniforms: NDArray[np.float32], height: int, width: int) -> list[int]:
    """torchvision's RandomResizedCrop.get_params for one image, in plain Python, with these uniforms."""
    tries = uniforms[: 4 * crops.TRIES].astype(np.float64).reshape(-1, 4)
    low, high = np.log(3 / 4), np.log(4 / 3)
    for area, ratio, top, left in tries.tolist():
        target = height * width * (0.08 + 0.92 * area)
        aspect = float(np.exp(low + (high - low) * ratio))
        w, h = round((target * aspect) ** 0.5), round((target / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            return [int(top * (height - h + 1)), int(left * (width - w + 1)), h, w]
    if width / height < 3 / 4:
        h, w = round(width / (3 / 4)), width
    elif width / height > 4 / 3:
        h, w = height, round(height * (4 / 3))
    else:
        h, w = height, width
    return [(height - h) // 2, (width - w) // 2, h, w]


@pytest.mark.parametrize(("height", "width"), [(256, 341), (400, 256), (256, 256), (256, 4000), (3000, 256)])
def test_crops_are_those_of_random_resized_crop(height: int, width: int) -> None:
    uniforms = crops.draw_uniforms(np.random.default_rng(0), 400)
    found = crops.random_boxes(uniforms, np.full(400, height), np.full(400, width))
    assert found.tolist() == [boxes_by_the_book(row, height, width) for row in uniforms]
    top, left, h, w = found.T
    assert np.stack([top, left, height - top - h, width - left - w]).min() >= 0


def test_crops_are_distributed_as_torchvisions() -> None:
    torch.manual_seed(0)
    image = torch.empty(3, 256, 341)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)])
    ours = crops.random_boxes(
        crops.draw_uniforms(np.random.default_rng(1), 3000), np.full(3000, 256), np.full(3000, 341)
    )
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), rtol=0.06)
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.08)


def test_a_very_long_image_gives_its_middle() -> None:
    """4,000 x 256: no crop of at least 8 % of the area has an allowed shape."""
    found = crops.random_boxes(crops.draw_uniforms(np.random.default_rng(0), 5), np.full(5, 256), np.full(5, 12000))
    assert (found == [0, (12000 - 341) // 2, 256, 341]).all()


def test_the_middle_is_center_crops() -> None:
    x = torch.arange(3 * 40 * 51).view(3, 40, 51)
    top, left, h, w = crops.centre_boxes(np.array([40]), np.array([51]), 24)[0]
    assert torch.equal(x[:, top : top + h, left : left + w], F.center_crop(x, [24, 24]))


# -- colours ----------------------------------------------------------------------------------------------------------


def test_jitter_is_torchvisions_in_every_order() -> None:
    uniforms = crops.draw_uniforms(np.random.default_rng(3), 60)
    x = torch.rand(60, 3, 9, 7, generator=torch.Generator().manual_seed(0)) * 255
    found = crops.jittered(x, uniforms)
    numbers = uniforms[:, 4 * crops.TRIES + 1 :].astype(np.float64)
    changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
    orders = set()
    for i in range(60):
        order = crops._ORDERS[int(numbers[i, 3] * 6)]
        orders.add(order)
        expected = x[i] / 255
        for step in order:
            expected = changes[step](expected, 0.6 + 0.8 * float(numbers[i, step]))
        torch.testing.assert_close(found[i] / 255, expected, atol=2e-5, rtol=0)
    assert len(orders) == 6


def test_flips_and_jitter_do_not_move_the_crops() -> None:
    """All random numbers are drawn at once, so that every augmentation cuts the same part out."""
    a, b = (crops.draw_uniforms(np.random.default_rng(5), 8) for _ in range(2))
    assert np.array_equal(a, b)
    assert a.shape == (8, 45)
    assert 0.3 < crops.mirrored(crops.draw_uniforms(np.random.default_rng(5), 1000)).mean() < 0.7
