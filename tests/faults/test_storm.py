"""The short form of the storm; `make storm` is the long one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.storm.weather import storm

if sys.platform != "linux":
    pytest.skip("processes are found under /proc", allow_module_level=True)
pytest.importorskip("moto.server", reason="`make storm` installs what an object store on loopback needs")
pytest.importorskip("s3fs", reason="`make storm` installs what an object store on loopback needs")


@pytest.mark.slow
@pytest.mark.nightly
def test_nothing_is_lost_or_counted_twice_in_a_storm(tmp_path: Path) -> None:
    report = storm(tmp_path, seeds=3, kills=10)  # with fewer trials, all may be there before each fault has come
    assert (report.problems, report.left) == ([], []), str(report)
    assert report.faults["worker"] == 4
