"""docs/methods.md: its methods are whole files, and keep the contract."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ltbench import api, parts
from ltbench.checks.contract import check_method
from ltbench.registry import Registry
from tools.docs_authors import authors

PAGE = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")
METHODS = {re.findall(r"^class (\w+)\(Method\)", block, re.MULTILINE)[0]: block
           for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)}  # fmt: skip


def test_there_are_some() -> None:
    assert set(METHODS) == {"CentreLoss", "SmoothRetraining", "NoiseCurriculum", "LaterBalanced"}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_the_page_keeps_the_contract_and_can_be_recorded(name: str, tmp_path: Path) -> None:
    (tmp_path / "written.py").write_text(METHODS[name], encoding="utf-8")
    assert check_method(Registry(tmp_path).get("written"))[:3] == ([], [], None)


def test_what_the_page_names_of_the_task_and_of_the_moment_is_there() -> None:
    named = set(re.findall(r"`(\w+)\(", PAGE)) | {"counts", "class_counts", "log_prior", "device"}
    text = authors()["reference/authors.md"]
    for name in ("one_hot", "cosine_head", "optimizer", "pick"):
        assert name in named
        assert f"**`{name}(" in text
    for name in re.findall(r"`now\.(\w+)", PAGE):
        assert hasattr(api.Moment, name) or name in api.Moment.__annotations__, name


def test_the_reference_for_authors_has_everything() -> None:
    text = authors()["reference/authors.md"]
    for title, module in (("ltbench.api", api), ("ltbench.parts", parts)):
        for name in module.__all__:
            assert f"## {title}.{name}\n" in text
    assert "* `schedule`: the part of the recipe's learning-rate schedule" in text
    assert "**`normal(size=())`**" in text
