"""What a trial is made of is what it was planned with, or the trial does not train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ltbench.errors import UserError
from ltbench.spec import TrialSpec
from ltbench.training.assemble import load_cell
from ltbench.training.site import Site
from ltbench.training.trial import run_trial

Make = Callable[..., TrialSpec]


def test_other_images_than_the_trial_was_planned_with_are_refused(make_spec: Make, site: Site) -> None:
    spec = make_spec("ce")
    cell = replace(spec.cell, manifest="0" * 16)
    with pytest.raises(UserError, match=r"data set 'digits' has other images here \(manifest [0-9a-f]+\) than the tri"):
        load_cell(cell, site)
    record = run_trial(replace(spec, cell=cell), site)
    assert record.status == "failed"
    assert f"({cell.manifest})" in str(record.error)


def test_other_code_than_the_trial_was_planned_with_is_refused(make_spec: Make, site: Site) -> None:
    record = run_trial(replace(make_spec("ce"), code="0" * 12), site)
    assert record.status == "failed"
    assert "is other code here (fingerprint " in str(record.error)
