"""Wrong suites: each is refused in the first second, by one message with the place, the cause and the cure."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ltbench import cli
from ltbench.errors import UserError, exponent_hint
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.spec import SAFE_NAME
from ltbench.suite import Suite
from ltbench.suite.load import load_suite

GOOD = """\
suite: small
text: {encoder: bundled}
datasets:
  - name: digits
    imbalance: [20, 50]
    profile: exp
    subset_seed: 0
recipes:
  scratch:
    backbone: mlp
    epochs: 2
    batch_size: 32
    optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
    schedule: {name: cosine, warmup: 0.05}
    augment: crop
    precision: fp32
methods:
  scratch:
    - ce
    - mixup
    - text_guided_mixup: {tau: 0.1}
protocol:
  final: {seeds: [0, 1], report: [few]}
  shots: {many: 50, few: 20}
  reference: ce
  curves: none
resources:
  per_trial: {cpus: 1}
  retries: 2
"""
BIG_BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{x}: &{x} [{', '.join(['*' + chr(ord(x) - 1)] * 9)}]\n" for x in "bcdefgh"
)


class Wrong(NamedTuple):
    """One edit that makes the good suite bad, where it must be said to be wrong, and words that must be in it."""

    name: str
    old: str
    new: str
    key: str
    says: tuple[str, ...]

    def text(self) -> str:
        assert GOOD.count(self.old) == 1, f"{self.old!r} must stand once in the good suite"
        return GOOD.replace(self.old, self.new)

    def line(self) -> int:
        return GOOD[: GOOD.index(self.old)].count("\n") + 1


# The cause and the cure: what is wrong, and the nearest right name, the allowed values or what to write instead.
WRONG = [
    # unknown keys, at every level
    Wrong("key_of_suite", "suite: small", "suite: small\nmethod: x", "method", ("unknown key", "'methods'")),
    Wrong("key_of_text", "{encoder: bundled}", "{encoder: bundled, modle: x}", "text.modle",
          ("unknown key", "encoder")),
    Wrong("key_of_dataset", "profile: exp", "profil: exp", "datasets.0.profil", ("unknown key", "'profile'")),
    Wrong("option_of_another_kind", "profile: exp", "size: 32", "datasets.0.size", ("unknown key", "Known: ")),
    Wrong("key_of_recipe", "epochs: 2", "epoch: 2", "recipes.scratch.epoch", ("unknown key", "'epochs'")),
    Wrong("key_of_optimizer", "lr: 0.05", "lr: 0.05, momentun: 0", "recipes.scratch.optimizer.momentun",
          ("unknown key", "'momentum'")),
    Wrong("key_of_schedule", "warmup: 0.05", "warm_up: 0.05", "recipes.scratch.schedule.warm_up",
          ("unknown key", "'warmup'")),
    Wrong("key_of_protocol", "reference: ce", "referense: ce", "protocol.referense", ("unknown key", "'reference'")),
    Wrong("key_of_final", "report: [few]", "reports: [few]", "protocol.final.reports", ("unknown key", "'report'")),
    Wrong("key_of_shots", "many: 50", "meny: 50", "protocol.shots.meny", ("unknown key", "'many'")),
    Wrong("key_of_resources", "retries: 2", "retry: 2", "resources.retry", ("unknown key", "'retries'")),
    Wrong("key_of_per_trial", "cpus: 1", "cpu: 1", "resources.per_trial.cpu", ("unknown key", "'cpus'")),
    # unknown names
    Wrong("dataset_name", "name: digits", "name: digit", "datasets.0.name", ("unknown data set 'digit'", "'digits'")),
    Wrong("dataset_kind", "name: digits", "name: mine\n    kind: folders", "datasets.0.kind",
          ("unknown data set 'folders'", "'folder'")),
    Wrong("method", "    - mixup", "    - mixpu", "line 20: methods.scratch.1", ("unknown method 'mixpu'", "'mixup'")),
    Wrong("backbone", "backbone: mlp", "backbone: resnet_32", "recipes.scratch",
          ("unknown backbone 'resnet_32'", "'resnet32'")),
    Wrong("optimizer", "name: sgd", "name: sdg", "recipes.scratch.optimizer", ("unknown name 'sdg'", "'sgd'")),
    Wrong("schedule", "name: cosine", "name: cosin", "recipes.scratch.schedule", ("unknown name 'cosin'", "'cosine'")),
    Wrong("encoder", "encoder: bundled", "encoder: bundle", "text", ("unknown encoder 'bundle'", "'bundled'")),
    Wrong("primary_metric", "curves: none", "primary: acuracy", "protocol.primary",
          ("unknown metric 'acuracy'", "'accuracy'")),
    Wrong("reported_metric", "report: [few]", "report: [fewer]", "protocol.final.report",
          ("unknown metric 'fewer'", "'few'")),
    Wrong("hyperparameter", "{tau: 0.1}", "{taw: 0.1}", "line 21: methods.scratch.2",
          ("text_guided_mixup", "'taw'", "'tau'")),
    Wrong("profile", "profile: exp", "profile: expo", "datasets.0.profile", ("'expo'", "'exp', 'step' or 'native'")),
    Wrong("augment", "augment: crop", "augment: corp", "recipes.scratch.augment", ("'corp'", "'crop'")),
    Wrong("precision", "precision: fp32", "precision: fp16", "recipes.scratch.precision", ("'fp16'", "'bf16'")),
    Wrong("curves", "curves: none", "curves: train", "protocol.curves", ("'train'", "'holdout'")),
    Wrong("key_of_method", "retries: 2", "methods: {ce: {cpu: 1}}", "resources.methods.ce.cpu", ("unknown", "'cpus'")),
    Wrong("method_of_resources", "retries: 2", "methods: {mixupp: {cpus: 1}}", "resources.methods.mixupp",
          ("not among the methods", "Did you mean 'mixup'?")),
    Wrong("gpus_and_memory", "cpus: 1", "gpus: 1, gpu_memory_gb: 8", "resources.per_trial", ("keep one of them",)),
    Wrong("gpus_of_method", "retries: 2", "methods: {ce: {gpus: 0.5, gpu_memory_gb: 8}}", "resources.methods.ce",
          ("`gpus` and `gpu_memory_gb`", "keep one of them")),
    Wrong("gpus_and_a_half", "cpus: 1", "gpus: 1.5", "resources.per_trial", ("a share of one GPU", "1.5")),
    Wrong("no_memory", "cpus: 1", "gpu_memory_gb: 0", "resources.per_trial.gpu_memory_gb", ("greater than 0",)),
    Wrong("executor", "retries: 2", "executor: slurm", "resources.executor", ("'slurm'", "'inline'")),
    Wrong("checkpoint_seconds", "retries: 2", "checkpoint_seconds: 0", "resources.checkpoint_seconds", ("0",)),
    Wrong("reference", "reference: ce", "reference: mixip", "protocol.reference", ("'mixip'", "'mixup'")),
    Wrong("recipe_of_methods", "methods:\n  scratch:", "methods:\n  scartch:", "methods.scartch",
          ("no recipe 'scartch'", "'scratch'")),
    # wrong types
    Wrong("lr_read_as_text", "lr: 0.05", "lr: 1e-5", "recipes.scratch.optimizer.lr", ("1e-5", "text", "write 1.0e-05")),
    Wrong("lr_is_a_word", "lr: 0.05", "lr: small", "recipes.scratch.optimizer.lr", ("expected a number", "'small'")),
    Wrong("tau_read_as_text", "{tau: 0.1}", "{tau: 1e-2}", "line 21: methods.scratch.2",
          ("1e-2", "text", "write 0.01")),
    Wrong("tau_is_true", "{tau: 0.1}", "{tau: true}", "line 21: methods.scratch.2",
          ("tau", "expected a number", "True")),
    Wrong("epochs_is_a_list", "epochs: 2", "epochs: [2]", "recipes.scratch.epochs", ("number", "[2]")),
    Wrong("half_a_batch", "batch_size: 32", "batch_size: 32.5", "recipes.scratch.batch_size", ("whole number", "32.5")),
    Wrong("suite_is_no", "suite: small", "suite: no", "suite", ("must be a text", "False")),
    Wrong("suite_is_a_number", "suite: small", "suite: 5", "suite", ("must be a text", "5")),
    Wrong("seeds_is_a_number", "seeds: [0, 1]", "seeds: 5", "protocol.final.seeds", ("must be a list", "5")),
    Wrong("seed_is_a_fraction", "seeds: [0, 1]", "seeds: [0.5]", "protocol.final.seeds.0", ("whole number", "0.5")),
    Wrong("datasets_is_a_mapping", "  - name: digits\n    imbalance: [20, 50]\n    profile: exp\n    subset_seed: 0",
          "  {digits: 20}", "datasets", ("must be a list",)),
    Wrong("datasets_is_a_number", "  - name: digits\n    imbalance: [20, 50]\n    profile: exp\n    subset_seed: 0",
          "  20", "datasets", ("must be a list",)),
    Wrong("datasets_is_true", "  - name: digits\n    imbalance: [20, 50]\n    profile: exp\n    subset_seed: 0",
          "  true", "datasets", ("must be a list",)),
    Wrong("imbalance_is_a_word", "imbalance: [20, 50]", "imbalance: strong", "datasets.0.imbalance", ("'strong'",)),
    Wrong("method_is_a_number", "    - mixup", "    - 5", "methods.scratch.1", ("method's name", "got 5")),
    Wrong("two_methods_in_one_row", "    - mixup", "    - {mixup: {}, focal: {}}", "methods.scratch.1",
          ("method's name", "focal")),
    Wrong("row_name_is_a_number", "    - mixup", "    - mixup: {as: 5}", "methods.scratch.1", ("must be a text", "5")),
    Wrong("optimizer_is_a_name", "{name: sgd, lr: 0.05, momentum: 0.9}", "sgd", "recipes.scratch.optimizer",
          ("mapping", "'sgd'")),
    Wrong("nesterov_is_a_word", "momentum: 0.9", "nesterov: maybe", "recipes.scratch.optimizer.nesterov",
          ("true or false", "'maybe'")),
    # out of range
    Wrong("imbalance_below_1", "[20, 50]", "[0.5]", "datasets.0.imbalance.0", ("greater than or equal to 1", "0.5")),
    Wrong("imbalance_infinite", "[20, 50]", "[.inf]", "datasets.0.imbalance.0", ("finite",)),
    Wrong("imbalance_above_what_there_is", "[20, 50]", "[500]", "data set 'digits'", ("500", "at most 128")),
    Wrong("holdout_above_what_there_is", "curves: none", "holdout_per_class: 500", "holdout_per_class", ("500", "124")),
    Wrong("hyperparameter_out_of_range", "{tau: 0.1}", "{tau: -1.0}", "methods.scratch", ("tau", "-1.0", "> 0")),
    Wrong("hyperparameter_infinite", "{tau: 0.1}", "{tau: .inf}", "methods.scratch", ("tau", "inf")),
    Wrong("no_epochs", "epochs: 2", "epochs: 0", "recipes.scratch.epochs", ("greater than 0", "got 0")),
    Wrong("endless_epochs", "epochs: 2", "epochs: .inf", "recipes.scratch.epochs", ("finite",)),
    Wrong("lr_not_a_number", "lr: 0.05", "lr: .nan", "recipes.scratch.optimizer.lr", ("nan",)),
    Wrong("momentum_1", "momentum: 0.9", "momentum: 1.0", "recipes.scratch.optimizer.momentum", ("less than 1",)),
    Wrong("seed_negative", "seeds: [0, 1]", "seeds: [-1]", "protocol.final.seeds.0", ("-1", "0")),
    Wrong("milestone_in_epochs", "{name: cosine, warmup: 0.05}", "{name: multistep, gamma: 0.1, milestones: [160]}",
          "recipes.scratch.schedule.milestones.0", ("less than or equal to 1", "160")),
    Wrong("one_beta", "{name: sgd, lr: 0.05, momentum: 0.9}", "{name: adam, lr: 0.05, betas: [0.9]}",
          "recipes.scratch.optimizer.betas", ("2",)),
    Wrong("few_above_many", "{many: 50, few: 20}", "{many: 20, few: 50}", "protocol.shots", ("`few`", "`many`")),
    # empty and missing
    Wrong("no_datasets", "  - name: digits\n    imbalance: [20, 50]\n    profile: exp\n    subset_seed: 0", "  []",
          "datasets", ("must not be empty",)),
    Wrong("no_imbalances", "[20, 50]", "[]", "datasets.0.imbalance", ("must not be empty",)),
    Wrong("no_seeds", "seeds: [0, 1]", "seeds: []", "protocol.final.seeds", ("must not be empty",)),
    Wrong("no_report", "report: [few]", "report: []", "protocol.final.report", ("must not be empty",)),
    Wrong("no_methods", "  scratch:\n    - ce\n    - mixup\n    - text_guided_mixup: {tau: 0.1}", "  scratch: []",
          "methods.scratch", ("must not be empty",)),
    Wrong("imbalance_missing", "    imbalance: [20, 50]\n", "", "datasets.0", ("imbalance", "profile: native")),
    Wrong("name_missing", "name: digits", "kind: digits", "datasets.0.name", ("missing",)),
    Wrong("lr_missing", "lr: 0.05, ", "", "recipes.scratch.optimizer.lr", ("missing",)),
    Wrong("suite_missing", "suite: small\n", "", "suite", ("missing",)),
    Wrong("optimizer_name_missing", "{name: sgd, lr: 0.05, momentum: 0.9}", "{lr: 0.05}", "recipes.scratch.optimizer",
          ("`name:`",)),
    # twice
    Wrong("key_twice", "augment: crop", "augment: crop\n    epochs: 3", "recipes.scratch.epochs", ("written twice",)),
    Wrong("dataset_twice", "  - name: digits\n", "  - {name: digits, imbalance: 10}\n  - name: digits\n",
          "datasets.1.name", ("'digits'", "own name")),
    Wrong("row_twice", "    - mixup\n", "    - mixup\n    - mixup\n", "methods.scratch.2", ("'mixup'", "`as:`")),
    Wrong("seed_twice", "seeds: [0, 1]", "seeds: [1, 1]", "protocol.final.seeds", ("twice", "[1, 1]")),
    Wrong("imbalance_twice", "[20, 50]", "[20, 20.0]", "datasets.0.imbalance", ("twice",)),
    Wrong("trial_twice", "    - mixup\n", "    - mixup\n    - {mixup: {as: mixup_1, alpha: 1.0}}\n",
          "'mixup_1' on digits", ("'mixup'", "remove one")),
    Wrong("images_twice", "  - name: digits\n",
          "  - {name: same, kind: digits, imbalance: [20], profile: exp}\n  - name: digits\n", "on same IF20",
          ("digits", "remove one")),
    # settings that contradict each other
    Wrong("native_with_imbalance", "profile: exp", "profile: native", "datasets.0.imbalance", ("native", "remove one")),
    Wrong("curves_without_holdout", "curves: none", "curves: holdout", "protocol.curves", ("`holdout_per_class:`",)),
    Wrong("folder_without_path", "name: digits", "name: mine\n    kind: folder", "datasets.0",
          ("add `path:`", "train/")),
    Wrong("digits_with_path", "profile: exp", "path: here", "datasets.0", ("remove `path:`",)),
    Wrong("text_file_without_path", "{encoder: bundled}", "{encoder: file}", "text.path", ("missing",)),
    Wrong("text_file_absent", "{encoder: bundled}", "{encoder: file, path: no.npz}", "text.path",
          ("no.npz", "does not exist")),
    Wrong("colour_backbone_on_grey", "backbone: mlp", "backbone: resnet18", "recipes.scratch",
          ("'resnet18'", "colour", "1 channel")),
    Wrong("nesterov_without_momentum", "momentum: 0.9", "momentum: 0.0, nesterov: true", "recipes.scratch.optimizer",
          ("nesterov", "momentum")),
    # names that could leave a folder or break a table
    Wrong("suite_climbs_out", "suite: small", "suite: ../x", "suite", ("'../x'", "letters")),
    Wrong("dataset_climbs_out", "name: digits", "name: ../x\n    kind: digits", "datasets.0.name",
          ("'../x'", "letters")),
    Wrong("row_climbs_out", "    - mixup", "    - mixup: {as: a/../../x}", "methods.scratch.1",
          ("'a/../../x'", "letters")),
    Wrong("row_breaks_a_line", "    - mixup", '    - mixup: {as: "a\\nb"}', "methods.scratch.1", ("letters",)),
    Wrong("suite_is_long", "suite: small", f"suite: {'x' * 81}", "suite", ("at most 80",)),
]  # fmt: skip


def ltbench(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The real entry point, in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["ltbench", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


@pytest.fixture
def complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`complaint(text)`: what `ltbench plan` says of a suite of that text, after it left with code 2."""

    def complain(text: str | bytes, *arguments: str) -> str:
        file = tmp_path / "suite.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        code = ltbench(monkeypatch, "plan", str(file), "--results", str(tmp_path), *arguments)
        shown = capsys.readouterr()
        assert (code, shown.out) == (2, "")
        assert shown.err.startswith("error: ")
        assert "Traceback" not in shown.err
        return shown.err.removeprefix("error: ").strip()

    return complain


def test_the_suite_that_the_wrong_ones_are_made_of_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(GOOD)
    assert ltbench(monkeypatch, "plan", str(file), "--results", str(tmp_path)) == 0
    assert "12 trials: 12 to run" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_suite_is_refused_with_place_cause_and_cure(wrong: Wrong, complaint: Any) -> None:
    message = complaint(wrong.text())
    assert wrong.key in message
    for words in wrong.says:
        assert words in message
    lines = [int(n) for n in re.findall(r"suite\.yaml, line (\d+)", message)]
    reach = range(wrong.line() - 3, wrong.line() + wrong.new.count("\n") + 2)  # at most its item's first line
    assert all(line in reach or wrong.key == "suite" for line in lines), f"the mistake is in line {wrong.line()}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", ("suite.yaml", "a suite is a mapping"), id="empty"),
        pytest.param("just words", ("suite.yaml", "a suite is a mapping"), id="words"),
        pytest.param("- a\n- b\n", ("suite.yaml", "a suite is a mapping"), id="list"),
        pytest.param("suite: [1, 2\n", ("line 2", "not valid YAML"), id="unclosed"),
        pytest.param("suite: x\n\tquestion: y\n", ("line 2", "not valid YAML", "spaces, never tabs"), id="tab"),
        pytest.param("suite: x\n---\nsuite: y\n", ("line 2", "not valid YAML"), id="two_documents"),
        pytest.param("suite: *nothing\n", ("line 1", "undefined alias"), id="unknown_alias"),
        pytest.param("suite: a\nsuite: b\n", ("line 2", "suite is written twice"), id="key_twice"),
        pytest.param("suite: a\nnull: b\n", ("line 2", "a key must be a name"), id="key_is_null"),
        pytest.param("suite: a\nno: b\n", ("line 2", "got False", "reads no so", "quotes"), id="key_is_false"),
        pytest.param("suite: a\n2026-01-01: b\n", ("line 2", "reads 2026-01-01 so", "quotes"), id="key_is_a_day"),
        pytest.param("suite: &a [*a]\n", ("an alias that holds itself",), id="alias_holds_itself"),
        pytest.param("suite: a\n? [x]\n: b\n", ("line 2", "a key must be a name"), id="key_is_a_list"),
        pytest.param(b"suite: \xff\xfe\n", ("suite.yaml", "cannot be read"), id="not_utf8"),
        pytest.param("suite: a\0b\n", ("suite.yaml", "not valid YAML"), id="zero_byte"),
        pytest.param(BIG_BOMB, ("suite.yaml", "aliases"), id="alias_bomb"),
        pytest.param("a: &a [*a]\n", ("suite.yaml",), id="alias_of_itself"),
        pytest.param("a: " + "[" * 4000 + "]" * 4000, ("suite.yaml",), id="deep"),
        pytest.param("suite: !!python/name:os.getcwd ''\n", ("line 1", "not valid YAML"), id="names_code"),
        pytest.param("suite: !!python/object/apply:os.getcwd []\n", ("line 1",), id="runs_code"),
        pytest.param("suite: 2020-99-99\n", ("suite.yaml", "not valid YAML"), id="no_such_day"),
        pytest.param("suite: !!timestamp soon\n", ("suite.yaml", "not valid YAML"), id="timestamp_tag"),
        pytest.param("suite: !!int\n", ("suite.yaml", "not valid YAML"), id="empty_int_tag"),
        pytest.param("suite: !!bool perhaps\n", ("suite.yaml", "not valid YAML"), id="bool_tag"),
        pytest.param("extends: other.yaml\n", ("suite.yaml", "extends", "other.yaml", "no such"), id="extends_nothing"),
        pytest.param("extends: suite.yaml\n", ("suite.yaml", "extends", "circle"), id="extends_itself"),
        pytest.param("suite: a\nextends: [x]\n", ("line 2", "extends", "['x']"), id="extends_a_list"),
        pytest.param('suite: a\nextends: "x\\0y"\n', ("suite.yaml", "extends"), id="extends_a_zero_byte"),
    ],
)
def test_a_file_that_is_no_suite_is_refused_with_its_name(
    text: str | bytes, says: tuple[str, ...], complaint: Any
) -> None:
    message = complaint(text)
    assert all(words in message for words in says)


def test_a_circle_of_extends_over_two_files_is_shown_whole(tmp_path: Path, complaint: Any) -> None:
    (tmp_path / "other.yaml").write_text("extends: suite.yaml\n")
    assert "suite.yaml -> other.yaml -> suite.yaml" in complaint("extends: other.yaml\n")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("recipes.scratch.epochs", ("KEY.PATH=VALUE", "recipes.scratch.epochs=1")),
        ("=1", ("KEY.PATH=VALUE",)),
        ("recipes.scratch.epochs=[", ("recipes.scratch.epochs=[", "YAML")),
        ("suite=2020-99-99", ("suite=2020-99-99", "YAML")),
        ("suite=!!int", ("suite=", "YAML")),
        ("suite.name=x", ("suite.name=x", "suite")),
        ("methods.scratch.9=ce", ("methods.scratch.9=ce", "methods.scratch", "9")),
        ("methods.scratch.-1=ce", ("methods.scratch.-1=ce", "-1")),
        ("datasets.9.name=x", ("datasets.9.name=x", "datasets.9")),
        ("datasets.²=1", ("datasets.²=1",)),
        ("recipes.scratch.epoch=1", ("--set", "recipes.scratch.epoch", "'epochs'")),
        ("recipes.scratch.optimizer.lr=1e-5", ("--set", "recipes.scratch.optimizer.lr", "1.0e-05")),
        ("recipes.scratch.optimizer={name: sgd, lr: -1.0}", ("--set", "recipes.scratch.optimizer.lr", "-1.0")),
        ("datasets.0.imbalance=[0.1]", ("--set", "datasets.0.imbalance", "0.1")),
        ("protocol.final.seeds=[0, 0]", ("--set", "protocol.final.seeds", "twice")),
        ("datasets=5", ("--set", "datasets", "list")),
    ],
)
def test_a_bad_override_is_named_with_what_is_wrong(override: str, says: tuple[str, ...], complaint: Any) -> None:
    message = complaint(GOOD, "--set", override)
    assert all(words in message for words in says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("quikstart",), "Did you mean 'quickstart'?"),
        (("nowhere/suite.yaml",), "nowhere/suite.yaml: no such suite file"),
        (("quickstart", "--set", "recipes.scrach.epochs=1"), "recipes.scrach is not there. Did you mean 'scratch'?"),
        (("x" * 300,), "no such suite"),
        (("quickstart", "--only", "mixpu"), "Did you mean 'mixup'?"),
        (("quickstart", "--datasets", "digit"), "Did you mean 'digits'?"),
        (("quickstart", "--seeds", "0,x"), "whole numbers"),
        (("quickstart", "--seeds", "0,0"), "different whole numbers"),
        (("quickstart", "--methods", "/no/such/folder"), "no such folder"),
    ],
)
def test_a_wrong_argument_of_plan_leaves_with_code_2(
    arguments: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ltbench(monkeypatch, "plan", *arguments) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("text", [GOOD.replace("epochs: 2", "epoch: 2"), BIG_BOMB], ids=["unknown_key", "alias_bomb"])
def test_the_installed_command_shows_one_message_and_no_traceback(text: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(text)
    command = [sys.executable, "-m", "ltbench", "plan", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_refusing_a_suite_writes_nothing(tmp_path: Path, complaint: Any) -> None:
    complaint(GOOD.replace("epochs: 2", "epoch: 2"))
    assert [f.name for f in tmp_path.iterdir()] == ["suite.yaml"]


# -- numbers that YAML reads as texts ----------------------------------------------------------------------------------

exponents = st.builds(
    lambda sign, mantissa, e, exponent: f"{sign}{mantissa}{e}{exponent}",
    st.sampled_from(["", "-", "+"]),
    st.sampled_from(["1", "5", "12", "1.5", "0.25", "9.999"]),
    st.sampled_from(["e", "E"]),
    st.integers(-300, 300).map(str),
)


@given(exponents)
def test_the_advised_spelling_is_read_by_yaml_as_that_very_number(text: str) -> None:
    advised = re.search(r"write (\S+)\.$", exponent_hint(text))
    assert advised is not None
    read = yaml.safe_load(advised.group(1))
    assert isinstance(read, int | float)
    assert read == float(text)


@pytest.mark.parametrize("word", ["small", "nan", "inf", "1e999", "", "1,5"])
def test_no_spelling_is_advised_for_what_is_no_number(word: str) -> None:
    assert exponent_hint(word) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lr: 0.05", "lr: {}"),
        ("epochs: 2", "epochs: {}"),
        ("batch_size: 32", "batch_size: {}"),
        ("subset_seed: 0", "subset_seed: {}"),
        ("seeds: [0, 1]", "seeds: [{}]"),
    ],
)
def test_following_the_advice_for_an_exponent_mends_the_suite(old: str, new: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(GOOD.replace(old, new.format("1e2")))
    with pytest.raises(UserError) as refused:
        load_suite(str(file))
    advised = re.search(r"write (\S+?)\.( |$)", str(refused.value))
    assert advised is not None, str(refused.value)
    file.write_text(GOOD.replace(old, new.format(advised.group(1))))
    assert load_suite(str(file)).suite == "small"


def test_a_quoted_whole_number_is_not_blamed_on_yaml(complaint: Any) -> None:
    message = complaint(GOOD.replace("batch_size: 32", 'batch_size: "32"'))
    assert "32" in message
    assert "32.0" not in message


# -- suites mangled by chance ------------------------------------------------------------------------------------------

REGISTRY = Registry()
SHIPPED = (Path(__file__).parents[2] / "suites" / "quickstart.yaml").read_text(encoding="utf-8")
NASTY = [
    *("null", "true", "-1", "0", "1e-5", ".nan", ".inf", "1e400", "2020-99-99", "=", "<<", "~", "''", "[]"),
    *("{}", "[[]]", "{a: {b: 1}}", "&a", "*a", "!!int", "!!float ''", "!!bool x", "!!timestamp x", "!!set {a}", "? x"),
    *("!!binary '*'", "!!omap [a]", "!!python/name:os", "0x_", "0b_", "1:99", "%", "@", "`", "|", ">", "- ", ": ", "#"),
    *("\t", "\0", "\\", "²", "\u2028", "é", "extends: quickstart.yaml", "extends: nothing", "x" * 500),
]  # fmt: skip
careful = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def mangled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mangled") / "quickstart.yaml"


def load_or_refuse(file: Path, overrides: tuple[str, ...] = ()) -> None:
    """What is loaded makes sense: it is the same when it is written down and read again, and its names are names."""
    try:
        suite = load_suite(str(file), overrides)
    except UserError:
        return
    assert Suite.model_validate_json(suite.model_dump_json()) == suite
    entries = [e for group in suite.methods.values() for e in group]
    for name in (suite.suite, *suite.methods, *(d.name for d in suite.datasets), *(e.label for e in entries)):
        assert SAFE_NAME.fullmatch(name)


@careful
@given(data=st.data())
def test_a_suite_with_mangled_text_loads_or_is_refused(data: st.DataObject, mangled: Path) -> None:
    tokens = re.findall(r"[\w.]+|\s+|[^\w\s]", SHIPPED)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(tokens) - 1))
        tokens[at] = data.draw(st.sampled_from([*NASTY, "", tokens[at] * 2]))
    mangled.write_text("".join(tokens), encoding="utf-8")
    load_or_refuse(mangled)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=4,
)


def holders(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of nested data."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, child in list(items) for found in [(node, key), *holders(child)]]


@careful
@given(data=st.data())
def test_a_suite_with_any_value_anywhere_loads_or_is_refused(data: st.DataObject, mangled: Path) -> None:
    suite = yaml.safe_load(SHIPPED)
    holder, key = data.draw(st.sampled_from(holders(suite)))
    if data.draw(st.booleans()):
        holder[key] = data.draw(values)
    elif isinstance(holder, dict):
        holder[data.draw(st.text(max_size=6))] = holder.pop(key)
    else:
        del holder[key]
    mangled.write_text(yaml.safe_dump(suite, allow_unicode=True), encoding="utf-8")
    load_or_refuse(mangled)


@careful
@given(data=st.data())
def test_any_value_of_a_hyperparameter_is_planned_or_refused(data: st.DataObject, mangled: Path) -> None:
    suite = yaml.safe_load(SHIPPED)
    method, field = data.draw(st.sampled_from([("mixup", "alpha"), ("cb_reweight", "weighting"), ("remix", "kappa")]))
    suite["methods"]["scratch"][1:] = [{method: {field: data.draw(values)}}]
    mangled.write_text(yaml.safe_dump(suite, allow_unicode=True), encoding="utf-8")
    with contextlib.suppress(UserError):
        make_plan(resolve(load_suite(str(mangled)), REGISTRY, mangled.parent))


steps = st.sampled_from(
    [
        "recipes",
        "scratch",
        "optimizer",
        "lr",
        "datasets",
        "0",
        "1",
        "-1",
        "methods",
        "protocol",
        "text",
        "",
        "²",
        "é",
        "x",
    ]
)


@careful
@given(path=st.lists(steps, min_size=1, max_size=4), value=st.sampled_from(NASTY) | st.text(max_size=8))
def test_any_override_applies_or_is_refused(path: list[str], value: str, mangled: Path) -> None:
    mangled.write_text(SHIPPED, encoding="utf-8")
    load_or_refuse(mangled, (".".join(path) + "=" + value,))


MANY = {
    "epochs: 2": "epoch: 2",
    "name: digits": "name: digit",
    "reference: ce": "reference: mixip",
    "    - mixup": "    - mixpu",
    "{tau: 0.1}": "{taw: 0.1}",
    "retries: 2": "retry: 2",
}
"""Edits that make the good suite bad, each in another way."""


def test_all_problems_are_told_at_once_each_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltbench.workflow.prepare import Request, prepare

    text = GOOD
    for old, new in MANY.items():
        text = text.replace(old, new)
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as found:
        prepare(Request(suite=file, data=tmp_path))
    lines = str(found.value).splitlines()
    assert lines[0] == f"{len(MANY)} problems:"
    for old, new in MANY.items():
        place = f"line {GOOD[: GOOD.index(old)].count(chr(10)) + 1}: "
        word = {"name: digit": "unknown data set 'digit'", "reference: mixip": "'mixip'", "    - mixpu": "'mixpu'",
                "{taw: 0.1}": "'taw'"}.get(new, "unknown key")  # fmt: skip
        assert [line for line in lines if place in line and word in line], (old, lines)


def test_what_a_method_names_wrongly_and_what_its_recipe_does_are_told_together(tmp_path: Path) -> None:
    text = GOOD.replace("    - mixup", "    - mixpu").replace("backbone: mlp", "backbone: resnet_32")
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"(?s)2 problems:.*mixpu.*resnet_32"):
        resolve(load_suite(file), Registry(), tmp_path)


def test_of_a_value_one_problem_is_told(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(GOOD.replace("epochs: 2", "epoch: 2").replace("imbalance: [20, 50]", "imbalance: [much]"))
    with pytest.raises(UserError) as found:
        load_suite(file)
    assert len(str(found.value).splitlines()) == 3, str(found.value)
