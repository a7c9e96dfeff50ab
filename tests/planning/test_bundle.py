"""Exported trials: what they hold, and what is refused when they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ltbench.errors import UserError
from ltbench.planning.bundle import export, read_bundle
from ltbench.planning.resolve import Inputs
from ltbench.spec import Plan


def test_an_exported_plan_is_read_back_whole(lay_out: Callable[..., tuple[Plan, Inputs]], tmp_path: Path) -> None:
    plan, inputs = lay_out()
    files = export(plan, inputs, tmp_path / "bundle")
    back = [read_bundle(file) for file in files]
    assert [spec for spec, _, _ in back] == list(plan.trials)
    for spec, paths, texts in back:
        assert paths == {}
        assert set(texts) == ({spec.text} if spec.text else set())
        assert all(np.array_equal(texts[name], inputs.texts[name]) for name in texts)


def test_an_export_holds_one_file_a_trial_named_by_its_key(
    lay_out: Callable[..., tuple[Plan, Inputs]], tmp_path: Path
) -> None:
    plan, inputs = lay_out()
    export(plan, inputs, tmp_path / "bundle")
    assert {f.stem for f in (tmp_path / "bundle").glob("*.json")} == {t.key for t in plan.trials}
    assert {f.name for f in (tmp_path / "bundle").iterdir()} - {f"{t.key}.json" for t in plan.trials} == {"texts.npz"}


@pytest.fixture
def bundle(lay_out: Callable[..., tuple[Plan, Inputs]], tmp_path: Path) -> Path:
    """One exported trial that needs text."""
    plan, inputs = lay_out(methods=["text_guided_mixup"], seeds=[0])
    return export(plan, inputs, tmp_path / "bundle")[0]


def test_a_bundle_without_its_text_vectors_is_refused_with_the_file_that_is_missing(bundle: Path) -> None:
    (bundle.parent / "texts.npz").unlink()
    with pytest.raises(UserError, match=r"class-name vectors .* are not in .*texts\.npz"):
        read_bundle(bundle)


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"key": 1}', "\xff", "NaN"])
def test_a_file_that_is_no_bundle_is_refused(bundle: Path, text: str) -> None:
    bundle.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError):
        read_bundle(bundle)


def test_a_bundle_whose_learning_rate_was_edited_is_refused(bundle: Path) -> None:
    bundle.write_text(bundle.read_text().replace('"lr": 0.05', '"lr": 0.5'))
    with pytest.raises(UserError, match="it was edited"):
        read_bundle(bundle)
