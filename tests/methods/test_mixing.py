"""Mixed images and labels, read off pixel by pixel, against the papers' rules."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from ltbench.api import Moment, Task
from tests.methods.made import CIFAR100_IF100, COUNTS, labels_of, loaded, make, moment, near_names, task_of

# -- mixing -----------------------------------------------------------------------------------------------------------


def basis(n: int) -> Tensor:
    """n images of n pixels, image i white at pixel i: what was mixed can be read off the result."""
    return torch.eye(n)[:, None, None, :]


def weights_read_off(mixed: Tensor) -> NDArray[np.float64]:
    """(B, n): how much of each of the n images is in each mixed one."""
    return mixed[:, 0, 0, :].double().numpy()


def pairs_read_off(mixed: Tensor) -> Iterator[tuple[int, int, float]]:
    """(own image, partner, own weight) of every mixed image that is not its own partner."""
    for i, row in enumerate(weights_read_off(mixed)):
        others = [int(j) for j in np.flatnonzero(row) if j != i]
        assert len(others) <= 1
        if others:
            yield i, others[0], float(row[i])


def test_mixup_mixes_labels_as_it_mixes_images(toy_task: Task) -> None:
    y = labels_of(24)
    mixed, target = make("mixup", toy_task).mix(basis(24), y, moment(seed=3))
    expected = np.zeros((24, 5))
    for i, row in enumerate(weights_read_off(mixed)):
        for j, weight in enumerate(row):
            expected[i, int(y[j])] += weight
    np.testing.assert_allclose(target, expected, atol=1e-6)


def test_mixup_has_one_weight_per_batch_and_every_image_as_partner_once(toy_task: Task) -> None:
    mixed, _ = make("mixup", toy_task).mix(basis(24), labels_of(24), moment(seed=3))
    found = list(pairs_read_off(mixed))
    assert len(found) > 15
    assert np.ptp([weight for _, _, weight in found]) < 1e-6
    np.testing.assert_allclose(weights_read_off(mixed).sum(axis=0), 1.0, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize("name", ["mixup", "remix"])
def test_the_mixing_weight_is_beta_distributed(name: str, alpha: float, toy_task: Task) -> None:
    method, y = make(name, toy_task, alpha=alpha), labels_of(4)
    now, x = moment(), basis(4)
    found = [next(pairs_read_off(method.mix(x, y, now)[0]), None) for _ in range(1500)]
    weights = [pair[2] for pair in found if pair is not None]
    # Weights of exactly 0 or 1 leave no pair to read off; they are rare.
    assert len(weights) > 800
    inner = [w for w in weights if 0.01 < w < 0.99]
    low, high = stats.beta.cdf([0.01, 0.99], alpha, alpha)
    assert stats.kstest(inner, lambda w: (stats.beta.cdf(w, alpha, alpha) - low) / (high - low)).pvalue > 1e-3


def remix_label_weight(n_i: int, n_j: int, keep: float, kappa: float, tau: float) -> float:
    """Chou et al., equation 7, with exact ratios."""
    if Fraction(n_i, n_j) >= Fraction(kappa) and keep < tau:
        return 0.0
    if Fraction(n_i, n_j) <= 1 / Fraction(kappa) and 1 - keep < tau:
        return 1.0
    return keep


@pytest.mark.parametrize(("kappa", "tau"), [(3.0, 0.5), (2.0, 0.5), (10.0, 0.9), (1.0, 0.3), (5.0, 1.0), (4.0, 0.0)])
def test_remix_labels_follow_the_papers_rule(kappa: float, tau: float, toy_task: Task) -> None:
    """Beside the lines of zhangyongshun/BagofTricks-LT (ce7859a), lib/core/combiner.py, on the same labels and weights:
    equal."""
    method, y = make("remix", toy_task, kappa=kappa, tau=tau), labels_of(24)
    compared = 0
    for seed in range(40):
        mixed, target = method.mix(basis(24), y, moment(seed=seed))
        for i, j, keep in pairs_read_off(mixed):
            y_i, y_j = int(y[i]), int(y[j])
            label_weight = remix_label_weight(COUNTS[y_i], COUNTS[y_j], keep, kappa, tau)
            expected = np.zeros(5)
            expected[y_i] += label_weight
            expected[y_j] += 1 - label_weight
            np.testing.assert_allclose(target[i], expected, atol=1e-6)
            compared += 1
    assert compared > 500


@pytest.mark.parametrize("kappa", range(2, 13))
def test_remix_counts_a_ratio_of_exactly_kappa_in_both_directions(kappa: int) -> None:
    task = task_of((7 * kappa, 7))
    method = make("remix", task, kappa=float(kappa), tau=1.0)
    y = torch.tensor([0, 1] * 8)
    mixed, target = method.mix(basis(16), y, moment())
    unlike = [i for i, j, _ in pairs_read_off(mixed) if y[i] != y[j]]
    assert {int(y[i]) for i in unlike} == {0, 1}
    assert all(target[i].tolist() == [0.0, 1.0] for i in unlike)


def test_remix_with_a_threshold_that_no_pair_reaches_is_mixup(toy_task: Task) -> None:
    y = labels_of(24)
    plain, rebalanced = make("mixup", toy_task), make("remix", toy_task, kappa=1000.0)
    for a, b in zip(plain.mix(basis(24), y, moment()), rebalanced.mix(basis(24), y, moment()), strict=True):
        torch.testing.assert_close(a, b)


# -- text-guided mixup ------------------------------------------------------------------------------------------------


def guided(y_i: list[int], y_j: list[int], now: Moment, **values: Any) -> tuple[Tensor, Tensor]:
    """Pairs of given classes mixed; image i of 2B is white at pixel i."""
    method = make("text_guided_mixup", task_of(COUNTS, near_names()), **values)
    return method.mix(basis(2 * len(y_i)), torch.tensor([*y_i, *y_j]), now)  # type: ignore[no-any-return]


ALL_PAIRS = [(i, j) for i in range(5) for j in range(5) if i != j]
OWN, PARTNER = [i for i, _ in ALL_PAIRS], [j for _, j in ALL_PAIRS]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 1.5])
@pytest.mark.parametrize("keep", [0.0, 0.05, 0.5, 0.97, 1.0])
def test_the_label_moves_by_the_papers_formula_and_is_clamped(alpha: float, keep: float) -> None:
    _, target = guided(OWN, PARTNER, loaded(keep), alpha=alpha)
    for row, (i, j) in zip(target.tolist(), ALL_PAIRS, strict=True):
        shift = alpha * (COUNTS[i] - COUNTS[j]) / (COUNTS[i] + COUNTS[j])
        own = min(1.0, max(0.0, keep - shift))
        np.testing.assert_allclose(row, [own * (c == i) + (1 - own) * (c == j) for c in range(5)], atol=1e-6)


@pytest.mark.parametrize("keep", [0.2, 0.8])
def test_label_mass_moves_to_the_rarer_class_and_never_away_from_it(keep: float) -> None:
    _, target = guided(OWN, PARTNER, loaded(keep), alpha=0.5)
    for row, (i, j) in zip(target.tolist(), ALL_PAIRS, strict=True):
        image_mass = {i: keep, j: 1 - keep}
        rarer = max(i, j)  # classes are numbered from frequent to rare
        assert row[rarer] > image_mass[rarer]


def test_a_pure_head_image_paired_with_the_tail_is_labelled_tail() -> None:
    method = make("text_guided_mixup", task_of((500, 5), near_names(2)), alpha=1.0)
    _, target = method.mix(basis(2), torch.tensor([0, 1]), loaded(1.0))
    np.testing.assert_allclose(target, [[1 - 495 / 505, 495 / 505]], atol=1e-6)  # 98 % tail


def test_images_mix_by_the_weight_itself() -> None:
    mixed, _ = guided(OWN, PARTNER, loaded(0.3), alpha=1.0)
    expected = np.zeros((20, 40))
    for i in range(20):
        expected[i, i], expected[i, 20 + i] = 0.3, 0.7
    np.testing.assert_allclose(weights_read_off(mixed), expected, atol=1e-6)


def test_all_pairs_of_a_batch_share_one_weight() -> None:
    mixed, _ = guided(OWN, PARTNER, moment(seed=1), beta=1.0)
    assert len({float(w) for w in mixed[:, 0, 0, :20].diagonal()}) == 1


def test_each_pair_has_its_own_weight_when_asked_to() -> None:
    mixed, target = guided(OWN, PARTNER, moment(seed=1), beta=1.0, per_sample=True, alpha=0.0)
    own = [float(w) for w in mixed[:, 0, 0, :20].diagonal()]
    assert len(set(own)) == 20
    np.testing.assert_allclose([target[k, i] for k, i in enumerate(OWN)], own, atol=1e-6)


def test_the_weight_of_beta_one_fifth_is_as_extreme_as_published() -> None:
    now, method = moment(), make("text_guided_mixup", task_of((4, 4), near_names(2)), per_sample=True)
    mixed, _ = method.mix(torch.cat([torch.ones(40_000, 1, 1, 1), torch.zeros(40_000, 1, 1, 1)]),
                          torch.arange(80_000) // 40_000, now)  # fmt: skip
    keep = mixed.flatten().numpy()
    assert np.mean((keep < 0.05) | (keep > 0.95)) == pytest.approx(0.583, abs=0.01)
    assert np.mean(np.abs(2 * keep - 1)) == pytest.approx(0.797, abs=0.01)


@pytest.mark.parametrize(
    ("alpha", "ratio", "clamped"), [(0.0, 5.21, 0.03), (0.5, 2.01, 0.43), (1.0, 0.78, 0.54), (1.5, 0.47, 0.75)]
)
def test_the_label_mass_of_head_and_tail_is_the_one_measured_on_the_authors_code(
    alpha: float, ratio: float, clamped: float
) -> None:
    """published/README.md, 3.6: CIFAR-100-LT at IF 100, uniform partners; head and tail: the first and last class."""
    task = task_of(CIFAR100_IF100, np.ones((100, 1), dtype=np.float32))
    method, now = make("text_guided_mixup", task, alpha=alpha, per_sample=True), moment()
    mass, saturated, images_seen = np.zeros(100), 0, 0
    for _ in range(30):
        index = method.draw(np.arange(len(task.labels)), now)
        _, target = method.mix(torch.zeros(len(index), 1, 1, 1), torch.from_numpy(task.labels[index]), now)
        mass += target.double().sum(dim=0).numpy()
        saturated += int((target.max(dim=1).values == 1.0).sum())
        images_seen += len(target)
    assert mass[0] / mass[-1] == pytest.approx(ratio, rel=0.06)
    # The 3 % at alpha 0 are weights of Beta(0.2, 0.2) that are 0 or 1 in float32; published is none.
    assert saturated / images_seen == pytest.approx(clamped, abs=0.015)


# -- cutmix -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 9)])
def test_cutmix_shares_the_label_out_by_the_area_of_the_box(height: int, width: int, toy_task: Task) -> None:
    """Image i is i everywhere: which pixels are whose can be read off."""
    method, y = make("cutmix", toy_task, probability=1.0), labels_of(12)
    x, boxes = torch.arange(12.0)[:, None, None, None].expand(-1, 3, height, width), set()
    for seed in range(60):
        mixed, target = method.mix(x, y, moment(seed=seed))
        partner = np.random.default_rng(seed)
        partner.beta(1.0, 1.0), partner.uniform(0, 1)
        other = partner.permutation(12)
        foreign = mixed != x
        for i in range(12):
            assert set(mixed[i].unique().tolist()) <= {float(i), float(other[i])}
        moved = [i for i in range(12) if other[i] != i]
        box = foreign[moved[0], 0]
        assert all(torch.equal(foreign[i, channel], box) for i in moved for channel in range(3)), "one box per batch"
        rows, columns = box.any(dim=1), box.any(dim=0)
        assert torch.equal(box, rows[:, None] & columns)
        for edge in (rows, columns):
            inside = edge.nonzero().flatten().tolist()
            assert inside == list(range(inside[0], inside[-1] + 1)) if inside else True
        share = float(box.double().mean())
        expected = (1 - share) * torch.eye(5)[y] + share * torch.eye(5)[y[torch.from_numpy(other)]]
        torch.testing.assert_close(target, expected)
        boxes.add((int(rows.sum()), int(columns.sum())))
    assert len(boxes) > 8


@pytest.mark.parametrize(("weight", "side"), [(0.0, 8), (0.75, 4), (1.0, 0)])
def test_cutmix_cuts_boxes_of_side_root_1_minus_lambda(weight: float, side: int, toy_task: Task) -> None:
    method, x = make("cutmix", toy_task, probability=1.0), torch.arange(12.0)[:, None, None, None].expand(-1, 1, 8, 8)
    now, areas = loaded(weight), []
    for _ in range(600):
        mixed, _ = method.mix(x, labels_of(12), now)
        areas.append(int((mixed != x).sum(dim=(1, 2, 3)).max()))
    assert max(areas) == side * side
    assert min(areas) >= (side // 2) ** 2, "cut off at the edges, at most to a quarter"


def test_cutmix_mixes_the_stated_share_of_the_batches(toy_task: Task) -> None:
    method, x = make("cutmix", toy_task, probability=0.3), torch.arange(12.0)[:, None, None, None].expand(-1, 1, 8, 8)
    now = loaded(0.5)
    mixed = sum(bool((method.mix(x, labels_of(12), now)[0] != x).any()) for _ in range(600))
    assert stats.binomtest(mixed, 600, 0.3).pvalue > 1e-3
    off, y = make("cutmix", toy_task, probability=0.0), labels_of(12)
    images, target = off.mix(x, y, now)
    assert torch.equal(images, x)
    assert torch.equal(target, torch.eye(5)[y])
