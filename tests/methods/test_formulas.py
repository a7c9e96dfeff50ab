"""The formulas on the pages of methods: every method has one, and browsers can draw it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from tests.methods.made import NAMES

pytest.importorskip("latex2mathml", reason="latex2mathml is not installed: pip install -e '.[docs]'")

from tools import formulas

SHIPPED = json.loads(formulas.SHIPPED.read_text(encoding="utf-8"))


def test_what_is_shipped_is_up_to_date() -> None:
    """`python -m tools.formulas` writes it."""
    assert formulas.SHIPPED.read_text(encoding="utf-8") == formulas.shipped()


def test_every_method_has_a_formula() -> None:
    assert set(formulas.formulas()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_formula_is_left_in_latex(name: str) -> None:
    html = ET.fromstring(f"<div>{SHIPPED[name]}</div>")
    assert list(html.iter("math"))
    assert not re.search(r"[\\$]", "".join(html.itertext()))


def test_formulas_beside_each_other_wrap() -> None:
    assert formulas.display(r"a \qquad b").count("<math") == 2


def test_words_have_formulas_and_code() -> None:
    assert formulas.words("`a` is $b$ < 1") == f"<code>a</code> is {formulas.mathml('b')} &lt; 1"
    assert formulas.inline_markdown("so $a_b$, `c`") == r"so \(a_b\), `c`"


def test_a_page_holds_formulas_back_while_markdown_is_read() -> None:
    docs_hooks = pytest.importorskip("tools.docs_hooks", reason="mkdocs is not installed: pip install -e '.[docs]'")
    text = docs_hooks.outside_code(
        "so \\(a_b * c\\)\n\n$$\nd\n$$\n\n```\n$$\ne\n$$\n```",
        lambda part: docs_hooks.FORMULA.sub(docs_hooks._held, part),
    )
    assert re.fullmatch(r"so FORMULA\d+X\n\nFORMULA\d+X\n\n```\n\$\$\ne\n\$\$\n```", text)


@pytest.mark.parametrize("name", NAMES)
def test_what_has_an_index_has_one(name: str) -> None:
    """A space after `log` must not become the index of something."""
    for html in (SHIPPED[name], SHIPPED[""]):
        for kind, parts in (("msub", 2), ("msup", 2), ("msubsup", 3), ("mfrac", 2), ("munder", 2), ("munderover", 3)):
            assert all(len(found) == parts for found in ET.fromstring(f"<div>{html}</div>").iter(kind)), kind
