"""Methods that change while they train: deferred weights, second stages, weights that are scaled at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from ltbench.api import Moment, Stage, Task
from ltbench.parts import Classifier
from ltbench.training.schedule import lr_factor
from tests.methods.made import COUNTS, labels_of, make, moment, one_hot, some_logits, spied, task_of, trained


def test_deferred_weights_set_in_exactly_at_the_stated_fraction(toy_task: Task) -> None:
    drw, target = make("ce_drw", toy_task, defer=0.8), one_hot(labels_of(16))
    plain = make("ce", toy_task).loss(some_logits(), target, moment())
    weighted = make("cb_reweight", toy_task, beta=0.9999).loss(some_logits(), target, moment())
    assert drw.loss(some_logits(), target, moment(float(np.nextafter(0.8, 0)))) == plain
    assert drw.loss(some_logits(), target, moment(0.8)) == weighted
    assert plain != weighted


@pytest.mark.parametrize("steps", [200 * 97, 200 * 85, 19_385, 16_949, 200])
def test_deferred_weights_set_in_at_the_step_of_the_first_lr_drop(steps: int, toy_task: Task) -> None:
    # 19,385 and 16,949 are the steps of 200 epochs of CIFAR-10-LT and CIFAR-100-LT at IF 100 with batches of 128.
    schedule = {"name": "multistep", "milestones": [0.8, 0.9], "gamma": 0.01, "warmup": 0.025, "warmup_stairs": 5}
    drw, target = make("ce_drw", toy_task), one_hot(labels_of(2))
    plain = make("ce", toy_task).loss(some_logits(2), target, moment())
    around = range(int(0.8 * steps) - 2, int(0.8 * steps) + 3)
    weighted = [bool(drw.loss(some_logits(2), target, moment(step / steps)) != plain) for step in around]
    dropped = [lr_factor(schedule, step / steps) < 1 for step in around]
    assert weighted == dropped == [5 * step >= 4 * steps for step in around]


def test_crt_leaves_the_backbone_and_its_batch_norm_untouched_in_the_second_stage() -> None:
    method = spied("crt")(task_of(COUNTS), classifier_share=0.5)
    after = trained(method, backbone="cnn_small").state_dict()
    before = method.states[1]
    body = [k for k in after if k.startswith("backbone")]
    assert any("running_mean" in k for k in body)
    assert all(torch.equal(before[k], after[k]) for k in body)
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_crt_trains_the_backbone_in_the_first_stage() -> None:
    method = spied("crt")(task_of(COUNTS))
    trained(method, backbone="cnn_small")
    first, second = method.states[:2]
    changed = [k for k in first if k.startswith("backbone") and not torch.equal(first[k], second[k])]
    assert len(changed) == len([k for k in first if k.startswith("backbone")])


def test_crt_starts_the_classifier_afresh() -> None:
    class Kept(spied("crt")):  # type: ignore[misc]
        """Notes what the first stage left."""

        def loss(self, logits: Tensor, target: Tensor, now: Moment) -> Tensor:
            if now.stage == "representation":
                self.last_of_first_stage = self.model.head.weight.detach().clone()
            return super().loss(logits, target, now)  # type: ignore[no-any-return]

        def stages(self, model: Classifier) -> Iterator[Stage]:
            self.model = model
            yield from super().stages(model)

    method = Kept(task_of(COUNTS))
    trained(method, epochs=20.0)
    fresh, old = method.states[1]["head.weight"], method.last_of_first_stage
    assert abs(float(torch.corrcoef(torch.stack([fresh.flatten(), old.flatten()]))[0, 1])) < 0.2
    assert float(fresh.std()) == pytest.approx((2 / 128) ** 0.5, rel=0.15)  # Kaiming-normal over 128 features


def test_tau_norm_of_tau_1_leaves_unit_class_vectors_and_no_bias() -> None:
    model = trained(make("tau_norm", task_of(COUNTS), tau=1.0))
    assert isinstance(model.head, torch.nn.Linear)
    torch.testing.assert_close(model.head.weight.detach().norm(dim=1), torch.ones(5))
    assert not model.head.bias.detach().any()


@pytest.mark.parametrize("tau", [0.0, 0.7, 2.0])
def test_tau_norm_divides_class_vectors_by_their_length_to_the_power_tau(tau: float) -> None:
    plain, scaled = (trained(make(name, task_of(COUNTS), **values)).head.weight.detach().double()
                     for name, values in (("ce", {}), ("tau_norm", {"tau": tau})))  # fmt: skip
    for before, after in zip(plain.tolist(), scaled.tolist(), strict=True):
        length = math.sqrt(sum(v * v for v in before))
        np.testing.assert_allclose(after, [v / length**tau for v in before], rtol=1e-5)
