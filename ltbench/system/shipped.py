"""Where the files lie that come with ltbench and are no modules of it: methods, suites, records, documents, files for
clusters. Installed, they are folders of the package; in a checkout they stand at its top."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_IN_A_CHECKOUT = {"reference": "results/reference"}


def shipped_folder(name: str) -> Path:
    """The folder of `methods`, `suites`, `reference`, `docs` or `cluster`. Imports nothing."""
    try:
        spec = find_spec(f"ltbench.{name}")
    except ValueError:  # a package that the registry made, in a checkout that is only on the path
        spec = None
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return _ROOT / _IN_A_CHECKOUT.get(name, name)


def method_names() -> list[str]:
    """The methods that come with ltbench, without importing one: torch alone takes seconds."""
    return sorted(file.stem for file in shipped_folder("methods").glob("[!_]*.py"))
