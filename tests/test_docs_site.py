"""The documentation site in a browser: quiet, asking nobody else, as wide as the screen, legible, by keyboard."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page.test_page import BROWSER
from tests.page.test_page import browser as browser
from tests.page.test_reading import PALE

ROOT = Path(__file__).parents[1]
PAGES = [
    "index",
    "tutorials/first-run",
    "leaderboard",
    "gallery",
    "notebooks/quickstart",
    "suites",
    "faq",
    "reference/commands",
    "reference/methods",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.nightly,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine"),
    pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="mkdocs is not installed: make docs"),
]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the site, built as by `make docs`."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=True,
    )  # fmt: skip
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))
    ) as server:  # the search of the theme does not work from disk
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.mark.parametrize("where", PAGES)
def test_a_page_fits_is_quiet_and_asks_nobody_else(browser: Any, site: str, where: str) -> None:
    for width in (390, 768, 1440):
        context = browser.new_context(viewport={"width": width, "height": 900})
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message, said=said: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        answer = page.goto(f"{site}{where}.html", wait_until="networkidle")
        assert answer.status == 200
        assert said == []
        assert [url for url in asked if not url.startswith((site, "data:", "blob:"))] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
        context.close()


def test_formulas_are_drawn_and_the_markdown_keeps_latex(browser: Any, site: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(site + "reference/methods.html", wait_until="load")
    sizes = page.eval_on_selector_all(".formula math", "(all) => all.map((m) => m.getBoundingClientRect().height)")
    assert len(sizes) > 65
    assert min(sizes) > 5
    assert "FORMULA" not in page.inner_text("main")
    page.goto(site + "reference/methods.md", wait_until="load")
    assert "L = \\ell(z + \\log \\pi,\\ y)" in page.inner_text("body")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_the_pages_say_has_contrast(browser: Any, site: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(site + "leaderboard.html", wait_until="networkidle")
    faint = [found for found in page.evaluate(PALE) if found.split(".")[0] in ("P", "LI", "TD", "TH", "H1", "H2", "H3")]
    context.close()
    assert faint == []


def test_the_keyboard_finds_the_search(browser: Any, site: str) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(site + "index.html", wait_until="networkidle")
    page.keyboard.press("Tab")
    assert "skip" in page.evaluate("document.activeElement.className")
    page.keyboard.press("/")
    page.keyboard.type("holm")
    page.wait_for_selector(".md-search-result__item", timeout=20_000)
    context.close()
