"""Make ltbench/site/formulas.json: what methods compute, as MathML, which browsers draw without a script or a font.

    python -m tools.formulas

They are written in tools/formulas.toml, in LaTeX. The site of documents converts the formulas of all its pages with
the functions below; their Markdown twins keep the LaTeX. A test holds the file against what this writes.
"""

from __future__ import annotations

import json
import re
import tomllib
from html import escape
from pathlib import Path
from typing import NamedTuple

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[1]
SOURCE, SHIPPED = ROOT / "tools" / "formulas.toml", ROOT / "ltbench" / "site" / "formulas.json"
LETTERS = (
    "$z$: logits of an image, $p = \\mathrm{softmax}(z)$, $y$: its class or mixture of classes, $f$: its features, "
    "$h$: the classifier. $n_c$: training images of class $c$, $N$: all of them, $C$: how many classes, "
    "$\\pi_c = n_c / N$. $\\ell$: cross-entropy. $t$: the share of the training that is over. $\\propto$: up to a "
    "factor, so that weights sum to $C$ and probabilities to 1."
)
"""What the letters mean that formulas share."""


class Formula(NamedTuple):
    """What a method computes, in LaTeX: lines, and what stands in them, in words with formulas between dollar signs."""

    lines: tuple[str, ...]
    where: str


def formulas() -> dict[str, Formula]:
    """Method -> formula."""
    written = tomllib.loads(SOURCE.read_text(encoding="utf-8"))
    return {name: Formula(tuple(one["show"]), one.get("where", "")) for name, one in written.items()}


def as_markdown(formula: Formula) -> list[str]:
    r"""Lines of Markdown: formulas between `$$`, in words between `\(` and `\)`."""
    lines = [line for latex in formula.lines for line in ("$$", latex, "$$", "")]
    return lines + ([inline_markdown(formula.where), ""] if formula.where else [])


def inline_markdown(words: str) -> str:
    r"""Words with formulas between `\(` and `\)`, as pages have them."""
    return re.sub(r"\$(.+?)\$", r"\\(\1\\)", words)


def display(latex: str) -> str:
    r"""A line of formulas; those with `\qquad` between them wrap where the page is narrow."""
    parts = "".join(mathml(part, "block") for part in latex.split(r"\qquad"))
    return f'<div class="formula">{parts}</div>'


def mathml(latex: str, kind: str = "inline") -> str:
    """A formula as MathML."""
    made: str = convert(latex.strip(), display=kind)
    made = made.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")
    return re.sub(r"(?<!<msub>)(<mi>(?:log|cos|sin)</mi>)", r'\1<mspace width="0.17em" />', made)


def words(text: str) -> str:
    """Words with formulas and code in them as HTML."""
    parts = re.split(r"\$(.+?)\$|`(.+?)`", text)
    shown = [
        f"{escape(plain)}{mathml(latex) if latex else ''}{f'<code>{escape(code)}</code>' if code else ''}"
        for plain, latex, code in zip(parts[::3], [*parts[1::3], None], [*parts[2::3], None], strict=True)
    ]
    return "".join(shown)


def as_html(formula: Formula) -> str:
    """A formula and its words as HTML."""
    where = f'<p class="where">{words(formula.where)}</p>' if formula.where else ""
    return "".join(map(display, formula.lines)) + where


def shipped() -> str:
    """The file that `ltbench site` reads: method -> HTML, and that of the letters under an empty name."""
    made = {name: as_html(formula) for name, formula in formulas().items()}
    return json.dumps({"": words(LETTERS), **made}, indent=0, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Write the file."""
    SHIPPED.write_text(shipped(), encoding="utf-8")


if __name__ == "__main__":
    main()
