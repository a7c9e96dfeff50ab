"""Folders of plugins that are broken: each is refused with one message that says where and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ltbench import plugins
from ltbench.data.sources.kinds import source_kinds
from ltbench.errors import UserError
from ltbench.models import check_backbone
from ltbench.registry import Registry
from ltbench.suite.load import load_suite
from tests.plugins.made import BACKBONE, DATASET, METHOD, SUITE, folder_of_plugins


@pytest.fixture(autouse=True)
def none_in_use() -> Iterator[None]:
    yield
    plugins.use(())


def load(*folders: Path) -> None:
    plugins.use(folders)
    Registry()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"wide": "def build(name, shape:\n    pass\n"}, r"wide\.py, line 1: is no Python code"),
        ({"_helper": "def broken(:\n"}, r"_helper\.py, line 1: is no Python code"),
        ({"ce": METHOD}, r"method 'ce' is defined by ltbench and by the folder .*; rename one"),
        ({"resnet32": BACKBONE}, r"resnet32\.py: ltbench has a backbone 'resnet32' already; rename the file"),
        ({"clip_rn50": BACKBONE}, r"clip_rn50\.py: ltbench has a backbone 'clip_rn50' already"),
        ({"resnet18": BACKBONE}, r"resnet18\.py: torchvision has a backbone 'resnet18' already"),
        ({"cifar10": DATASET.replace("numerals", "cifar10")}, r"cifar10.* has the name of one of ltbench's; rename it"),
        ({"json": "X = 1\n"}, r"json\.py: has the name of a module .*Python's own.*; rename the file"),
        ({"numpy": BACKBONE}, r"numpy\.py: has the name of a module .*numpy.*; rename the file"),
        ({"my-net": BACKBONE}, r"my-net\.py: a backbone's file is named like a Python name"),
        ({"numerals": DATASET.replace('"numerals"', '"figures"')}, r"numerals\.py.* whose `kind` is 'numerals'"),
        ({"numerals": "import nowhere\nclass X:\n    kind = 'numerals'\n"}, r"numerals\.py: the data set could not be "
                                                                            r"imported: .*nowhere"),
        ({"numerals": "class X:\n    kind = 'numerals'\n"}, r"exactly one subclass of Source, this one defines 0"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused(tmp_path: Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says) as raised:
        load(folder_of_plugins(tmp_path / "mine", **files))
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_missing_empty_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--plugins .*nowhere: no such folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no method, backbone or data set in it"):
        load(tmp_path / "empty")
    (tmp_path / "x.py").write_text("class X: ...\n")
    with pytest.raises(UserError, match=r"x\.py: is a file; name its folder"):
        load(tmp_path / "x.py")


def test_two_folders_with_one_name_are_refused(tmp_path: Path) -> None:
    one, two = folder_of_plugins(tmp_path / "one"), folder_of_plugins(tmp_path / "two", shared=None, wide=None)
    with pytest.raises(UserError, match=r"two folders of plugins have a numerals\.py: .*one and .*two; rename one"):
        load(one, two)


def test_a_name_of_a_suites_own_folder_is_said_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text("suite: x\nplugins: [nowhere]\n")
    with pytest.raises(UserError, match=r"suite\.yaml, line 2: plugins: .*/nowhere: no such folder"):
        load_suite(file)


@pytest.mark.parametrize("value", [[], [1], {"a": "b"}, 3, [""], [["x"]]])
def test_what_is_no_list_of_folders_is_refused_like_any_other_value(value: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="plugins"):
        load_suite({**SUITE, "datasets": [{"name": "digits", "imbalance": [20]}], "plugins": value})


def test_a_method_of_the_users_folder_and_of_a_plugin_clash(tmp_path: Path) -> None:
    plugins.use([folder_of_plugins(tmp_path / "mine")])
    other = tmp_path / "methods"
    other.mkdir()
    (other / "shifted.py").write_text("from ltbench.api import Method\n\nclass Shifted(Method):\n    'x'\n")
    with pytest.raises(
        UserError, match=r"method 'shifted' is defined by the folder .*methods and by the folder .*mine"
    ):
        Registry(other)


def test_a_backbone_that_lies_about_itself_is_refused(tmp_path: Path) -> None:
    plugins.use([folder_of_plugins(tmp_path / "mine", wide=BACKBONE.replace("self.dim = WIDTH", "self.dim = 3"))])
    with pytest.raises(UserError, match="says it has 3 features"):
        check_backbone("wide", (8, 8, 1))


def test_nothing_is_left_of_a_folder_that_was_refused(tmp_path: Path) -> None:
    plugins.use([folder_of_plugins(tmp_path / "good")])
    with pytest.raises(UserError):
        plugins.use([folder_of_plugins(tmp_path / "bad", json="X = 1\n")])
    assert "numerals" not in source_kinds()
