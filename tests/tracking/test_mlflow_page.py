"""`ltbench ui` in a browser: real records, MLflow's own server, and what a reader finds on the page it opens."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ltbench.workflow.import_records import import_records
from tests.page.test_page import browser as browser
from tests.page.test_page import in_a_browser

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "quickstart"
SECONDS = 180_000
"""Milliseconds in which MLflow's pages come up, also on a machine that has much else to do."""
# MLflow asks who is logged in, and has no answer without accounts; its table has words for its own authors.
OWN = re.compile(r"Failed to load resource: .*404|AG Grid|ResizeObserver loop")

pytestmark = [pytest.mark.slow, pytest.mark.nightly, in_a_browser]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `ltbench ui` prints for the reference of the quickstart, while its server runs."""
    results = tmp_path_factory.mktemp("results")
    (results / "quickstart").mkdir()
    shutil.copy(REFERENCE / "plan.json", results / "quickstart")
    assert import_records(REFERENCE / "records", results) == {"quickstart": 50}
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "ltbench", "ui", "--results", str(results), "--port", str(port), "--no-browser"]
    log = results / "ui.log"
    with log.open("w") as told:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True, env=dict(os.environ))
    assert server.stdout is not None
    try:
        name, _, found_at = server.stdout.readline().strip().partition(": ")
        assert name == "quickstart", log.read_text()
        yield found_at
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()


@pytest.fixture
def visit(address: str, browser: Any) -> Iterator[Any]:
    """A page of the browser on that address, and what it complained of or asked elsewhere."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.complaints = []
    page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: None if "//127.0.0.1:" in r.url or r.url.startswith(("data:", "blob:"))
            else page.complaints.append(r.url))  # fmt: skip
    page.set_default_timeout(SECONDS)
    yield page
    page.close()


def open_page(page: Any, address: str) -> None:
    """MLflow's server needs seconds until it answers."""
    for _ in range(200):
        try:
            page.goto(address, wait_until="domcontentloaded")
            return
        except Exception:
            page.wait_for_timeout(500)


def test_it_opens_on_the_trials_by_method_and_cell(visit: Any, address: str) -> None:
    open_page(visit, address)
    visit.wait_for_selector("text=Group: ")
    text = visit.inner_text("body")
    assert "Which simple remedies help the rarest digits" in text
    assert "telemetry" not in text.lower()
    assert "GenAI" in text, "the switch, which stands on the other side"
    names = visit.locator("text=/^Group: /").all_inner_texts()
    assert [name.split()[1] for name in names[:5]] == [
        "balanced_softmax", "text_guided_mixup", "cb_reweight", "ce", "mixup",
    ]  # fmt: skip
    assert "Group: balanced_softmax digits IF20" in " ".join(names)
    for head in ("board/mean", "board/low", "board/high", "board/gain"):
        assert head in text
    assert "81" in text
    assert [line for line in visit.complaints if not OWN.search(line)] == []


def test_the_best_rows_are_charted_with_their_intervals(visit: Any, address: str) -> None:
    open_page(visit, f"{address}&compareRunsMode=CHART")
    visit.wait_for_selector("text=board/mean")
    visit.wait_for_selector(".js-plotly-plot")
    text = visit.inner_text("body")
    assert ", 95 % interval" in text, text
    for chart in ("board/low", "board/mean", "board/high", "board/gain_low"):
        assert chart in text
    assert "balanced_softmax" in text
    assert [line for line in visit.complaints if not OWN.search(line)] == []
