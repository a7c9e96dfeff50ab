"""The way of a plan through this process: journal first, nothing twice, bit-equal whatever the order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ltbench.data.sources.source import Source
from ltbench.execution.resources import Resources
from ltbench.execution.run_plan import bring_up_to_date, run_plan, state_of
from ltbench.metrics import Predictions, from_predictions
from ltbench.planning.resolve import Inputs
from ltbench.results.folders import Folders
from ltbench.results.journal import Journal
from ltbench.spec import Plan, Record, TrialSpec
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

Make = Callable[..., TrialSpec]


class Sink:
    """Stands for MLflow: notes what it is sent, and that the journal had it first."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.sent = journal, list[Record]()

    def send(self, record: Record) -> None:
        assert self.journal.read(record.key) is not None, "the journal comes first"
        self.sent.append(record)


def plan_of(*trials: TrialSpec) -> Plan:
    protocol = {"primary": "balanced_accuracy", "report": ["few"], "reference": "ce", "seeds": [0, 1]}
    return Plan(suite="test", question="", trials=trials, skips=(), protocol=protocol)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Folders(tmp_path, "test").journal


@pytest.fixture
def inputs(digits: Source) -> Inputs:
    return Inputs({"digits": digits}, {})


def run(plan: Plan, inputs: Inputs, site: Site, journal: Journal) -> Sink:
    sink = Sink(journal)
    run_plan(plan, inputs, site, journal, sink, Resources(inline=True))
    return sink


def test_every_record_is_in_the_journal_before_it_is_sent_on(
    make_spec: Make, inputs: Inputs, site: Site, journal: Journal
) -> None:
    sink = run(plan_of(make_spec("ce"), make_spec("mixup")), inputs, site, journal)
    assert [r.spec.method for r in sink.sent] == ["ce", "mixup"]
    assert all(r.status == "ok" for r in sink.sent)


def test_the_merged_suite_is_kept_beside_the_records(tmp_path: Path) -> None:
    from ltbench.execution.run_plan import write_plan
    from ltbench.suite import Suite
    from ltbench.suite.load import load_suite

    child = tmp_path / "child.yaml"
    quickstart = Path(__file__).parents[2] / "suites" / "quickstart.yaml"
    child.write_text(f"extends: {quickstart}\nsuite: child\n")
    suite = load_suite(str(child), ["recipes.scratch.epochs=3"])
    folders = Folders(tmp_path, "child")
    write_plan(folders, plan_of(), suite)
    kept = Suite.model_validate_json((folders.suite_folder / "suite.json").read_text())
    assert kept == suite
    assert kept.recipes["scratch"].epochs == 3
    assert [e.name for e in kept.datasets] == ["digits"]


def test_finished_trials_do_not_run_again(make_spec: Make, inputs: Inputs, site: Site, journal: Journal) -> None:
    plan = plan_of(make_spec("ce"), make_spec("ce", seed=1))
    run(plan.without({plan.trials[1].key}), inputs, site, journal)
    left = state_of(plan, journal).to_run(plan, retry_failed=False)
    assert [t.seed for t in left.trials] == [1]


def test_a_failed_trial_waits_for_retry_failed(make_spec: Make, inputs: Inputs, site: Site, journal: Journal) -> None:
    good, bad = make_spec("ce"), make_spec("ce", seed=1)
    journal.write(Record(spec=good, status="ok"))
    journal.write(Record(spec=bad, status="failed", error="boom"))
    plan = plan_of(good, bad, make_spec("mixup"))
    state = state_of(plan, journal)
    assert [t.method for t in state.to_run(plan, retry_failed=False).trials] == ["mixup"]
    assert [t.key for t in state.to_run(plan, retry_failed=True).trials] == [bad.key]


def test_records_are_bit_equal_whatever_ran_before(make_spec: Make, site: Site) -> None:
    specs = [make_spec("text_guided_mixup"), make_spec("crt"), make_spec("remix", seed=3)]
    forward = {s.key: run_trial(s, site).numbers() for s in specs}
    backward = {s.key: run_trial(s, site).numbers() for s in reversed(specs)}
    assert forward == backward


def test_different_seeds_give_different_numbers(make_spec: Make, site: Site) -> None:
    a, b = (run_trial(make_spec("ce", seed=s), site) for s in (0, 1))
    assert a.metrics["nll"] != b.metrics["nll"]


def test_methods_of_one_seed_share_their_start_and_their_order(make_spec: Make, site: Site) -> None:
    """Pairing by seed rests on this: post-hoc logit adjustment trains exactly as cross-entropy does."""
    plain, adjusted = (run_trial(make_spec(m), site) for m in ("ce", "logit_adjustment"))
    assert plain.curves == adjusted.curves
    assert plain.metrics != adjusted.metrics


def test_an_error_becomes_a_record_with_its_traceback(make_spec: Make, site: Site) -> None:
    record = run_trial(replace(make_spec("ce"), method="no_such_method"), site)
    assert record.status == "failed"
    assert "no_such_method" in (record.error or "")
    assert record.metrics == {}


def test_other_code_than_the_plan_had_is_refused_with_both(make_spec: Make, site: Site) -> None:
    spec = make_spec("mixup")
    record = run_trial(replace(spec, code="0123456789ab"), site)
    assert (record.status, record.metrics) == ("failed", {})
    assert (record.error or "").startswith("UserError: the method 'mixup' is other code here (fingerprint ")
    assert f"{spec.code}) than the trial was planned with (0123456789ab)" in (record.error or "")


def test_other_images_than_the_plan_had_are_refused_with_both(make_spec: Make, site: Site) -> None:
    """Also when the right ones of the same data set are at hand in this process."""
    spec = make_spec("ce")
    assert run_trial(spec, site).status == "ok"
    for cell in (replace(spec.cell, manifest="0" * 16), replace(spec.cell, subset_seed=1)):
        record = run_trial(replace(spec, cell=cell), replace(site, data=site.data / ".." / site.data.name))
        assert record.status == "failed"
        assert "UserError: data set 'digits' has other images here (manifest " in (record.error or "")
        assert f"than the trial was planned with ({cell.manifest})" in (record.error or "")


def test_an_interrupt_is_not_swallowed(make_spec: Make, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ltbench.training.assemble.load_cell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_trial(make_spec("ce"), site)


def test_metrics_follow_from_the_stored_predictions(make_spec: Make, site: Site) -> None:
    import io

    import numpy as np

    record = run_trial(make_spec("ce"), site)
    stored = np.load(io.BytesIO(record.predictions or b""), allow_pickle=False)
    counts = [int(n) for n in record.per_class["train_images"]]
    found = Predictions(stored["label"], stored["confidence"])
    metrics, classes = from_predictions(found, stored["truth"], counts, record.spec.shots)
    assert classes == record.per_class
    assert metrics == {k: v for k, v in record.metrics.items() if k != "nll"}


def test_new_shot_thresholds_and_names_change_records_without_running_again(
    make_spec: Make, inputs: Inputs, site: Site, journal: Journal
) -> None:
    before = make_spec("ce")
    run(plan_of(before), inputs, site, journal)
    after = replace(before, label="baseline", shots={"many": 50, "few": 10})
    plan, sink = plan_of(after), Sink(journal)
    bring_up_to_date(plan, state_of(plan, journal), journal, sink)
    old, new = run_trial(before, site), journal.read(after.key)
    assert new is not None
    assert new.spec.label == "baseline"
    assert old.metrics["few"] != new.metrics["few"]
    assert {k: v for k, v in old.metrics.items() if k not in ("many", "medium", "few")} == {
        k: v for k, v in new.metrics.items() if k not in ("many", "medium", "few")
    }
    assert [r.key for r in sink.sent] == [after.key]
    assert journal.predictions(after.key) is not None


def test_a_hold_out_is_never_trained_on_and_its_curve_is_named_so(make_spec: Make, site: Site, digits: Source) -> None:
    from ltbench.data.longtail import manifest, select

    counts = digits.facts().train_counts
    train, held = select(counts, imbalance=20, profile="exp", subset_seed=0, holdout_per_class=5)
    plain = make_spec("ce")
    mark = manifest(digits.facts().fingerprint, {}, train, held)
    spec = replace(plain, cell=replace(plain.cell, holdout_per_class=5, manifest=mark), curves="holdout")
    record = run_trial(spec, site)
    assert record.status == "ok", record.error
    assert "curve/holdout_balanced_accuracy" in record.curves
    assert sum(record.per_class["train_images"]) < sum(run_trial(plain, site).per_class["train_images"])


@pytest.mark.parametrize("epochs", [1.0, 2.5, 44.0])
def test_a_curve_ends_with_the_last_epoch(make_spec: Make, site: Site, epochs: float) -> None:
    """44 epochs: a point every third would leave the last one out."""
    record = run_trial(replace(make_spec("ce", recipe={"epochs": epochs}), curves="test"), site)
    points = record.curves["curve/test_balanced_accuracy"]
    assert points[-1][0] == pytest.approx(epochs, abs=0.1)
    assert points[-1][1] == pytest.approx(record.metrics["balanced_accuracy"])
    assert len(points) <= 21


def test_curves_do_not_change_what_is_trained(make_spec: Make, site: Site) -> None:
    plain = make_spec("ce")
    watched = run_trial(replace(plain, curves="test"), site)
    assert "curve/test_balanced_accuracy" in watched.curves
    assert watched.metrics == run_trial(plain, site).metrics
    assert replace(plain, curves="test").key == plain.key
