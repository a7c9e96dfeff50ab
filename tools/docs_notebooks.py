"""The notebooks of examples/ as pages of the site: text, code, and the output that is committed, which tests hold."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {f"notebooks/{name}.md": f"examples/{name}.ipynb" for name in ("quickstart", "own_method")}
"""Page -> the notebook that it is."""


def pages() -> dict[str, str | bytes]:
    """Files of the site: the pages, and their pictures."""
    found: dict[str, str | bytes] = {}
    for page, source in SOURCES.items():
        cells = json.loads((ROOT / source).read_text(encoding="utf-8"))["cells"]
        parts: list[str] = []
        for number, cell in enumerate(cells):
            parts += _cell(cell, page.removesuffix(".md") + f"-{number}.png", found)
        found[page] = "\n\n".join(parts) + "\n"
    return found


def _cell(cell: Mapping[str, Any], picture: str, found: dict[str, str | bytes]) -> Iterator[str]:
    """A cell as Markdown; a picture of its output goes into `found`."""
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    streams = "".join("".join(out["text"]) for out in cell["outputs"] if out["output_type"] == "stream")
    if streams:
        yield f"```\n{streams.rstrip()}\n```"
    for out in cell["outputs"]:
        data = out.get("data", {})
        if "image/png" in data:
            found[picture] = base64.b64decode("".join(data["image/png"]))
            yield f"![what the cell shows](../docs/{picture})"
        elif "text/html" in data:
            html = re.sub(r"\n\s*\n", "\n", "".join(data["text/html"]).strip())
            yield f'<div class="output">{html}</div>'
        elif "text/plain" in data:
            yield f"```\n{''.join(data['text/plain']).rstrip()}\n```"
