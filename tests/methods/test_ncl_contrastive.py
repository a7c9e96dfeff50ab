"""NCL's contrastive term against its equation in float64, its limits, and what is averaged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ltbench.api import Task
from tests.methods.made import make, moment, one_hot, task_of
from tests.methods.test_views import B, C, assert_equations, model_of, numbers, unit

K, WIDTH, HELD = 3, 6, 7


def several(seed: int) -> Tensor:
    return torch.stack([numbers(B, C, seed=seed + k) for k in range(K)], dim=1)


@pytest.mark.parametrize(("contrast", "temperature", "there"), [(1.0, 0.2, HELD), (0.5, 0.07, 4), (1.0, 0.2, 0)])
def test_every_network_tells_its_key_from_its_queue(
    contrast: float, temperature: float, there: int, toy_task: Task
) -> None:
    """combiner.py, multi_network_default_CON: one positive, the queue's keys as negatives, summed over the networks.
    Beside its lines in Bazinga699/NCL (f64fddb), on the same tensors in float64: value and gradients agree to 1e-9."""
    labels = [i % C for i in range(B)]
    keys = nn.functional.normalize(torch.stack([numbers(B, WIDTH, seed=30 + k) for k in range(K)], dim=1), dim=2)
    queue = nn.functional.normalize(torch.stack([numbers(HELD, WIDTH, seed=40 + k) for k in range(K)]), dim=2)
    marks = torch.where(torch.arange(HELD) < there, 1, -1).expand(K, HELD)
    ncl, method = make("ncl", toy_task), make("ncl_contrastive", toy_task, contrast=contrast, temperature=temperature)
    target = one_hot(torch.tensor(labels)).repeat(2, 1)

    def reference(logits: Tensor, query: Tensor) -> Tensor:
        whole = ncl.loss(logits, target[:B].to(logits), moment())  # has tests of its own
        for k in range(K):
            terms = []
            for i in range(B):
                q = unit(query[i, k])
                positive = torch.exp(q @ keys[i, k].double() / temperature)
                negatives = [torch.exp(q @ v.double() / temperature) for v in queue[k, :there]]
                terms.append(-torch.log(positive / (positive + sum(negatives, torch.zeros(()).double()))))
            whole = whole + contrast * torch.stack(terms).mean()
        return whole

    def found(logits: Tensor, query: Tensor) -> Tensor:
        return torch.as_tensor(method.loss((logits, query, keys, queue, marks), target, moment()))

    assert_equations(found, reference, [several(3), torch.stack([numbers(B, WIDTH, seed=s) for s in (7, 8, 9)], dim=1)])


def test_without_contrast_it_is_ncl(toy_task: Task) -> None:
    query, keys, queue = torch.randn(B, K, WIDTH), torch.randn(B, K, WIDTH), torch.randn(K, HELD, WIDTH)
    out, target = (several(3), query, keys, queue, torch.ones(K, HELD)), one_hot(torch.arange(B) % C)
    plain = make("ncl", toy_task).loss(several(3), target, moment())
    torch.testing.assert_close(
        make("ncl_contrastive", toy_task, contrast=0.0).loss(out, target.repeat(2, 1), moment()), plain
    )


def test_networks_read_the_first_view_and_their_averages_the_second() -> None:
    method = make("ncl_contrastive", task_of((100, 50, 20, 10, 5)), momentum=0.9, keys=16)
    model = model_of(method)
    stage = next(iter(method.stages(model)))
    views, y = torch.randn(2, B, 1, 6, 6), torch.arange(B) % C
    x, target = method.mix(views, y, moment())
    assert (len(x), len(target)) == (2 * B, 2 * B)
    model.eval(), method.query.eval(), method.key.model.eval()
    _logits, query, keys, queue, labels = method.forward(model, x, moment())
    assert (labels == -1).all(), "what was held before this batch"
    assert queue.abs().max() == 0
    networks = list(model.backbone.get_submodule("backbone.stages").children())
    for k, (network, pair, average) in enumerate(zip(networks, method.query.both, method.key.model.both, strict=True)):
        torch.testing.assert_close(query[:, k], pair[1](network(views[0])))
        torch.testing.assert_close(keys[:, k], nn.functional.normalize(average(views[1]), dim=1))
        assert torch.equal(method.queues[k].features[:B], keys[:, k])
        assert method.queues[k].labels[:B].tolist() == y.tolist()
    assert not keys.requires_grad
    before = [p.detach().clone() for p in method.key.model.parameters()]

    def gradients() -> Tensor:
        stage.optimizer.zero_grad()
        loss = method.loss(method.forward(model, x, moment()), target, moment())
        loss.backward()
        return loss.detach()

    method.step(gradients, stage.optimizer, moment())
    for old, own, average in zip(before, method.query.parameters(), method.key.model.parameters(), strict=True):
        torch.testing.assert_close(average, 0.9 * old + 0.1 * own)


def test_what_trains_is_the_networks_and_their_projections() -> None:
    method = make("ncl_contrastive", task_of((100, 50, 20, 10, 5)))
    model = model_of(method)
    stage = next(iter(method.stages(model)))
    ids = {id(p) for group in stage.optimizer.param_groups for p in group["params"]}
    assert ids == {id(p) for p in [*model.parameters(), *method.query.parameters()]}
    assert not ids & {id(p) for p in method.key.parameters()}
