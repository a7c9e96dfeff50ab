"""What pyproject.toml cannot say: PyPI has the README alone, so there its links and its picture lead to GitHub."""

import re
from pathlib import Path

from setuptools import setup

REPOSITORY = "https://github.com/ltbench/ltbench"
PICTURES = "https://raw.githubusercontent.com/ltbench/ltbench/main"


def for_pypi(readme: str) -> str:
    """The README with absolute links."""
    pictures = re.sub(r"(!\[[^\n]*?\]\()(?!\w+:|#)", rf"\1{PICTURES}/", readme)
    return re.sub(r"(?<!!)(\[[^\]!\[]+\]\()(?!\w+:|#)", rf"\1{REPOSITORY}/blob/main/", pictures)


if __name__ == "__main__":
    setup(
        long_description=for_pypi(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
    )
