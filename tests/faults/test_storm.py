"""The short form of the storm; `make storm` is the long one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.storm import storm

if sys.platform != "linux":
    pytest.skip("workers are found under /proc", allow_module_level=True)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.xdist_group("processes")
def test_nothing_is_lost_or_counted_twice_in_a_storm(tmp_path: Path, data_root: Path) -> None:
    report = storm(tmp_path, data_root, seeds=2, kills=4, outages=1)
    assert report.problems == [], str(report)
    assert (report.worker_kills + report.driver_kills, report.outages) == (4, 1)
