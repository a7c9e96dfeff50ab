"""MLflow's tracking URIs: the default one, and how to speak of one without its secrets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from ltbench.errors import UserError

_SQLITE = "sqlite:///"
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME")


def default_uri(results: Path) -> str:
    """The store of a results folder: a sqlite file of its own, by absolute path.

    Raises:
        UserError: the path has a `?`, where what is said to the database begins in a URI.
    """
    if "?" in str(results.absolute()):
        raise UserError(f"{results}: a path with a `?` cannot be written as the URI of its store; choose another "
                        f"folder with --results, or a store with --tracking-uri")  # fmt: skip
    return f"{_SQLITE}{(results / 'mlflow.db').absolute()}"


def sqlite_file(uri: str) -> Path | None:
    """The file of a sqlite store; None for stores of other kinds."""
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]) if uri.startswith(_SQLITE) else None


def shown_uri(uri: str) -> str:
    """A tracking URI without the user, password or token it may carry: before the host, in the query, in the
    fragment."""
    scheme, colon, rest = uri.partition("://")
    if not colon:
        return uri
    if "@" in rest and not rest.startswith("/"):  # the last one: passwords may hold @, / and ? unescaped
        rest = "***@" + rest.rpartition("@")[2]
    rest, sharp, _ = rest.partition("#")
    rest, mark, query = rest.partition("?")
    values = "&".join(f"{pair.partition('=')[0]}=***" if "=" in pair else "***" for pair in query.split("&"))
    return f"{scheme}://{rest}" + (f"?{values}" if mark else "") + ("#***" if sharp else "")


def without_secrets(text: str, uri: str) -> str:
    """A message from below (MLflow, HTTP, a database driver) without what the URI and the environment keep secret."""
    for secret in sorted(_secrets_of(uri), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"//[^/@\s]+@", "//***@", text)
    return re.sub(r"([?&][\w.-]+=)[^&\s'\")]+", r"\1***", text)


def _secrets_of(uri: str) -> set[str]:
    found = {os.environ[name] for name in _SECRETS if name in os.environ}
    rest = uri.partition("://")[2]
    credentials = "" if rest.startswith("/") else rest.rpartition("@")[0]
    user, _, password = credentials.partition(":")
    body, _, fragment = rest.removeprefix(credentials).partition("#")
    values = [pair.partition("=")[2] or pair for pair in body.partition("?")[2].split("&")]
    found |= {credentials, password or user, fragment, *values}
    return {form for secret in found for form in (secret, unquote(secret)) if len(form) >= 3}
