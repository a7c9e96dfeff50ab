"""Suites as written: what is merged from where, what short spellings stand for, and that every key knows its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ltbench.errors import UserError
from ltbench.planning.planner import make_plan
from ltbench.planning.resolve import resolve
from ltbench.registry import Registry
from ltbench.suite import Suite
from ltbench.suite.load import load_suite
from ltbench.suite.places import KeyPath, SuiteData
from ltbench.suite.yaml_file import read_suite_file

SUITES = Path(__file__).parents[2] / "suites"
SHIPPED = sorted(SUITES.glob("*.yaml"))
SMALL = """\
suite: small
datasets: [{name: digits, imbalance: 20}]
recipes:
  scratch: {backbone: mlp, epochs: 2, batch_size: 32, optimizer: {name: sgd, lr: 0.05}}
methods: [ce, mixup]
protocol: {final: {seeds: [0, 1]}}
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(text, "sub/name.yaml")`: a file of that text; its path."""

    def writer(text: str, name: str = "small.yaml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return writer


def loaded(file: Path, *overrides: str) -> Suite:
    return load_suite(str(file), overrides)


# -- extends -----------------------------------------------------------------------------------------------------------


def test_a_suite_merges_mappings_key_by_key_over_what_it_extends(write: Write) -> None:
    write(SMALL)
    suite = loaded(write("extends: small.yaml\nrecipes: {scratch: {epochs: 9}}\n", "child.yaml"))
    assert (suite.recipes["scratch"].epochs, suite.recipes["scratch"].batch_size) == (9.0, 32)


def test_null_takes_back_a_key_that_is_inherited(write: Write) -> None:
    """Else no suite could extend one with another kind of optimizer or schedule."""
    write(SMALL.replace("lr: 0.05}", "lr: 0.05, momentum: 0.9}"))
    adam = "extends: small.yaml\nrecipes: {{scratch: {{optimizer: {{name: adam, lr: 0.001{}}}}}}}\n"
    with pytest.raises(UserError, match=r"momentum: unknown key.* is inherited: `momentum: null` takes it back"):
        loaded(write(adam.format(""), "child.yaml"))
    suite = loaded(write(adam.format(", momentum: null"), "child.yaml"))
    assert suite.recipes["scratch"].optimizer.model_dump() == {
        "name": "adam", "lr": 0.001, "betas": [0.9, 0.999], "weight_decay": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("parent", ["quickstart", "quickstart.yaml", "suites/quickstart.yaml"])
def test_a_suite_that_comes_with_ltbench_is_extended_from_anywhere(write: Write, parent: str) -> None:
    suite = loaded(write(f"extends: {parent}\nsuite: mine\nrecipes: {{scratch: {{epochs: 9}}}}\n", "child.yaml"))
    assert (suite.suite, suite.recipes["scratch"].epochs) == ("mine", 9.0)
    assert suite.methods == load_suite("quickstart").methods


def test_a_suite_beside_the_file_comes_before_one_of_ltbenchs(write: Write) -> None:
    write(SMALL, "quickstart.yaml")
    child = write("extends: quickstart.yaml\nrecipes: {scratch: {epochs: 9}}\n", "child.yaml")
    assert loaded(child).suite == "small"


def test_a_list_replaces_the_list_it_overrides(write: Write) -> None:
    write(SMALL)
    suite = loaded(write("extends: small.yaml\nmethods: [focal]\n", "child.yaml"))
    assert [row.method for row in suite.methods["scratch"]] == ["focal"]


def test_the_nearest_file_wins_in_a_chain_of_three(write: Write) -> None:
    write(SMALL)
    write("extends: small.yaml\nsuite: middle\nquestion: kept?\n", "middle.yaml")
    suite = loaded(write("extends: middle.yaml\nsuite: top\n", "top.yaml"))
    assert (suite.suite, suite.question, suite.recipes["scratch"].epochs) == ("top", "kept?", 2.0)


def test_extends_is_relative_to_the_file_that_says_it(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(SMALL, "base/small.yaml")
    child = write("extends: ../base/small.yaml\nsuite: child\n", "mine/child.yaml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert loaded(child).suite == "child"


def test_a_suite_may_be_extended_by_two_others_at_once(write: Write) -> None:
    """A diamond is not a circle."""
    write(SMALL)
    write("extends: small.yaml\n", "left.yaml")
    assert loaded(write("extends: left.yaml\nsuite: again\n", "right.yaml")).suite == "again"


def test_a_path_is_relative_to_the_file_it_is_written_in(write: Write, tmp_path: Path) -> None:
    folder = "datasets: [{name: mine, kind: folder, path: images, profile: native}]\n"
    write(SMALL.replace("datasets: [{name: digits, imbalance: 20}]\n", folder), "base/small.yaml")
    suite = loaded(write("extends: ../base/small.yaml\n", "mine/child.yaml"))
    assert Path(suite.datasets[0].path or "").resolve() == tmp_path.resolve() / "base" / "images"


def test_a_path_on_the_command_line_is_relative_to_the_working_directory(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(SMALL + "text: {encoder: file, path: there.npz}\n", "sub/small.yaml")
    monkeypatch.chdir(tmp_path)
    assert loaded(file).text.path == str(tmp_path / "sub" / "there.npz")  # type: ignore[union-attr]
    assert loaded(file, "text.path=here.npz").text.path == str(tmp_path / "here.npz")  # type: ignore[union-attr]


def test_an_absolute_path_and_a_home_folder_are_kept(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    file = write(SMALL)
    shown = [loaded(file, f"text={{encoder: file, path: {path}}}").text for path in ("/a/b.npz", "~/b.npz")]
    assert [t.path for t in shown] == ["/a/b.npz", "/home/someone/b.npz"]  # type: ignore[union-attr]


def test_a_yaml_merge_key_may_be_overridden(write: Write) -> None:
    """`<<: *base` with some keys of one's own is what merge keys are for."""
    text = SMALL.replace("  scratch: {", "  base: &base {").replace("methods: [ce, mixup]", "methods: {long: [ce]}")
    text = text.replace("protocol:", "  # after the recipes\nprotocol:")
    text = text.replace("methods:", "  long: {<<: *base, epochs: 7}\nmethods:")
    suite = loaded(write(text))
    assert (suite.recipes["long"].epochs, suite.recipes["long"].batch_size) == (7.0, 32)


# -- --set -------------------------------------------------------------------------------------------------------------


def test_set_wins_over_the_file_and_what_it_extends(write: Write) -> None:
    write(SMALL)
    child = write("extends: small.yaml\nrecipes: {scratch: {epochs: 9}}\n", "child.yaml")
    assert loaded(child, "recipes.scratch.epochs=1").recipes["scratch"].epochs == 1.0


def test_of_two_sets_the_last_wins(write: Write) -> None:
    assert loaded(write(SMALL), "recipes.scratch.epochs=1", "recipes.scratch.epochs=3").recipes["scratch"].epochs == 3.0


@pytest.mark.parametrize(
    ("written", "read"),
    [("7", 7), ("0.5", 0.5), ("true", True), ("null", None), ("[1, 2]", [1, 2]), ("{a: 1}", {"a": 1}), ("", None),
     ("1.0e-3", 0.001), ("1e-3", "1e-3"), ("'7'", "7"), ("a=b", "a=b"), ("https://x", "https://x")],
)  # fmt: skip
def test_set_reads_its_value_as_yaml_does_in_a_file(write: Write, written: str, read: Any) -> None:
    value = read_suite_file(write(SMALL), [f"question={written}"]).data["question"]
    assert (value, type(value)) == (read, type(read))


def test_set_reaches_into_lists_by_index(write: Write) -> None:
    suite = loaded(write(SMALL), "datasets.0.imbalance=[50]", "protocol.final.seeds.1=7")
    assert suite.datasets[0].imbalance == [50.0]
    assert suite.protocol.final.seeds == [0, 7]


def test_set_makes_the_mappings_on_its_way(write: Write) -> None:
    assert loaded(write(SMALL), "resources.per_trial.cpus=2").resources.per_trial.cpus == 2.0


def test_checkpoints_are_a_minute_apart_unless_the_suite_says_otherwise(write: Write) -> None:
    assert loaded(write(SMALL)).resources.checkpoint_seconds == 60.0
    assert loaded(write(SMALL), "resources.checkpoint_seconds=5").resources.checkpoint_seconds == 5.0


def test_set_leaves_the_file_as_it_is(write: Write) -> None:
    file = write(SMALL)
    loaded(file, "recipes.scratch.epochs=1")
    assert file.read_text() == SMALL


# -- short spellings ---------------------------------------------------------------------------------------------------


def test_a_single_imbalance_is_a_list_of_one(write: Write) -> None:
    assert loaded(write(SMALL)).datasets[0].imbalance == [20.0]


def test_with_one_recipe_methods_may_be_a_plain_list(write: Write) -> None:
    short = loaded(write(SMALL))
    long = loaded(write(SMALL.replace("methods: [ce, mixup]", "methods: {scratch: [ce, mixup]}"), "long.yaml"))
    assert short == long


def test_a_row_is_named_by_its_method_unless_as_says_otherwise(write: Write) -> None:
    rows = "methods: [ce, {mixup: {alpha: 0.5}}, {mixup: {as: soft, alpha: 0.2}}]"
    suite = loaded(write(SMALL.replace("methods: [ce, mixup]", rows)))
    assert [(r.label, r.method, r.hyperparameters) for r in suite.methods["scratch"]] == [
        ("ce", "ce", {}), ("mixup", "mixup", {"alpha": 0.5}), ("soft", "mixup", {"alpha": 0.2}),
    ]  # fmt: skip


def test_what_is_not_said_has_its_documented_default(write: Write) -> None:
    suite = loaded(write(SMALL))
    recipe, protocol = suite.recipes["scratch"], suite.protocol
    assert (recipe.schedule.name, recipe.augment, recipe.precision) == ("constant", "none", "fp32")
    assert (protocol.primary, protocol.shots.many, protocol.shots.few) == ("balanced_accuracy", 100, 20)
    assert (suite.text, suite.resources.executor, protocol.curves) == (None, "ray", "none")


def test_a_loaded_suite_cannot_be_changed(write: Write) -> None:
    with pytest.raises(ValueError, match="frozen"):
        loaded(write(SMALL)).suite = "other"


# -- suites that come with ltbench ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml", "suites/quickstart.yaml"])
def test_a_bundled_suite_is_found_by_name_from_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_suite(name).suite == "quickstart"


def test_a_file_of_ones_own_comes_before_a_bundled_one(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(SMALL, "quickstart.yaml").parent)
    assert load_suite("quickstart.yaml").suite == "small"


def test_a_folder_named_like_a_bundled_suite_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quickstart").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_suite("quickstart").suite == "quickstart"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_suite_is_called_as_its_file(file: Path) -> None:
    assert loaded(file).suite == file.stem


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_suite_asks_a_question_and_names_its_reference(file: Path) -> None:
    suite = loaded(file)
    assert suite.question.endswith("?")
    assert suite.protocol.reference in ("ce", "clip_zero_shot")


@pytest.mark.parametrize("file", [SUITES / "quickstart.yaml", SUITES / "cifar_lt.yaml"], ids=lambda file: file.stem)
def test_a_shipped_suite_is_planned_without_its_data(file: Path, tmp_path: Path) -> None:
    suite = loaded(file)
    plan, _ = make_plan(resolve(suite, Registry(), tmp_path / "empty"))
    cells = sum(len(entry.imbalance or [None]) for entry in suite.datasets)
    rows = sum(len(entries) for entries in suite.methods.values())
    assert len(plan.trials) == cells * rows * len(suite.protocol.final.seeds)
    assert plan.skips == ()


def test_planning_fetches_and_writes_nothing(tmp_path: Path) -> None:
    make_plan(resolve(load_suite("cifar_lt"), Registry(), tmp_path / "data"))
    assert not (tmp_path / "data").exists()


# -- where keys stand -------------------------------------------------------------------------------------------------


def leaves(node: Any, path: KeyPath = ()) -> list[tuple[KeyPath, Any]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        return [(path, node)]
    return [leaf for key, child in items for leaf in leaves(child, (*path, key))]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_key_and_value_is_on_the_line_it_is_said_to_be_on(file: Path) -> None:
    """Of a suite that extends another, in the file of the two that wrote it."""
    source = read_suite_file(file)
    for path, value in leaves(source.data):
        place = source.places[path]
        assert place.file is not None
        written = place.file.read_text(encoding="utf-8").splitlines()[place.line - 1]
        word = path[-1] if isinstance(path[-1], str) else value
        assert str(word) in written, f"{path} is said to be on: {written}"


def place_of(source: SuiteData, *path: str | int) -> tuple[str, int]:
    place = source.place(path)
    return (place.file.name if place.file else "--set"), place.line


def test_a_key_stands_in_the_file_that_wrote_it_last(write: Write) -> None:
    write(SMALL)
    source = read_suite_file(write("extends: small.yaml\n\nrecipes: {scratch: {epochs: 9}}\n", "child.yaml"))
    assert place_of(source, "recipes", "scratch", "epochs") == ("child.yaml", 3)
    assert place_of(source, "recipes", "scratch", "backbone") == ("small.yaml", 4)


def test_a_key_that_is_missing_is_placed_where_its_owner_stands(write: Write) -> None:
    source = read_suite_file(write(SMALL))
    assert place_of(source, "recipes", "scratch", "augment") == ("small.yaml", 4)
    assert place_of(source, "resources") == ("small.yaml", 1)


def test_a_list_replaced_by_a_child_takes_no_line_from_its_parent(write: Write) -> None:
    write(SMALL)
    child = write("extends: small.yaml\n\ndatasets: [{imbalance: 20}]\n", "child.yaml")
    with pytest.raises(UserError, match=r"child\.yaml, line 3: datasets\.0\.name: is missing"):
        loaded(child)


def test_a_mapping_replaced_by_set_takes_no_line_from_the_file(write: Write) -> None:
    with pytest.raises(UserError, match=r"^--set: recipes\.scratch\.optimizer\.lr: must be greater than 0"):
        loaded(write(SMALL), "recipes.scratch.optimizer={name: sgd, lr: -1.0}")


@given(st.recursive(st.integers(0, 9), lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)))
def test_reading_a_suite_file_gives_what_yaml_gives(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    file = tmp_path_factory.mktemp("any", numbered=True) / "any.yaml"
    whole = {"suite": "x", "data": data}
    file.write_text(yaml.safe_dump(whole))
    assert read_suite_file(file).data == whole


def merged(below: Any, above: Any) -> Any:
    """The rule for `extends`, written the other way round: what the child lacks is taken from the parent."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    both = below.keys() & above.keys()
    return {k: merged(below[k], above[k]) if k in both else {**below, **above}[k] for k in below | above}


trees = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(st.integers(0, 9), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_size=3,
)


@given(below=trees, above=trees)
def test_extends_merges_any_two_files_by_one_rule(
    below: dict[str, Any], above: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("merge", numbered=True)
    (folder / "below.yaml").write_text(yaml.safe_dump(below))
    (folder / "above.yaml").write_text(yaml.safe_dump({**above, "extends": "below.yaml"}))
    assert read_suite_file(folder / "above.yaml").data == merged(below, above)


@pytest.mark.parametrize("name", ["zoo_quick", "cifar_lt_strong", "cifar_lt_zoo"])
def test_the_large_suites_have_every_method_that_trains_a_network_from_scratch(name: str) -> None:
    """All but those for pre-trained towers, those that need a hold-out, which these suites do not have, and ce_tuned,
    which is ce where nothing is searched."""
    registry = Registry()
    scratch = {m for m in registry.names() if not registry.get(m).needs & {"clip", "blocks", "holdout"}}
    rows = [entry.method for entry in load_suite(name).methods["scratch"]]
    assert set(rows) == scratch - {"clip_balanced_probe", "clip_linear_probe", "lp_ft", "ce_tuned"}
    assert len(rows) == len(set(rows))


def test_the_two_tracks_differ_in_their_recipe_alone() -> None:
    classic, strong = load_suite("cifar_lt_zoo"), load_suite("cifar_lt_strong")
    assert classic.recipes["scratch"] == load_suite("cifar_lt").recipes["scratch"]
    assert classic.methods == strong.methods
    assert classic.datasets == strong.datasets
    assert strong.recipes["scratch"].augment == "autoaugment_cutout"


def test_one_board_has_both_tracks() -> None:
    both = load_suite("cifar_recipes")
    assert both.recipes["scratch"] == load_suite("cifar_lt").recipes["scratch"]
    assert both.recipes["strong"] == load_suite("cifar_lt_strong").recipes["scratch"]
    assert [e.method for e in both.methods["scratch"]] == [e.method for e in both.methods["strong"]]
