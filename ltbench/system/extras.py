"""What a light install leaves out: `pip install ltbench` ranks scores and records; training, Ray, MLflow, figures and
data frames are extras. A command says here what it needs before it imports it."""

from __future__ import annotations

from importlib.util import find_spec

from ltbench.errors import UserError

EXTRAS = {
    "train": (
        "torch",
        "torchvision",
        "open_clip",
        "timm",
        "safetensors",
        "huggingface_hub",
        "sklearn",
        "PIL",
        "fsspec",
    ),
    "ray": ("ray",),
    "mlflow": ("mlflow",),
    "report": ("matplotlib", "jinja2", "networkx", "pandas"),
    "frames": ("pandas",),
    "text": ("sentence_transformers",),
}
"""Extra -> the modules that it brings. pyproject.toml has the packages; a test compares the two."""


def lacking(extra: str) -> list[str]:
    """The modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if not _installed(module)]


def need(what: str, *extras: str) -> None:
    """Go on only where all of these extras are installed.

    Args:
        what: needs them, as the user knows it: `ltbench run`.

    Raises:
        UserError: a module is not installed; with the command that installs it.
    """
    missing = {extra: modules for extra in extras if (modules := lacking(extra))}
    if missing:
        names = ", ".join(module for modules in missing.values() for module in modules)
        raise UserError(f"{what}: not installed: {names}. {cure(*missing)}")


def cure(*extras: str) -> str:
    """A sentence with the command that installs an extra; of several, all that a user who trains has."""
    return f"Install with: pip install 'ltbench[{extras[0] if len(extras) == 1 else 'all'}]'"


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # it is imported already, and by no file
        return True
