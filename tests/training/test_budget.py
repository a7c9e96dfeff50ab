"""What a training costs is counted in the loop: steps, images, passes, parameters; and may be made equal in images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltbench.api import Method, Moment, Stage
from ltbench.errors import UserError
from ltbench.metric_names import COSTS
from ltbench.spec import Record, Result, TrialSpec
from ltbench.tracking.mlflow_runs import metrics_of, result_of, tags_of
from ltbench.training.budget import Spent, images_per_example
from ltbench.training.checkpoints.checkpoint import Stopped
from ltbench.training.engine import train
from ltbench.training.graph.use import GraphUse
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.training.test_engine import task_of

Make = Callable[..., TrialSpec]
SHORT: dict[str, Any] = {"epochs": 1.0}
COUNTED = ("optimizer_steps", "images_read", "forward_passes", "backward_passes", "parameters", "trained_parameters")


def costs(record: Record) -> dict[str, float]:
    assert record.status == "ok", record.error
    return {name: record.environment[name] for name in COUNTED}


@pytest.mark.parametrize(("method", "images", "passes"), [("ce", 1, 1), ("text_guided_mixup", 2, 1), ("sam", 1, 2)])
def test_a_record_says_what_its_training_cost(
    make_spec: Make, site: Site, method: str, images: int, passes: int
) -> None:
    spec = make_spec(method, recipe=SHORT)
    record = run_trial(spec, site)
    found, steps = costs(record), record.environment["optimizer_steps"]
    assert steps == -(-sum(record.per_class["train_images"]) // spec.recipe["batch_size"])
    assert found["images_read"] == steps * spec.recipe["batch_size"] * images
    assert (found["forward_passes"], found["backward_passes"]) == (steps * passes, steps * passes)
    assert found["parameters"] == found["trained_parameters"] > 0
    assert (record.environment["images_per_example"], record.environment["passes_per_step"]) == (images, passes)


def test_parameters_that_no_stage_trains_are_not_trained() -> None:
    from torch import nn, optim

    model, spent = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), Spent()
    spent.begin(model)
    spent.trains(optim.SGD(model[1].parameters(), lr=0.1), 0)
    assert (spent.told(8)["parameters"], spent.told(8)["trained_parameters"]) == (26, 10)


def test_a_look_reads_images_and_passes_forward_alone(make_spec: Make, site: Site) -> None:
    record = run_trial(make_spec("ncm", recipe=SHORT), site)
    found = costs(record)
    assert found["forward_passes"] > found["backward_passes"] == found["optimizer_steps"]
    assert found["images_read"] > record.spec.recipe["batch_size"] * found["optimizer_steps"]


def test_a_trial_that_was_interrupted_counts_what_it_trained_before(
    make_spec: Make, site: Site, tmp_path: Path
) -> None:
    spec, kept = make_spec("text_guided_mixup", recipe=SHORT), replace(site, checkpoints=tmp_path)
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        run_trial(spec, kept, stop=lambda: next(asked, True))
    resumed = run_trial(spec, kept)
    assert resumed.environment["resumed"] == 1
    assert costs(resumed) == costs(run_trial(spec, site))


def test_a_training_whose_beginning_was_not_counted_is_not_told() -> None:
    """A checkpoint of an earlier version holds no counts."""
    from torch import nn, optim

    spent, model = Spent(), nn.Linear(2, 2)
    spent.begin(model)
    spent.trains(optim.SGD(model.parameters(), lr=0.1), 10)
    spent.stepped(8)
    assert spent.told(8).keys() == {"parameters", "trained_parameters"}


def test_a_recorded_pass_counts_as_the_pass_that_it_is() -> None:
    """Recorded or not, the loop asked for as many gradients."""
    from ltbench.parts import Classifier
    from tests.training.test_engine import CPU, RECIPE, BatchOrder, Clock, Flat, Setup, batches_of

    def spent_by(graphs: GraphUse | None) -> dict[str, float]:
        task = task_of()
        order = BatchOrder(task.labels, 5, 8, np.random.default_rng(1))
        recipe = {**RECIPE, "batch_size": 8, "epochs": 3.0}
        setup = Setup(batches_of(), order, Clock(np.random.default_rng(2), CPU), recipe, graphs=graphs)
        method = Method(task)
        train(Classifier(Flat(), method.head(1)), method, setup)
        return setup.spent.told(8)

    recorded = GraphUse.emulated()
    assert spent_by(recorded) == spent_by(None)
    assert recorded.problem is None


# -- as many images for every row --------------------------------------------------------------------------------------


def test_a_row_that_reads_two_images_for_an_example_takes_half_the_steps(make_spec: Make, site: Site) -> None:
    alike = {"epochs": 2.0, "budget": "images"}
    plain, two = (run_trial(make_spec(m, recipe=alike), site) for m in ("ce", "text_guided_mixup"))
    a, b = costs(plain), costs(two)
    assert abs(b["optimizer_steps"] - a["optimizer_steps"] / 2) <= 1
    assert abs(a["images_read"] - b["images_read"]) <= 2 * plain.spec.recipe["batch_size"]
    assert two.curves["train/loss"][-1][0] == pytest.approx(2.0, abs=0.1), "an epoch is as many images as before"


def test_a_row_that_reads_one_image_for_an_example_trains_as_ever(make_spec: Make, site: Site) -> None:
    plain, alike = (run_trial(make_spec("ce", recipe={**SHORT, **more}), site) for more in ({}, {"budget": "images"}))
    assert plain.metrics == alike.metrics
    assert plain.key != alike.key


def test_asking_draw_leaves_the_method_as_it_was() -> None:
    class Twice(Method):
        asked = 0

        def draw(self, index: Any, now: Moment) -> Any:
            self.asked += 1
            return np.concatenate([index, self.task.pick(self.task.labels[index], now.rng)])

    method = Twice(task_of())
    before = [deck.copy() for deck in method.task._cycles._decks]
    assert images_per_example(method, 8) == 2.0
    assert method.asked == 0
    assert all((a == b).all() for a, b in zip(before, method.task._cycles._decks, strict=True))
    assert images_per_example(Method(task_of()), 8) == 1.0


def test_a_draw_that_needs_the_training_is_refused() -> None:
    class Late(Method):
        def stages(self, model: Any) -> Iterator[Stage]:
            self.begun = True
            yield from super().stages(model)

        def draw(self, index: Any, now: Moment) -> Any:
            assert self.begun
            return index

    with pytest.raises(UserError, match="does not say before the training how many images it reads"):
        images_per_example(Late(task_of()), 8)


# -- on its way to a board ---------------------------------------------------------------------------------------------


def test_mlflow_and_the_journal_tell_the_same_costs(make_spec: Make, site: Site) -> None:
    record = run_trial(make_spec("sam", recipe=SHORT), site)
    own = Result.of(record)
    stored = {point.name: point.value for point in metrics_of(record)}
    assert result_of(tags_of(record, ""), stored, record.spec.suite).budget == own.budget
    assert own.budget.keys() == COSTS.keys() - {"gpu_hours"}
