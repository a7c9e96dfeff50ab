"""Methods, backbones and data sets in a folder of the user's: found, fingerprinted, sent to workers, exported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import ltbench
from ltbench import plugins
from ltbench.data.sources.kinds import source_kinds
from ltbench.errors import UserError
from ltbench.models import code_of
from ltbench.plugins.sources import read_sources
from ltbench.registry import Registry, fingerprint
from ltbench.suite.load import load_suite
from ltbench.training import assemble
from ltbench.training.site import Site
from ltbench.training.trial import run_trial
from tests.plugins.made import BACKBONE, DATASET, METHOD, SUITE, folder_of_plugins


@pytest.fixture(autouse=True)
def none_in_use() -> Iterator[None]:
    yield
    plugins.use(())


def suite_file(folder: Path, **changes: Any) -> Path:
    file = folder / "suite.yaml"
    file.write_text(yaml.safe_dump({**SUITE, "plugins": "mine", **changes}))
    return file


def test_all_three_are_found_by_their_files(tmp_path: Path) -> None:
    plugins.use([folder_of_plugins(tmp_path / "mine")])
    assert [list(plugins.entries(group)) for group in plugins.NOUNS] == [["shifted"], ["wide"], ["numerals"]]
    registry = Registry()
    assert registry.get("shifted").name == "shifted"
    assert registry.origin("shifted") == f"the folder {tmp_path / 'mine'}"
    assert source_kinds()["numerals"].summary == "the digits, darker"
    plugins.use(())
    assert "shifted" not in Registry().names()
    assert "numerals" not in source_kinds()
    assert code_of("wide") is None


def test_a_suite_names_its_folder_and_no_command_repeats_it(tmp_path: Path) -> None:
    folder_of_plugins(tmp_path / "mine")
    file, results = suite_file(tmp_path), tmp_path / "results"
    plan = ltbench.plan(file, results=results, data=tmp_path)
    (spec,) = plan.trials
    assert spec.recipe["backbone_code"] == code_of("wide")
    run = ltbench.run(file, results=results, data=tmp_path)
    assert run.complete, run.failed
    assert ltbench.leaderboard(str(file), results=results).methods == ["shifted"]
    assert ltbench.verify(file, results=results, data=tmp_path, device="cpu", trials=1).holds
    page = ltbench.report(str(file), results=results, out=tmp_path / "report").page.read_text()
    assert "Cross-entropy of shifted logits" in page or "shifted" in page
    kept = json.loads((results / "brought" / "suite.json").read_text())
    assert kept["plugins"] == [str(tmp_path / "mine")]
    assert ltbench.plan(results / "brought" / "suite.json", results=results, data=tmp_path).trials[0].key == spec.key


def test_the_option_does_what_the_suite_does(tmp_path: Path) -> None:
    mine = folder_of_plugins(tmp_path / "mine")
    by_suite = ltbench.plan({**SUITE, "plugins": [str(mine)]}, data=tmp_path, results=tmp_path).trials[0].key
    by_option = ltbench.plan(SUITE, plugins=mine, data=tmp_path, results=tmp_path).trials[0].key
    override = {"plugins": str(mine)}
    by_override = ltbench.plan(SUITE, overrides=override, data=tmp_path, results=tmp_path).trials[0].key
    assert by_suite == by_option == by_override
    with pytest.raises(UserError, match="unknown data set 'numerals'"):
        ltbench.plan(SUITE, data=tmp_path, results=tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "moves"),
    [
        ("shared", "SHIFT = 0.5\nWIDTH = 17\n", True),
        ("wide", BACKBONE.replace(".relu()", ".tanh()"), True),
        ("numerals", DATASET.replace("return arrays", "arrays.train_x[:] //= 2; return arrays"), True),
        ("shifted", METHOD.replace("0.0", "-1.0"), True),
        ("shifted", METHOD + "    # a comment\n", False),
        ("unused", "X = 1\n", False),
    ],
)
def test_the_code_is_part_of_a_trials_identity(tmp_path: Path, name: str, text: str, moves: bool) -> None:
    def key(folder: Path) -> str:
        return ltbench.plan(SUITE, plugins=folder, data=tmp_path, results=tmp_path).trials[0].key

    plain = folder_of_plugins(tmp_path / "plain")
    other = folder_of_plugins(tmp_path / "other", **{name: text})
    assert (key(plain) != key(other)) is moves


def test_data_of_other_code_are_packed_anew(tmp_path: Path) -> None:
    places = []
    for name, text in (("plain", DATASET), ("other", DATASET.replace("return arrays", "return arrays, None"))):
        plugins.use([folder_of_plugins(tmp_path / name, numerals=text)])
        places.append(source_kinds()["numerals"](tmp_path).packed)
    assert places[0] != places[1]


def test_a_worker_runs_what_it_is_sent_and_refuses_other_code(tmp_path: Path) -> None:
    mine = folder_of_plugins(tmp_path / "mine")
    spec = ltbench.plan(SUITE, plugins=mine, data=tmp_path, results=tmp_path).trials[0]
    sent = (read_sources(mine, "--plugins"),)
    plugins.use(())
    record = run_trial(spec, Site(data=tmp_path, device="cpu", plugins=sent))
    assert record.status == "ok", record.error
    for name, text, says in (
        ("wide", BACKBONE.replace(".relu()", ".tanh()"), "the backbone 'wide' is other code here"),
        ("numerals", DATASET.replace("return arrays", "return (arrays)[:]"), "has other images here"),
        ("shifted", METHOD.replace("0.0", "-1.0"), "the method 'shifted' is other code here"),
    ):
        other = folder_of_plugins(tmp_path / name, **{name: text})
        assemble._kept_cells.clear()  # as a process that has not seen these images yet
        told = run_trial(spec, Site(data=tmp_path, device="cpu", plugins=(read_sources(other, "--plugins"),))).error
        assert says in str(told)


def test_what_is_in_use_already_is_not_unpacked(tmp_path: Path) -> None:
    mine = folder_of_plugins(tmp_path / "mine")
    plugins.use([mine])
    plugins.use_sources([read_sources(mine, "--plugins")])
    assert plugins.in_use() == (mine,)
    (mine / "shared.py").write_text("SHIFT = 1.0\nWIDTH = 16\n")
    plugins.use_sources([{**read_sources(mine, "--plugins"), "shared.py": "SHIFT = 0.5\nWIDTH = 16\n"}])
    assert plugins.in_use() != (mine,)


def test_two_folders_one_after_the_other_may_have_helpers_of_one_name(tmp_path: Path) -> None:
    """As a notebook does: `import shared` must not give the first folder's."""
    bare = METHOD.replace("from .shared", "from shared")
    for i, shift in enumerate(("0.5", "0.75")):
        folder = folder_of_plugins(tmp_path / str(i), shifted=bare, shared=f"SHIFT = {shift}\nWIDTH = 16\n")
        plugins.use([folder])
        assert str(Registry().get("shifted").hyperparameters["shift"].default) == shift


def test_several_folders_and_the_users_methods_stand_side_by_side(tmp_path: Path) -> None:
    one = folder_of_plugins(tmp_path / "one", wide=None, numerals=None)
    two = folder_of_plugins(tmp_path / "two", shifted=None, shared=None, wide=BACKBONE.replace("WIDTH", "16").replace(
        "from .shared import 16", ""))  # fmt: skip
    methods = tmp_path / "methods"
    methods.mkdir()
    (methods / "third.py").write_text("from ltbench.api import Method\n\nclass Third(Method):\n    'Third.'\n")
    plan = ltbench.plan({**SUITE, "methods": ["shifted", "third"]}, plugins=[one, two], methods=methods, data=tmp_path,
                        results=tmp_path)  # fmt: skip
    assert [spec.method for spec in plan.trials] == ["shifted", "third"]


def test_a_folder_of_methods_may_be_named_both_ways(tmp_path: Path) -> None:
    mine = folder_of_plugins(tmp_path / "mine", wide=None, numerals=None)
    plugins.use([mine])
    assert fingerprint(Registry(mine).get("shifted")) == fingerprint(Registry().get("shifted"))


@pytest.mark.slow
@pytest.mark.nightly
def test_exported_trials_bring_them(tmp_path: Path) -> None:
    """As on a machine that has torch and the folder of the export alone."""
    folder_of_plugins(tmp_path / "mine")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LTBENCH_DATA": str(tmp_path / "data")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False,
                              cwd=tmp_path, env=environment)  # fmt: skip

    done = run("ltbench", "plan", str(suite_file(tmp_path)), "--export", "out")
    assert done.returncode == 0, done.stderr
    assert "python -m ltbench.trial out/*.json --plugins out/plugins/0-mine" in done.stdout
    (file,) = (tmp_path / "out").glob("*.json")
    (tmp_path / "mine").rename(tmp_path / "gone")
    done = run("ltbench.trial", str(file), "--plugins", "out/plugins/0-mine", "--device", "cpu", "--out", "records")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": ok, balanced accuracy" in done.stdout
    done = run("ltbench.trial", str(file), "--device", "cpu", "--out", "elsewhere")
    assert done.returncode == 1
    assert "unknown method 'shifted'" in done.stdout


def test_code_from_outside_is_announced_before_it_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine = folder_of_plugins(tmp_path / "mine", wide="print('ran')\ndef build(name, shape): ...\n")
    from ltbench.system.messages import show_on_stderr

    show_on_stderr()
    load_suite({**SUITE, "plugins": str(mine)})
    out, err = capfd.readouterr()
    assert f"code from outside ltbench will run: {mine}" in err
    assert "ran" not in out, "nothing asked for the backbone yet"


def test_results_of_others_run_no_code(tmp_path: Path) -> None:
    """A folder of results may name plugins in its suite.json; a board of it does not import them."""
    mine = folder_of_plugins(tmp_path / "mine")
    results = tmp_path / "results"
    ltbench.run({**SUITE, "plugins": str(mine)}, results=results, data=tmp_path)
    plugins.use(())
    (mine / "shifted.py").write_text("raise SystemExit('ran')\nclass X: ...\n")
    board = ltbench.leaderboard("brought", results=results)
    assert board.methods == ["shifted"]
    assert plugins.in_use() == ()


@pytest.mark.slow
@pytest.mark.nightly
def test_rays_workers_are_sent_them(tmp_path: Path) -> None:
    folder_of_plugins(tmp_path / "mine")
    file = suite_file(tmp_path, resources={"executor": "ray"})
    words = ["ltbench", "run", str(file), "--data", "data", "--results", "results"]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, cwd=tmp_path,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shifted" in done.stdout
