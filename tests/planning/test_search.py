"""`protocol.search`: equal budgets, draws that depend on little, a choice that never sees the test set."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltbench.api import Choice, LogUniform, Uniform
from ltbench.errors import UserError
from ltbench.execution.exported import main as run_bundle
from ltbench.hyperparameters import Draws, ranges_of, settings_of
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.planning.search import choose
from ltbench.ranking.formats.choices import choice_text, search_notes
from ltbench.registry import Registry
from ltbench.results.journal import Journal
from ltbench.spec import Plan, Record, Result, TrialSpec
from ltbench.suite import MethodEntry
from ltbench.suite.load import load_suite
from ltbench.suite.search import Search
from ltbench.training import assemble
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

SUITE = """\
suite: small
text: {encoder: bundled}
datasets: [{name: digits, imbalance: [20, 50]}]
recipes:
  scratch: {backbone: mlp, epochs: 1, batch_size: 32, optimizer: {name: sgd, lr: 0.05}}
methods:
  scratch:
    - ce
    - logit_adjustment: {search: {tau: {uniform: [0.2, 2.0]}}}
    - mixup: {alpha: 0.7}
protocol:
  search: {trials: 3, seed: 5, holdout_per_class: 10}
  final: {seeds: [0, 1]}
resources: {executor: inline}
"""
REGISTRY = Registry()
Run = Callable[..., tuple[int, str, str]]
Planned = Callable[..., Plan]


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(SUITE)
    return file


@pytest.fixture
def planned(suite_file: Path, data_root: Path) -> Planned:
    """`planned("protocol.search.trials=4", read=journal.read)`: the small suite's plan."""

    def make(*overrides: str, read: Callable[[str], Record | None] = lambda key: None) -> Plan:
        return make_plan(resolve(load_suite(str(suite_file), overrides), REGISTRY, data_root), read)[0]

    return make


@pytest.fixture
def ltbench(ltbench: Run, tmp_path: Path) -> Run:
    """The command line, with results and MLflow's store in `tmp_path`; messages in one line."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code, out, err = ltbench(*arguments, "--results", str(tmp_path / "results"))
        return code, out, " ".join(err.split())

    return run


# -- where to look ----------------------------------------------------------------------------------------------------

U = st.floats(0, 1, exclude_max=True)


@given(U, st.floats(-5, 5), st.floats(0.01, 10))
def test_a_uniform_draw_is_in_its_range_and_where_it_should_be(u: float, low: float, width: float) -> None:
    value = Uniform(low, low + width).at(u)
    assert low <= value <= low + width
    assert value == pytest.approx(low + u * width, abs=1e-3 * max(abs(low), abs(low + width)))


@given(U, st.floats(1e-4, 1), st.floats(1.5, 1e4))
def test_a_loguniform_draw_is_in_its_range_and_where_it_should_be(u: float, low: float, times: float) -> None:
    value = LogUniform(low, low * times).at(u)
    assert low <= value <= low * times
    assert np.log(value / low) / np.log(times) == pytest.approx(u, abs=0.01)


def test_a_choice_gives_every_value_its_share() -> None:
    values = [Choice("a", "b", "c").at(u) for u in np.linspace(0, 1, 300, endpoint=False)]
    assert [values.count(v) for v in "abc"] == [100, 100, 100]


def how(**changes: Any) -> Search:
    return Search(**{"trials": 6, "seed": 3, "holdout_per_class": 1, **changes})


def drawn(method: str, search: Search, given_: dict[str, Any] | None = None, **ranges: Any) -> list[dict[str, Any]]:
    row = MethodEntry.model_validate(
        {"method": method, "label": method, "hyperparameters": given_ or {}, "search": ranges or None}
    )
    cls = REGISTRY.get(method)
    own = {name: given.range for name, given in row.search.items()} if row.search else None
    declared, place = cls.hyperparameters, f"{method}.search"
    where, written = ranges_of(declared, row.hyperparameters, own, place), cls.complete(row.hyperparameters, method)
    return settings_of(declared, written, where, Draws(search.seed, search.trials), place)


def test_the_first_setting_is_the_row_as_it_is_written() -> None:
    assert drawn("text_guided_mixup", how())[0] == REGISTRY.get("text_guided_mixup").complete({})
    assert drawn("text_guided_mixup", how(), {"alpha": 0.3})[0]["alpha"] == 0.3


def test_what_a_row_gives_a_value_is_not_searched() -> None:
    settings = drawn("text_guided_mixup", how(), {"alpha": 0.3})
    assert {s["alpha"] for s in settings} == {0.3}
    assert len({s["tau"] for s in settings}) == 6
    assert len(drawn("text_guided_mixup", how(), {"alpha": 0.3, "tau": 0.1})) == 1
    assert len(drawn("ce", how())) == 1


def test_a_rows_own_ranges_stand_for_the_methods() -> None:
    settings = drawn("text_guided_mixup", how(), None, beta={"uniform": [5.0, 6.0]})
    assert all(5 <= s["beta"] <= 6 for s in settings[1:])
    assert {s["tau"] for s in settings} == {0.05}


def test_more_trials_leave_the_earlier_ones_and_equal_ranges_get_equal_draws() -> None:
    tau = {"uniform": [0.2, 2.0]}
    few = drawn("tau_norm", how(trials=4), None, tau=tau)
    many = drawn("tau_norm", how(trials=9), None, tau=tau)
    assert many[:4] == few
    assert len(many) == 9
    assert [s["tau"] for s in drawn("logit_adjustment", how(trials=9), None, tau=tau)][1:] == [s["tau"] for s in many][
        1:
    ]
    assert drawn("tau_norm", how(trials=4, seed=4), None, tau=tau)[1:] != few[1:]


def test_a_setting_is_tried_once() -> None:
    settings = drawn("mixup", how(trials=50), None, alpha={"choice": [1.0, 0.2]})
    assert [s["alpha"] for s in settings] == [1.0, 0.2]


# -- what is chosen ---------------------------------------------------------------------------------------------------


@pytest.fixture
def record(make_spec: Callable[..., TrialSpec]) -> Callable[..., Record]:
    spec = make_spec()

    def make(value: float | None = None, error: str | None = None) -> Record:
        metrics = {"balanced_accuracy": value, "nll": value}
        return Record(spec=spec, status="failed" if error else "ok", metrics={} if error else metrics, error=error)

    return make


def test_the_best_mean_over_the_cells_is_chosen(record: Callable[..., Record]) -> None:
    tried = [[record(50.0), record(60.0)], [record(58.0), record(59.0)], [record(70.0), record(30.0)]]
    assert choose(tried, "balanced_accuracy") == (1, [55.0, 58.5, 50.0])
    assert choose(tried, "nll")[0] == 2, "lower is better"


def test_of_equal_settings_the_first_is_chosen(record: Callable[..., Record]) -> None:
    tried = [[record(50.0)], [record(50.0)], [record(49.0)]]
    assert choose(tried, "balanced_accuracy")[0] == 0
    assert choose(tried, "nll")[0] == 2


def test_a_setting_that_diverges_is_not_chosen(record: Callable[..., Record]) -> None:
    gone = record(error="Diverged: the mean loss is nan")
    assert choose([[gone, record(99.0)], [record(10.0), record(10.0)]], "balanced_accuracy") == (1, [None, 10.0])
    assert "no setting of its search has a balanced accuracy" in str(choose([[gone], [gone]], "balanced_accuracy"))


def test_nothing_is_chosen_from_a_part_or_from_failures(record: Callable[..., Record]) -> None:
    assert choose([[record(50.0)], [None]], "balanced_accuracy") == "1 of the 2 trials of its search have not run"
    broken = record(error="Traceback ...\nKeyError: 3")
    assert choose([[record(50.0)], [broken]], "balanced_accuracy") == "1 of the 2 trials of its search failed"


# -- the plan ---------------------------------------------------------------------------------------------------------


def test_search_trials_are_held_out_and_rows_wait_for_them(planned: Planned) -> None:
    plan = planned()
    assert plan.search is not None
    assert {t.label for t in plan.trials} == {"ce", "mixup"}, "nothing is searched for these"
    assert {s.label for s in plan.skips} == {"logit_adjustment"}
    assert plan.skips[0].reason == "6 of the 6 trials of its search have not run"
    assert {t.row for t in plan.search.trials} == {"logit_adjustment"}
    for t in plan.search.trials:
        assert (t.role, t.seed, t.suite, t.curves) == ("search", 5, "small-search", "none")
        assert (t.cell.scored_on, t.cell.holdout_per_class) == ("holdout", 10)
        assert t.cell.label.endswith(", held out")
    assert all(t.cell.scored_on == "test" and t.cell.holdout_per_class == 0 for t in (*plan.trials, *plan.later))
    assert [(t.label, t.seed) for t in plan.later] == 2 * [("logit_adjustment", 0)] + 2 * [("logit_adjustment", 1)]


def test_a_chosen_setting_makes_the_trial_that_somebody_would_have_written(planned: Planned) -> None:
    """Its key, too: what was found by a search is not run again when it is written down."""
    search = planned().search
    assert search is not None
    best = {t.cell.imbalance: t for t in search.trials if t.label == "logit_adjustment+2"}
    records = {t.key: Record(spec=t, status="ok", metrics={"balanced_accuracy": 60.0 + (t.label[-1] == "2")})
               for t in search.trials}  # fmt: skip
    plan = planned(read=records.get)
    tau = best[20.0].hyperparameters["tau"]
    written = planned("protocol.search=null", f"methods.scratch=[ce, {{logit_adjustment: {{tau: {tau}}}}}]")
    assert {t.key for t in plan.trials if t.label == "logit_adjustment"} == {
        t.key for t in written.trials if t.label == "logit_adjustment"
    }
    assert not plan.skips
    assert not plan.later
    chosen = plan.protocol["search"]["chosen"]["logit_adjustment"]
    assert chosen == {"hyperparameters": {"tau": tau}, "setting": 2, "settings": 3, "score": 61.0, "as_written": 60.0}


def test_keys_of_the_search_are_not_those_of_the_final_trials(planned: Planned) -> None:
    plan = planned("protocol.holdout_per_class=10", "protocol.final.seeds=[5]")
    assert plan.search is not None
    same = [t for t in plan.search.trials if t.label == "logit_adjustment+0"]
    final = planned("protocol.search=null", "protocol.holdout_per_class=10", "protocol.final.seeds=[5]",
                    "methods.scratch=[logit_adjustment]")  # fmt: skip
    assert {t.cell.manifest for t in same} == {t.cell.manifest for t in final.trials}, "the same images"
    assert {t.hyperparameters["tau"] for t in same} == {t.hyperparameters["tau"] for t in final.trials}
    assert not {t.key for t in same} & {t.key for t in final.trials}


def test_the_search_is_on_all_data_sets_whatever_is_chosen(suite_file: Path, data_root: Path) -> None:
    from ltbench.spec import Selection

    suite = load_suite(str(suite_file), ["datasets=[{name: digits, imbalance: 20}, {name: more, kind: digits, "
                                         "imbalance: 50}]"])  # fmt: skip
    plan, inputs = make_plan(resolve(suite, REGISTRY, data_root, Selection(datasets=["more"], seeds=[0])))
    assert plan.search is not None
    assert {t.cell.dataset for t in plan.search.trials} == {"digits", "more"} == set(inputs.sources)
    assert {t.cell.dataset for t in plan.trials} == {"more"}


def test_a_setting_that_two_rows_try_is_one_trial(planned: Planned) -> None:
    row = "{{logit_adjustment: {{as: {}, search: {{tau: {{uniform: [{}, 2.0]}}}}}}}}"
    plan = planned(f"methods.scratch=[{row.format('a', 0.2)}, {row.format('b', 0.3)}]")
    assert plan.search is not None
    keys = [t.key for t in plan.search.trials]
    assert len(set(keys)) == len(keys) == 10
    assert plan.search.protocol["reference"] in plan.search.expectation().rows


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("protocol.search=null", r"small.yaml, line \d+: methods.scratch.1: .*no `protocol.search:`"),
        ("protocol.search.trials=1", r"protocol.search.trials: .*equal to 2, got 1"),
        ("protocol.search.holdout_per_class=0", r"protocol.search.holdout_per_class"),
        ("protocol.search.holdout_per_class=500", r"protocol.search: data set 'digits': a hold-out of 500"),
        ("protocol.search.select=balanced_acuracy", r"search.select: unknown metric.*Did you mean 'balanced_accuracy'"),
        ("protocol.search.grid=1", r"protocol.search.grid"),
        ("methods.scratch=[{mixup: {search: {alpah: {uniform: [0.1, 1]}}}}]", r"methods.scratch.*'alpah'.*'alpha'"),
        (
            "methods.scratch=[{mixup: {search: {alpha: {uniform: [-1, 1]}}}}]",
            r"mixup.search.alpha: -1.0 is not allowed",
        ),
        ("methods.scratch=[{mixup: {search: {alpha: {choice: [a]}}}}]", r"mixup.search.alpha: expected a number"),
        ("methods.scratch=[{mixup: {search: {alpha: {uniform: [2, 1]}}}}]", "lower end must be below"),
        ("methods.scratch=[{mixup: {search: {alpha: {loguniform: [0, 1]}}}}]", "must be above 0"),
        ("methods.scratch=[{mixup: {search: {alpha: {normal: [0, 1]}}}}]", "normal"),
        ("methods.scratch=[{mixup: {search: {alpha: {}}}}]", "give one of `uniform"),
        (f"methods.scratch=[{{mixup: {{as: {'m' * 79}}}}}]", "methods.scratch.0: .*too long a name for a row"),
        (f"suite={'s' * 75}", "suite: .*too long a name for a suite with a search"),
        ("methods.scratch=[{mixup: {search: {alpha: {uniform: [1]}}}}]", "search.alpha.uniform"),
        ("methods.scratch=[{mixup: {alpha: 1, search: {alpha: {uniform: [1, 2]}}}}]", "a value and a range for alpha"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_place_and_cure(planned: Planned, change: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        planned(change)


# -- a trial ----------------------------------------------------------------------------------------------------------


def test_a_trial_of_a_search_is_blind_to_the_test_set(
    planned: Planned, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other test images and labels it has the same numbers, and they are of the held-out images."""
    search = planned().search
    assert search is not None
    honest = run_trial(search.trials[0], site)
    assert honest.status == "ok", honest.error
    load_cell = assemble.load_cell

    def garbled(*arguments: Any) -> Any:
        data, facts = load_cell(*arguments)
        return replace(data, test_x=255 - data.test_x, test_y=data.test_y[::-1].copy()), facts

    monkeypatch.setattr(assemble, "load_cell", garbled)
    assert run_trial(search.trials[0], site).numbers() == honest.numbers()
    assert honest.per_class["test_images"] == [10.0] * 10
    final = replace(search.trials[0], role="final", cell=replace(search.trials[0].cell, options={}))
    assert run_trial(final, site).numbers()["metrics"] != honest.numbers()["metrics"]


# -- whole commands ---------------------------------------------------------------------------------------------------


def test_a_run_searches_then_trains_what_was_chosen(ltbench: Run, suite_file: Path, tmp_path: Path) -> None:
    code, out, err = ltbench("plan", str(suite_file))
    assert code == 0
    assert out.startswith("search: 6 trials: 6 to run, 0 finished, 0 failed; scored on 10 training images per class")
    assert "trials to run     settings    digits IF20    digits IF50    chosen" in out
    assert "small: 12 trials: 8 to run, 0 finished, 0 failed, 4 after the search" in out
    assert "logit_adjustment  2 after its search  2 after its search" in out
    code, out, err = ltbench("run", str(suite_file))
    assert code == 0, err
    assert "small-search: 6 trials to run" in err
    assert "small: 12 trials to run" in err
    assert "search: logit_adjustment: tau" in err
    flat = " ".join(out.split())
    assert "Searched on 10 training images per class that were held out, never on the test set" in flat
    assert "best of 3 settings" in flat
    board = out[out.index("small: balanced accuracy") :]
    assert "held out" not in board.partition("Searched on")[0]
    assert "logit_adjustment+" not in board, "no setting of the search is on the leaderboard"
    finals = Journal(tmp_path / "results" / "small" / "records").records().values()
    assert len(finals) == 12
    assert {r.spec.role for r in finals} == {"final"}
    tried = Journal(tmp_path / "results" / "small-search" / "records").records().values()
    taus = [next(r.spec.hyperparameters["tau"] for r in tried if r.spec.label == f"logit_adjustment+{i}")
            for i in range(3)]  # fmt: skip
    best = max(range(3), key=lambda i: sum(r.metrics["balanced_accuracy"] or 0 for r in tried
                                           if r.spec.label == f"logit_adjustment+{i}"))  # fmt: skip
    tau = taus[best]
    assert {r.spec.hyperparameters["tau"] for r in finals if r.spec.label == "logit_adjustment"} == {tau}

    code, out, err = ltbench("run", str(suite_file))
    assert code == 0
    assert "small-search: 0 trials to run, 6 finished before" in err
    assert "small: 0 trials to run, 12 finished before" in err
    code, out, _ = ltbench("leaderboard", "small")
    assert code == 0
    assert "Searched on 10 training images" in " ".join(out.split())
    code, out, _ = ltbench("leaderboard", "small", "--format", "json")
    assert json.loads(out)["config"]["search"]["chosen"]["logit_adjustment"]["hyperparameters"] == {"tau": tau}
    assert ltbench("report", "small")[0] == 0
    page = (tmp_path / "results" / "small" / "report" / "report.html").read_text()
    assert "What the search of hyper-parameters cost comes on top" in page
    assert "best of 3 settings" in page
    code, out, _ = ltbench("leaderboard", "small-search")
    assert code == 0
    flat = " ".join(out.split())
    assert "no number of this table is a test result" in flat
    assert f"logit_adjustment, tau: +0 1; +1 {taus[1]:g}; +2 {taus[2]:g}." in flat


BREAKS = """\
import os

from ltbench.api import Method, Uniform, hp

class Breaks(Method):
    \"\"\"Fails where its hyper-parameter is small.\"\"\"

    paper, defaults_from = "none", "none"
    level: float = hp(1.0, "what it fails by", search=Uniform(0.0, 1.0))

    def loss(self, logits, target, now):
        if self.level < 0.9 and "BREAKS" in os.environ:
            raise RuntimeError("too small")
        return -(target * logits.log_softmax(1)).sum(1).mean() * self.level
"""


def test_a_row_whose_search_fails_waits_and_the_others_run(
    ltbench: Run, suite_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = tmp_path / "methods"
    methods.mkdir()
    (methods / "breaks.py").write_text(BREAKS)
    monkeypatch.setenv("BREAKS", "1")
    arguments = ("run", str(suite_file), "--methods", str(methods), "--set", "methods.scratch=[ce, breaks]",
                 "--set", "datasets=[{name: digits, imbalance: 20}]")  # fmt: skip
    code, out, err = ltbench(*arguments)
    assert code == 1
    assert "breaks does not run: 2 of the 3 trials of its search failed" in err
    assert "too small" in err
    assert "--retry-failed" in err
    assert "ce" in out
    monkeypatch.delenv("BREAKS")
    code, out, err = ltbench(*arguments, "--retry-failed")
    assert "small-search: 2 trials to run, 1 finished before, 2 failed before" in err
    assert "search: breaks: level" in err
    assert "2 trials did not run; the same command continues" in err, "those that follow from the search never failed"
    code, out, err = ltbench(*arguments)
    assert code == 0, err
    assert "small: 2 trials to run, 2 finished before" in err


@pytest.mark.nightly
def test_a_search_that_was_stopped_goes_on_before_anything_follows_from_it(
    ltbench: Run, suite_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, command = list[TrialSpec](), ("run", str(suite_file), "--set", "resources.share_training=false")

    def stopped_in_the_third(spec: TrialSpec, *rest: Any) -> Record:
        begun.append(spec)
        if len(begun) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return run_trial(spec, *rest)

    monkeypatch.setattr("ltbench.training.limited.run_trial", stopped_in_the_third)
    code, out, err = ltbench(*command)
    assert code == 143
    assert "stopped: 4 of 6 trials are left, 1 of them with a checkpoint; the same command continues" in err
    assert not (tmp_path / "results" / "small" / "records").exists()
    code, out, err = ltbench(*command)
    assert code == 0, err
    assert "small-search: 4 trials to run, 2 finished before" in err
    resumed = Journal(tmp_path / "results" / "small-search" / "records").records()[begun[2].key]
    assert resumed.environment["resumed"]
    assert "12 of 12 trials, 0 failed" in out


def test_a_setting_that_diverges_is_no_failure_of_the_suite(ltbench: Run, suite_file: Path, tmp_path: Path) -> None:
    methods = tmp_path / "methods"
    methods.mkdir()
    raises = BREAKS[BREAKS.index("        if self") : BREAKS.index("        return")]
    melts = BREAKS.replace(raises, "").replace("* self.level", "* (1.0 if self.level > 0.9 else float('inf'))")
    (methods / "melts.py").write_text(melts)
    code, out, err = ltbench("run", str(suite_file), "--methods", str(methods), "--set", "methods.scratch=[ce, melts]",
                             "--set", "datasets=[{name: digits, imbalance: 20}]")  # fmt: skip
    assert code == 0, err
    assert "search: melts: level 1, as written: best of 3 settings" in err
    assert "trials failed" not in err
    code, out, _ = ltbench("leaderboard", "small-search")
    assert "3 trials, 2 failed" in out


@pytest.mark.nightly
def test_what_is_kept_of_a_search_is_whole_whatever_is_chosen(ltbench: Run, suite_file: Path, tmp_path: Path) -> None:
    """`--only` runs a part; the plan beside the records still says what belongs to the search."""
    more = ("--set", "methods.scratch=[ce, logit_adjustment, mixup]")
    assert ltbench("run", str(suite_file), *more)[0] == 0
    assert ltbench("run", str(suite_file), *more, "--only", "mixup")[0] == 0
    kept = json.loads((tmp_path / "results" / "small-search" / "plan.json").read_text())
    assert {label.partition("+")[0] for label in kept["rows"]} == {"logit_adjustment", "mixup"}
    kept = json.loads((tmp_path / "results" / "small" / "plan.json").read_text())
    assert set(kept["rows"]) == {"ce", "logit_adjustment", "mixup"}


def test_exported_search_trials_come_back_by_import(ltbench: Run, suite_file: Path, tmp_path: Path) -> None:
    """A machine without Ray or MLflow runs them; then the plan goes on with what they chose."""
    there = tmp_path / "there"
    code, out, _ = ltbench("plan", str(suite_file), "--only", "logit_adjustment", "--export", str(there))
    assert code == 0
    assert "Wrote 6 trials" in out
    assert run_bundle([*map(str, sorted(there.glob("*.json"))), "--out", str(there / "records")]) == 0
    code, out, _ = ltbench("import", str(there / "records"))
    assert code == 0
    assert "small-search: 6 new records" in out
    code, out, _ = ltbench("plan", str(suite_file), "--only", "logit_adjustment")
    assert out.startswith("search: 6 trials: 0 to run, 6 finished, 0 failed")
    assert "small: 4 trials: 4 to run" in out


def test_results_of_a_search_are_not_ranked_with_others(planned: Planned) -> None:
    from ltbench.ranking.build import build

    search = planned().search
    assert search is not None
    ours = replace(search.trials[0], suite="small", role="final", cell=replace(search.trials[0].cell, options={}))
    results = [
        Result.of(Record(spec=replace(spec, suite="small"), status="ok", metrics={"balanced_accuracy": 50.0}))
        for spec in (search.trials[1], ours)
    ]
    with pytest.raises(UserError, match="are of held-out training images, others of its test set"):
        build(results)


def test_a_choice_in_words() -> None:
    choice = {"hyperparameters": {"tau": 0.5, "flag": True}, "setting": 2, "settings": 8, "score": 61.25,
              "as_written": 60.0}  # fmt: skip
    assert choice_text(choice, "balanced_accuracy") == (
        "tau 0.5, flag True: best of 8 settings, balanced accuracy 61.2 (as written: 60.0)"
    )
    assert "(as written: diverged)" in choice_text({**choice, "as_written": None}, "balanced_accuracy")
    assert "flag True, as written: best" in choice_text({**choice, "setting": 0}, "balanced_accuracy")
    assert search_notes(None) == search_notes({"chosen": {}}) == []
