"""Which trials share training, what a plan says of it, and when what they leave for each other goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ltbench.api import Method, Stage
from ltbench.execution.sharing import Sharing, group_of, groups_of, sharing_text, trainers
from ltbench.parts import Classifier
from ltbench.registry import Registry
from ltbench.results.journal import Journal
from ltbench.spec import Record, TrialSpec
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

Make = Callable[..., TrialSpec]
Run = Callable[..., tuple[int, str, str]]
TINY = {"epochs": 2.0, "batch_size": 64}


@pytest.fixture
def place(site: Site, tmp_path: Path) -> Site:
    """A site with a place for checkpoints."""
    (tmp_path / "checkpoints").mkdir()
    return replace(site, checkpoints=tmp_path / "checkpoints")


def run_all(specs: Sequence[TrialSpec], site: Site) -> list[Record]:
    """One after the other, with what they may share, as a run does."""
    there = replace(site, shared=Sharing(specs, site).groups)
    return [run_trial(spec, there) for spec in specs]


def class_of(spec: TrialSpec) -> type[Method]:
    return Registry().get(spec.method)


# -- which trials ------------------------------------------------------------------------------------------------------


def test_groups_are_of_trials_that_differ_in_nothing_that_trains(make_spec: Make) -> None:
    registry = Registry()
    spec = make_spec("ce")

    def group(spec: TrialSpec) -> str | None:
        return group_of(spec, registry.get(spec.method))

    assert group(spec) == group(make_spec("tau_norm")) == group(make_spec("logit_adjustment", tau=2.0)) is not None
    assert group(spec) == group(replace(spec, label="other", suite="other"))
    others = [
        replace(spec, seed=1),
        replace(spec, recipe={**spec.recipe, "epochs": 3.0}),
        replace(spec, cell=replace(spec.cell, manifest="0" * 12)),
        replace(spec, cell=replace(spec.cell, holdout_per_class=5)),
        replace(spec, role="search"),
        replace(spec, numerics=spec.numerics + 1),
    ]
    groups = [group(other) for other in [spec, *others]]
    assert None not in groups
    assert len(set(groups)) == len(groups)


def test_methods_that_train_in_a_way_of_their_own_share_nothing(make_spec: Make) -> None:
    """Of the built-in methods: each is where it is because of what it overrides, not of a list."""
    registry = Registry()
    alone = {name for name in registry.names() if group_of(make_spec(name), registry.get(name)) is None}
    assert {"ce", "tau_norm", "logit_adjustment", "crt", "cb_sampling"}.isdisjoint(alone)
    assert {"balanced_softmax", "focal", "mixup", "text_guided_mixup", "ldam_drw", "ce_drw", "vs_loss"} <= alone
    assert {"sam", "ema", "ncm"} <= alone, "a step, or a forward, of their own"


def test_a_curve_shows_what_is_predicted_so_it_is_not_shared_with_another_prediction(make_spec: Make) -> None:
    registry = Registry()
    ce, adjusted = (replace(make_spec(name), curves="test") for name in ("ce", "logit_adjustment"))
    assert group_of(adjusted, registry.get("logit_adjustment")) is None
    assert group_of(ce, registry.get("ce")) is not None


def test_a_method_that_fails_on_the_made_up_task_or_is_unknown_has_no_group(make_spec: Make) -> None:
    class Picky(Method):
        """Works with a hundred classes."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            assert self.task.num_classes == 100
            yield Stage()

    spec = make_spec("ce")
    assert group_of(spec, Picky) is None
    assert groups_of([replace(spec, method="nobody_knows")], class_of) == {}


def test_a_stage_inside_a_with_is_not_shared(make_spec: Make) -> None:
    """Autocast, a patch, anything: while the stage trains, it is in force and in no state."""

    class Plain(Method):
        """A `with` between stages is none around one."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            with torch.no_grad():
                model.head.get_parameter("weight").mul_(0.5)
            yield Stage()

    class Wrapped(Plain):
        """The stage of another, in a `with`."""

        def stages(self, model: Classifier) -> Iterator[Stage]:
            with torch.autocast("cpu"):
                yield from super().stages(model)

    class Inherits(Wrapped):
        """Has it from its base."""

    spec = make_spec("ce")
    assert group_of(spec, Plain) is not None
    assert group_of(spec, Wrapped) is None
    assert group_of(spec, Inherits) is None


def test_what_a_plan_says_is_what_happens(make_spec: Make, place: Site) -> None:
    """Of all built-in methods that train as the harness does: who takes over whose training is foretold without
    training, and cRT, whose first stage is shorter, does not wait for cross-entropy."""
    names = [name for name in Registry().names() if group_of(make_spec(name), Registry().get(name)) is not None]
    specs = [make_spec(name, recipe=TINY) for name in names if not Registry().get(name).needs & {"clip", "blocks"}]
    specs += [make_spec("crt", recipe=TINY, classifier_share=0.5), make_spec("tau_norm", recipe=TINY, tau=0.5)]
    foretold = trainers(specs, groups_of(specs, class_of))
    assert {spec.method for spec in specs if spec.key in foretold} == {"logit_adjustment", "tau_norm", "lws"}
    records = run_all(specs, place)
    assert [record.error for record in records] == [None] * len(specs)
    happened = {r.key: r.environment["trained_by"] for r in records if "trained_by" in r.environment}
    assert happened == {key: spec.key for key, spec in foretold.items()}
    assert sharing_text(specs, foretold) == (
        f"trained once: ce for logit_adjustment and tau_norm; crt for lws. 4 of {len(specs)} trials take training over"
    )


def test_settings_of_one_row_are_said_to_be_trained_by_the_first(make_spec: Make) -> None:
    specs = [
        replace(make_spec("tau_norm", tau=tau), role="search", label=f"tn+{i}") for i, tau in enumerate((0.5, 1.0))
    ]
    taken = trainers(specs, groups_of(specs, class_of))
    assert sharing_text(specs, taken) == "trained once: tn for its other settings. 1 of 2 trials take training over"
    assert sharing_text(specs[:1], {}) == ""


# -- what is left goes when nobody wants it any more -------------------------------------------------------------------


def test_what_is_shared_goes_with_the_last_trial_of_its_group(make_spec: Make, place: Site) -> None:
    specs = [make_spec(name, recipe=TINY) for name in ("ce", "tau_norm", "logit_adjustment")]
    sharing = Sharing(specs, place)
    run_trial(specs[0], replace(place, shared=sharing.groups))
    assert isinstance(place.checkpoints, Path)
    (file,) = place.checkpoints.glob("shared-*/*.ckpt")
    for spec in specs[:2]:
        sharing.finished(spec.key)
        assert file.exists()
    sharing.finished(specs[2].key)
    assert not file.exists()


def test_a_later_run_uses_what_an_earlier_one_left_and_sweeps_the_rest(make_spec: Make, place: Site) -> None:
    """The earlier one was killed; of its trials, one of a group of two is left, and none of another group."""
    mine, other = ([make_spec(name, recipe=TINY, seed=seed) for name in ("ce", "tau_norm")] for seed in (0, 1))
    run_trial(mine[0], replace(place, shared=Sharing(mine, place).groups))
    shared = replace(place, shared={spec.key: "f" * 12 for spec in other})
    run_trial(other[0], shared)
    assert isinstance(place.checkpoints, Path)
    assert len(list(place.checkpoints.glob("shared-*"))) == 2
    (record,) = run_all(mine[1:], place)
    assert record.environment["trained_by"] == mine[0].key
    assert len(list(place.checkpoints.glob("shared-*"))) == 1


def test_a_trial_alone_in_its_group_leaves_nothing(make_spec: Make, place: Site) -> None:
    assert Sharing([make_spec("ce"), make_spec("ce", seed=1), make_spec("mixup")], place).groups == {}


def test_a_run_leaves_records_and_nothing_shared_and_can_be_told_not_to_share(ltbench: Run, tmp_path: Path) -> None:
    """The whole command; both ways give the same leaderboard."""
    small = ("run", "quickstart", "--inline", "--set", "methods.scratch=[ce, tau_norm]", "--seeds", "0,1",
             "--set", "recipes.scratch.epochs=1")  # fmt: skip
    boards = []
    for share, taken in (("true", 4), ("false", 0)):
        results = tmp_path / share
        command = (*small, "--results", str(results), "--set", f"resources.share_training={share}")
        code, out, err = ltbench(*command)
        assert code == 0, err
        boards.append(out[out.index("quickstart: balanced accuracy") :])
        records = Journal(results / "quickstart" / "records").records().values()
        assert sum("trained_by" in record.environment for record in records) == taken
        assert ("note    trained once: ce for tau_norm. 4 of 8 trials take training over" in out) == bool(taken)
        assert list((results / "quickstart" / "checkpoints").iterdir()) == []
    assert boards[0] == boards[1]
    code, out, _ = ltbench("plan", *small[1:2], *small[3:], "--results", str(tmp_path / "none"))
    assert "trained once: ce for tau_norm. 4 of 8 trials take training over" in out
    code, out, _ = ltbench("plan", *small[1:2], *small[3:], "--set", "resources.share_training=false")
    assert "trained once" not in out
