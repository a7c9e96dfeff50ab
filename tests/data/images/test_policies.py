"""Augmentation policies against torchvision, image by image on the same parameters, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import autoaugment, functional

from ltbench.data.images.operations import NONE, Operation, Operations
from ltbench.data.images.policies import CIFAR10, POLICIES, RANDAUGMENT, operation_at
from ltbench.data.images.simaugment import Draws, resized
from ltbench.data.loader import ImageBatches

CPU = torch.device("cpu")


def pictures(n: int = 60, size: int = 32, channels: int = 3) -> Tensor:
    """(n, size, size, channels) uint8: noise, smooth ones of few values, and some of one or two values."""
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (n, size, size, channels))
    across = np.linspace(0, 1, size)[None, None, :, None] * rng.integers(10, 220, (n, 1, 1, channels))
    smooth = across + rng.integers(0, 30, (n, 1, 1, channels)) + rng.integers(0, 4, (n, size, size, channels))
    x = np.where((np.arange(n) % 3 == 0)[:, None, None, None], noise, smooth).astype(np.uint8)
    x[-1], x[-2] = 77, 0
    x[-3, : size // 2], x[-3, size // 2 :] = 10, 200
    return torch.from_numpy(x)


def reference(image: Tensor, operation: Operation, fill: int) -> Tensor:
    """What torchvision makes of an image (H, W, channels) uint8."""
    made = autoaugment._apply_op(
        image.permute(2, 0, 1), operation.name, operation.magnitude, functional.InterpolationMode.NEAREST,
        [float(fill)] * image.shape[2],
    )  # fmt: skip
    return torch.as_tensor(made.permute(1, 2, 0))


def assert_torchvision(x: Tensor, operation: Operation, fill: int) -> None:
    found = Operations([operation], x.shape[1], CPU, fill)(x.clone(), np.zeros(len(x), np.int64))
    expected = torch.stack([reference(image, operation, fill) for image in x])
    np.testing.assert_array_equal(found.numpy(), expected.numpy(), err_msg=str(operation))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("name", [*RANDAUGMENT, "Invert"])
def test_every_operation_at_every_level_is_torchvisions(name: str, size: int, channels: int) -> None:
    x = pictures(12, size, channels)
    for level in range(10):
        for sign in (-1, 1):
            assert_torchvision(x, operation_at(name, level, 10, sign, size), fill=128)


def magnitudes(space: dict[str, Any], name: str, level: int) -> float:
    found, _ = space[name]
    return float(found[level]) if found.ndim else 0.0


@pytest.mark.parametrize("size", [8, 32, 64])
def test_levels_are_torchvisions(size: int) -> None:
    ten = autoaugment.AutoAugment()._augmentation_space(10, (size, size))
    thirty = autoaugment.RandAugment()._augmentation_space(31, (size, size))
    for bins, space in ((10, ten), (31, thirty)):
        for name in set(space) - {"Identity"}:
            for level in range(bins):
                expected = magnitudes(space, name, level)
                assert abs(operation_at(name, level, bins, -1, size).magnitude) == expected
                assert operation_at(name, level, bins, 1, size).magnitude == expected


def test_sub_policies_are_torchvisions() -> None:
    known = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10).policies
    assert [[(n, p, m or 0) for n, p, m in pair] for pair in known] == [list(pair) for pair in CIFAR10]


def drawn(seed: int, n: int) -> tuple[NDArray[Any], ...]:
    """The random numbers of AutoAugment and Cutout, in the order in which they are drawn."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 25, n), rng.random((2, n)), rng.integers(0, 2, (2, n)), rng.integers(0, 32, (2, n))


class Given(autoaugment.AutoAugment):  # type: ignore[misc]
    """torchvision's AutoAugment with parameters that are given."""

    def __init__(self) -> None:
        super().__init__(autoaugment.AutoAugmentPolicy.CIFAR10, fill=[128.0] * 3)
        self.given: tuple[int, Tensor, Tensor] = (0, torch.zeros(2), torch.zeros(2))

    def get_params(self, transform_num: int) -> tuple[int, Tensor, Tensor]:
        return self.given


def test_autoaugment_and_cutout_are_those_of_the_field_on_the_same_numbers() -> None:
    x = pictures(400)
    found = POLICIES["autoaugment_cutout"](32, CPU)(x.clone(), np.random.default_rng(5))
    pair, chance, sign, middle = drawn(5, len(x))
    expected, changed, whole = [], 0, Given()
    for i, image in enumerate(x):
        whole.given = int(pair[i]), torch.from_numpy(chance[:, i]), torch.from_numpy(sign[:, i])
        made = whole(image.permute(2, 0, 1))
        changed += not torch.equal(made, image.permute(2, 0, 1))
        top, left = middle[:, i].tolist()
        made = made.clone()
        made[:, max(0, top - 8) : top + 8, max(0, left - 8) : left + 8] = 0
        expected.append(made.permute(1, 2, 0))
    np.testing.assert_array_equal(found.numpy(), torch.stack(expected).numpy())
    assert changed > 200


def test_randaugment_is_torchvisions_on_the_same_numbers() -> None:
    x = pictures(300)
    found = POLICIES["randaugment"](32, CPU)(x.clone(), np.random.default_rng(5))
    which = np.random.default_rng(5).integers(0, 28, (2, len(x)))
    both = [operation_at(name, 9, 31, sign, 32) for name in RANDAUGMENT for sign in (-1, 1)]
    for i, image in enumerate(x):
        for k in which[:, i]:
            image = reference(image, both[k], 0)
        np.testing.assert_array_equal(found[i].numpy(), image.numpy())


def test_rotations_are_torchvisions_and_reach_from_minus_15_to_15_degrees() -> None:
    x = pictures(400)
    found = POLICIES["rotation15"](32, CPU)(x.clone(), np.random.default_rng(5))
    angles = (np.random.default_rng(5).integers(0, 301, len(x)) - 150) / 10
    for i, image in enumerate(x):
        expected = functional.rotate(image.permute(2, 0, 1), float(angles[i])).permute(1, 2, 0)
        np.testing.assert_array_equal(found[i].numpy(), expected.numpy())
    low, high = transforms.RandomRotation(15).degrees
    assert (angles.min(), angles.max()) == (low, high)


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "simaugment"])
def test_they_come_after_the_classic_crop_and_flip(name: str) -> None:
    x, y = pictures(64).numpy(), np.zeros(64, np.int64)
    index = np.random.default_rng(0).integers(0, 64, 128)

    def batches(augment: str, rng: np.random.Generator) -> ImageBatches:
        return ImageBatches(x, y, (0.0,) * 3, (1.0,) * 3, augment=augment, rng=rng)

    one, other = np.random.default_rng(1), np.random.default_rng(1)
    found = batches(name, one).batch(index)[0]
    cropped = (batches("crop_flip", other).batch(index)[0] * 255).round().byte().permute(0, 2, 3, 1)
    expected = POLICIES[name](32, CPU)(cropped.contiguous(), other).permute(0, 3, 1, 2)
    np.testing.assert_array_equal((found * 255).round().byte().numpy(), expected.numpy())
    assert one.integers(1 << 60) == other.integers(1 << 60)


@pytest.mark.parametrize("name", POLICIES)
def test_evaluation_sees_images_as_they_are(name: str) -> None:
    x = pictures(20).numpy()
    made = ImageBatches(x, np.zeros(20, np.int64), (0.0,) * 3, (1.0,) * 3, augment=name)
    found = torch.cat(list(made.in_order(7))) * 255
    np.testing.assert_array_equal(found.round().byte().permute(0, 2, 3, 1).numpy(), x)


@pytest.mark.parametrize("name", POLICIES)
def test_grey_images_of_eight_pixels_can_have_them(name: str) -> None:
    x = pictures(30, 8, 1).numpy()
    made = ImageBatches(x, np.zeros(30, np.int64), (0.5,), (0.5,), augment=name, rng=np.random.default_rng(0))
    assert torch.isfinite(made.batch(np.arange(30))[0]).all()


def test_no_operation_leaves_an_image_as_it_is() -> None:
    x = pictures(6)
    mixed = Operations([Operation("Invert")], 32, CPU)(x.clone(), np.array([NONE, 0, NONE, 0, 0, NONE]))
    for i, inverted in enumerate([False, True, False, True, True, False]):
        assert torch.equal(mixed[i], 255 - x[i] if inverted else x[i])


def test_sub_policies_and_holes_are_drawn_uniformly() -> None:
    pair, chance, sign, middle = drawn(11, 20_000)
    assert stats.chisquare(np.bincount(pair)).pvalue > 1e-3
    assert stats.chisquare(np.bincount(middle.ravel())).pvalue > 1e-3
    assert abs(chance.mean() - 0.5) < 0.01
    assert abs(sign.mean() - 0.5) < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", POLICIES)
def test_a_gpu_gives_the_same_images(name: str) -> None:
    x = pictures(600)
    on_cpu = POLICIES[name](32, CPU)(x.clone(), np.random.default_rng(5))
    device = torch.device("cuda")
    on_gpu = POLICIES[name](32, device)(x.to(device), np.random.default_rng(5)).cpu()
    np.testing.assert_array_equal(on_gpu.numpy(), on_cpu.numpy())


# -- SimAugment -------------------------------------------------------------------------------------------------------


def test_simaugment_is_torchvisions_image_by_image() -> None:
    """The colours to the bit; resizing and blurring to one level where a value lies on the edge of rounding."""
    x = pictures(120)
    draws = Draws.of(np.random.default_rng(5), 120, 32)
    found = POLICIES["simaugment"](32, CPU)(x.clone(), np.random.default_rng(5))
    for i in range(120):
        image = x[i].permute(2, 0, 1)
        image = functional.resized_crop(image, *draws.boxes[i].tolist(), [32, 32], antialias=True)
        image = functional.hflip(image) if draws.mirror[i] else image
        ours = resized(x[i : i + 1], *map(torch.from_numpy, (draws.boxes[i : i + 1], draws.mirror[i : i + 1, None])))
        off = (ours[0].permute(2, 0, 1).int() - image.int()).abs()
        assert off.max() <= 1
        assert (off > 0).float().mean() < 0.01
        image = changed(ours[0].permute(2, 0, 1), draws, i)
        if draws.blur[i]:
            image = functional.gaussian_blur(image, [13, 13], [float(draws.sigma[i])] * 2)
            off = (found[i].permute(2, 0, 1).int() - image.int()).abs()
            assert off.max() <= 1
            assert (off > 0).float().mean() < 0.01
        else:
            assert torch.equal(found[i].permute(2, 0, 1), image)


def changed(image: Tensor, draws: Draws, i: int) -> Tensor:
    """The colours as torchvision's ColorJitter and RandomGrayscale change them."""
    changes = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation,
               functional.adjust_hue)  # fmt: skip
    if draws.jitter[i]:
        for change in draws.order[i]:
            image = changes[change](image, float(draws.factors[i, change]))
    return functional.rgb_to_grayscale(image, 3) if draws.grey[i] else image


def test_simaugments_numbers_have_their_distributions() -> None:
    draws = Draws.of(np.random.default_rng(0), 20_000, 32)
    area = draws.boxes[:, 2] * draws.boxes[:, 3] / 32**2
    assert area.min() > 0.15
    for chosen, p in ((draws.mirror, 0.5), (draws.jitter, 0.8), (draws.grey, 0.2), (draws.blur, 0.5)):
        assert abs(chosen.mean() - p) < 0.015
    for values, low, high in (
        (draws.factors[:, :3], 0.6, 1.4),
        (draws.factors[:, 3], -0.1, 0.1),
        (draws.sigma, 0.1, 2),
    ):
        assert stats.kstest(values.ravel(), stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert stats.chisquare(np.unique(draws.order, axis=0, return_counts=True)[1]).pvalue > 1e-3


# -- several views ----------------------------------------------------------------------------------------------------


def test_views_are_the_images_augmented_by_one_policy_after_the_other() -> None:
    x, y = pictures(64).numpy(), np.arange(64) % 5
    index = np.random.default_rng(0).integers(0, 64, 40)

    def batches(augment: str, rng: np.random.Generator, *further: str) -> ImageBatches:
        return ImageBatches(x, y, (0.5,) * 3, (0.2,) * 3, augment=augment, further=further, rng=rng)

    names = ("autoaugment_cutout", "simaugment", "crop", "none", "flip")
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    found, labels = batches(names[0], one, *names[1:]).batch(index)
    assert found.shape == (5, 40, 3, 32, 32)
    assert np.array_equal(labels.numpy(), y[index])
    for view, name in zip(found, names, strict=True):
        assert view.is_contiguous(memory_format=torch.channels_last)
        if name == "flip":  # draws as many numbers for a crop it does not make, from another range
            plain, mirrored = (torch.from_numpy(v.copy()) for v in (x[index], x[index][:, :, ::-1]))
            pixels = ((view * 0.2 + 0.5) * 255).round().byte().permute(0, 2, 3, 1)
            assert all(torch.equal(p, a) or torch.equal(p, b) for p, a, b in zip(pixels, plain, mirrored, strict=True))
        else:
            assert torch.equal(view, batches(name, other).batch(index)[0])
