"""The short form of the storm; `make storm` is the long one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.storm.weather import storm

if sys.platform != "linux":
    pytest.skip("processes are found under /proc", allow_module_level=True)
pytest.importorskip("moto.server")
pytest.importorskip("s3fs")


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.xdist_group("processes")
def test_nothing_is_lost_or_counted_twice_in_a_storm(tmp_path: Path) -> None:
    report = storm(tmp_path, seeds=1, kills=5)
    assert (report.problems, report.left) == ([], []), str(report)
    assert report.faults["worker"] == 2
