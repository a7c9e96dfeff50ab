"""Which images a batch has: class-balanced sampling, and the partners of text-guided mixup."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from ltbench.api import Task
from ltbench.parts import Classifier
from tests.methods.made import COUNTS, images, make, moment, near_names, spied, task_of, trained


@pytest.mark.parametrize(("sampling", "power"), [("class_balanced", 0.0), ("square_root", 0.5)])
def test_class_balanced_sampling_asks_for_the_stated_frequencies(sampling: str, power: float, toy_task: Task) -> None:
    (stage,) = make("cb_sampling", toy_task, sampling=sampling).stages(Classifier(torch.nn.Identity(), torch.nn.ReLU()))
    mass = [n**power for n in COUNTS]
    np.testing.assert_allclose(stage.class_probs, [m / sum(mass) for m in mass], rtol=1e-12)


def test_crt_sees_all_classes_equally_often_in_the_second_stage() -> None:
    method = spied("crt")(task_of(COUNTS), classifier_share=0.5)
    trained(method, epochs=20.0)
    first, second = (np.bincount(images()[1][np.concatenate(method.drawn[s])], minlength=5)
                     for s in ("representation", "classifier"))  # fmt: skip
    np.testing.assert_allclose(first / first.sum(), np.array(COUNTS) / sum(COUNTS), atol=0.01)
    assert stats.chisquare(second).pvalue > 1e-3


def partner_probs(text: NDArray[np.float32], tau: float) -> NDArray[np.float64]:
    """p(j | i): softmax of cosine over tau with the own class left out, in float64 loops."""
    vectors = text.astype(np.float64)
    num_classes = len(vectors)
    probs = np.zeros((num_classes, num_classes))
    for i in range(num_classes):
        scores = {j: float(vectors[i] @ vectors[j]) / tau for j in range(num_classes) if j != i}
        top = max(scores.values())
        total = sum(math.exp(s - top) for s in scores.values())
        for j, s in scores.items():
            probs[i, j] = math.exp(s - top) / total
    return probs


@pytest.mark.parametrize("tau", [0.002, 0.05, 1.0])
def test_partner_classes_follow_the_softmax_of_their_names_likeness(tau: float) -> None:
    cdf = make("text_guided_mixup", task_of(COUNTS, near_names()), tau=tau).partner_cdf
    np.testing.assert_allclose(np.diff(cdf, axis=1, prepend=0.0), partner_probs(near_names(), tau), atol=1e-6)


@pytest.mark.parametrize("tau", [0.01, 0.05, 1.0])
def test_a_class_is_never_its_own_partner(tau: float) -> None:
    cdf = make("text_guided_mixup", task_of(COUNTS, near_names()), tau=tau).partner_cdf
    assert (np.diag(np.diff(cdf, axis=1, prepend=0.0)) == 0.0).all()
    assert (cdf[:, -1] == 1.0).all()


@pytest.mark.parametrize("label", range(5))
def test_partners_are_drawn_with_these_frequencies(label: int) -> None:
    task = task_of(COUNTS, near_names())
    index = np.full(20_000, int(np.flatnonzero(task.labels == label)[0]))
    drawn = make("text_guided_mixup", task, tau=0.3).draw(index, moment())
    found = np.bincount(task.labels[drawn[20_000:]], minlength=5) / 20_000
    assert found[label] == 0
    np.testing.assert_allclose(found, partner_probs(near_names(), 0.3)[label], atol=4 * (0.25 / 20_000) ** 0.5)


def test_the_own_images_come_first_and_are_those_of_the_batch() -> None:
    index = np.array([3, 150, 184, 7], dtype=np.int64)
    drawn = make("text_guided_mixup", task_of(COUNTS, near_names())).draw(index, moment())
    assert len(drawn) == 8
    np.testing.assert_array_equal(drawn[:4], index)


def test_partner_images_of_a_class_all_come_before_one_comes_again() -> None:
    task = task_of(COUNTS, near_names())
    method, now, rng = make("text_guided_mixup", task, tau=1.0), moment(), np.random.default_rng(5)
    seen: dict[int, list[int]] = {c: [] for c in range(5)}
    for _ in range(60):
        for position in method.draw(rng.permutation(185)[:32], now)[32:].tolist():
            seen[int(task.labels[position])].append(position)
    for c, n in enumerate(COUNTS):
        cycles = [seen[c][k : k + n] for k in range(0, len(seen[c]) - n + 1, n)]
        assert len(cycles) >= 2
        assert all(sorted(cycle) == np.flatnonzero(task.labels == c).tolist() for cycle in cycles)
        assert n < 10 or cycles[0] != cycles[1], "each cycle has an order of its own"
