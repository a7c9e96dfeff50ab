"""Numbers of a val list: every format that names data sets says so, and no table has those of the test set as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ltbench.errors import UserError
from ltbench.ranking.formats.compare_text import comparison_text
from ltbench.ranking.formats.render import FORMATS
from ltbench.ranking.views.compare import compare
from ltbench.spec import Record
from tests.ranking import made

SAID = "tested on val"


def records(datasets: Sequence[str], on_val: Sequence[str], methods: Sequence[str] = ("ce", "good")) -> list[Record]:
    """Trials on data sets that are long-tailed by themselves, some of them tested on their val list."""

    def trial(label: str, dataset: str, seed: int) -> Record:
        spec = made.spec(label, dataset, None, seed)
        options = {"tested_on": "val"} if dataset in on_val else {}
        cell = replace(spec.cell, options=options, manifest=spec.cell.manifest + str(options))
        return made.record(replace(spec, cell=cell), made.METHODS[label])

    return [trial(m, d, s) for m in methods for d in datasets for s in range(3)]


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"pairs"}))  # pairs name two methods and no data set
@pytest.mark.parametrize("datasets", [("a",), ("a", "b", "c", "d")], ids=["a column each", "columns put together"])
def test_every_format_says_so(name: str, datasets: Sequence[str]) -> None:
    kept = records(datasets, on_val=datasets[:1])
    usual = records(datasets, on_val=())
    assert SAID in FORMATS[name](made.board_of(kept, made.plan_of(kept)))
    assert SAID not in FORMATS[name](made.board_of(usual, made.plan_of(usual)))


@pytest.mark.parametrize("name", ["text", "markdown", "latex"])
def test_a_table_of_many_columns_says_so_in_its_heads(name: str) -> None:
    kept = records("abcd", on_val="b")
    heads = [
        line for line in FORMATS[name](made.board_of(kept, made.plan_of(kept))).splitlines() if "rank" in line.lower()
    ]
    assert any(f"b, {SAID}" in line for line in heads)
    assert not any(f"a, {SAID}" in line or f"c, {SAID}" in line for line in heads)


def test_the_page_and_a_comparison_say_so() -> None:
    kept = records("a", on_val="a")
    plan = made.plan_of(kept)
    page = made.page_of(made.board_of(kept, plan), kept, plan)
    assert "a native, tested on val" in page
    assert "a: tested on the val list, not on the test set" in page
    assert "a native, tested on val" in comparison_text(compare(kept, made.stored(kept), "ce", "good", plan))


def test_numbers_of_both_make_no_table() -> None:
    kept = records("a", on_val="") + records("a", on_val="a")
    with pytest.raises(UserError, match="some results on a are of its val list, others of its test set"):
        made.board_of(kept)


def test_a_plan_on_the_val_list_leaves_numbers_of_the_test_set_out() -> None:
    wanted, others = records("a", on_val="a"), records("a", on_val="")
    board = made.board_of(wanted + others, made.plan_of(wanted))
    assert [c[1] for t in board.tables for c in t.columns] == ["native, tested on val"]
    assert board.left_out == {"on other images than the suite's now": len(others)}
