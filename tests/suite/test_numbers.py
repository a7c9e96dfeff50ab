"""Suites as people write them: numbers that YAML reads otherwise, or that are too large; long and hostile texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ltbench.errors import UserError, on_a_screen
from ltbench.suite import Suite
from ltbench.suite.load import load_suite

SUITE = """\
suite: small
datasets: [{{name: digits, imbalance: [{imbalance}]}}]
recipes:
  r: {{backbone: mlp, epochs: {epochs}, batch_size: 32, optimizer: {{name: sgd, lr: 0.05}}}}
methods: [ce]
protocol: {{final: {{seeds: [{seeds}]}}}}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Suite]:
    """`load(seeds="010")`: a suite with these texts in it; `more` at its end, `overrides` as for `--set`."""

    def read(more: str = "", overrides: tuple[str, ...] = (), **texts: str) -> Suite:
        filled = SUITE.format(**{"imbalance": "20", "epochs": "1", "seeds": "0"} | texts)
        (tmp_path / "suite.yaml").write_bytes((filled + more).encode())
        return load_suite(tmp_path / "suite.yaml", overrides)

    return read


@pytest.mark.parametrize(
    ("seed", "says"),
    [
        ("010", "line 6: YAML reads 010, with its leading zero, as an octal number; write 10"),
        ("-007", "write 7"),
        ("0_17", "write 17"),
        ("08", "line 6: .*YAML reads 08, with its leading zero, as a text; write 8"),
        ("1:20", "line 6: YAML reads 1:20 in base 60"),
        ("1:20.5", "base 60"),
        ("1:20:30", "base 60"),
    ],
)
def test_a_number_that_yaml_reads_otherwise_is_refused_with_the_spelling(
    seed: str, says: str, load: Callable[..., Suite]
) -> None:
    with pytest.raises(UserError, match=says):
        load(seeds=seed)
    if not seed.startswith("-"):
        with pytest.raises(UserError, match=r"^--set"):
            load(overrides=(f"protocol.final.seeds=[{seed}]",))


@pytest.mark.parametrize(("seed", "value"), [("0", 0), ("00", 0), ("1_000", 1000), ("0x10", 16), ("+3", 3)])
def test_other_spellings_are_read(seed: str, value: int, load: Callable[..., Suite]) -> None:
    assert load(seeds=seed).protocol.final.seeds == [value]


def test_what_looks_so_in_quotes_is_a_text(load: Callable[..., Suite]) -> None:
    assert load('question: "010 or 1:20"\n').question == "010 or 1:20"
    assert load("question: '010'\n").question == "010"


@pytest.mark.parametrize("where", ["imbalance", "epochs"])
@pytest.mark.parametrize("number", ["1.0e+308", "1.0e+999", "9" * 400, ".inf", ".nan", "1" + "0" * 5000])
def test_a_number_too_large_to_compute_with_is_refused(where: str, number: str, load: Callable[..., Suite]) -> None:
    with pytest.raises(UserError, match=r"suite\.yaml.*line [24]") as refused:
        load(**{where: number})
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("key", ["k" * 20_000, "k " * 10_000])
def test_of_a_long_key_or_value_the_beginning_is_shown(key: str, load: Callable[..., Suite]) -> None:
    for more in (f'? "{key}"\n: 1\n', f'text: {{encoder: "{key}"}}\n', f'resources: {{executor: "{key}"}}\n'):
        with pytest.raises(UserError, match=r"line 7.*(k k|kkk)") as refused:
            load(more)
        assert len(str(refused.value)) < 1000


def test_a_long_override_is_cut_in_its_message(load: Callable[..., Suite]) -> None:
    with pytest.raises(UserError, match=r"--set recipes\.rrr") as refused:
        load(overrides=(f"recipes.{'r' * 5000}.x.y=[1",))
    assert len(str(refused.value)) < 500


def test_a_home_folder_is_found_in_extends_and_in_a_suites_name(
    tmp_path: Path, load: Callable[..., Suite], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load()
    (tmp_path / "suite.yaml").rename(tmp_path / "base.yaml")
    (tmp_path / "suite.yaml").write_text("extends: ~/base.yaml\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_suite(tmp_path / "suite.yaml") == whole
    assert load_suite("~/base.yaml") == whole
    assert load_suite({"extends": "~/base.yaml"}) == whole


def test_a_message_fits_a_screen() -> None:
    assert on_a_screen("short: " + "k" * 399) == "short: " + "k" * 399
    assert on_a_screen("x " + "k" * 20_000) == "x " + "k" * 80 + "... (20,000 characters)"
    assert len(on_a_screen("word " * 10_000)) < 2100
