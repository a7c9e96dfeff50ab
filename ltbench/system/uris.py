"""MLflow's tracking URIs: the default one, and how to speak of one without its secrets."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from ltbench.errors import UserError, clipped, did_you_mean

_SQLITE = "sqlite:///"
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME")
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc", "file")
"""What MLflow knows; plug-ins add theirs."""
_EXAMPLES = "write http://HOST:PORT or https://HOST for a server, sqlite:///FILE.db for a file"


def default_uri(results: Path) -> str:
    """The store of a results folder: a sqlite file of its own, by absolute path.

    Raises:
        UserError: the path has a character that means something in a URI.
    """
    file = (results / "mlflow.db").absolute()
    meant = "after a ? in the path MLflow's sqlite store reads options" if "?" in str(file) else ""
    if code := re.search(r"%[0-9a-fA-F]{2}", str(file)):
        meant = f"MLflow reads {code[0]} in the path as the character {clipped(unquote(code[0]))!r}"
    if meant:
        raise UserError(f"--results {results}: {meant}, and so the store would lie elsewhere; rename the folder, or "
                        f"name a store of your own: --tracking-uri sqlite:///FILE.db")  # fmt: skip
    return f"{_SQLITE}{file}"


def store_uri(given: str | None, results: Path) -> str:
    """MLflow's store: the one that is asked for, or else that of the results folder.

    Raises:
        UserError: it is an address that MLflow cannot use.
    """
    if not given:
        return default_uri(results)
    scheme, colon, rest = given.partition(":")
    if given == "databricks" or (colon and not rest.startswith("//") and scheme == "file"):
        return given
    if not colon or not rest.startswith("/"):
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
            return given
        raise UserError(f"--tracking-uri {shown_uri(given)}: is no address with a scheme; {_EXAMPLES}")
    known = {*_SCHEMES, *(plugin.name for plugin in entry_points(group="mlflow.tracking_store"))}
    if scheme.partition("+")[0] not in known:
        raise UserError(f"--tracking-uri {shown_uri(given)}: MLflow has no stores of the scheme {scheme!r}. "
                        f"{did_you_mean(scheme, known)} For instance, {_EXAMPLES}")  # fmt: skip
    slashes = "///" if scheme == "sqlite" else "//"
    if not rest.startswith(slashes):
        raise UserError(f"--tracking-uri {shown_uri(given)}: write {slashes} after {scheme}: ({_EXAMPLES})")
    return given


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
    """A message from below (MLflow, HTTP, a database driver) without what the URI and the environment keep secret, in
    whatever spelling: a server may say back the header that it was sent."""
    forms = {form for secret in _secrets_of(uri) for form in _spellings(secret) if len(form) >= 3}
    for form in sorted(forms, key=len, reverse=True):
        text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)
    text = re.sub(r"//[^/@\s]+@", "//***@", text)
    text = re.sub(r"\b((?i:bearer)(?:[\s:=]+|%20|\+))[\w.~+/=%-]{6,}", r"\1***", text)
    # Of words that also stand in sentences, only what looks like no word behind them.
    words = r"\b((?i:basic|token|digest|negotiate)(?:[\s:=]+|%20|\+))(?=\S*[\dA-Z=])"
    text = re.sub(words + r"[\w.~+/=%-]{6,}", r"\1***", text)
    return re.sub(r"([?&][\w.-]+=)[^&\s'\")]+", r"\1***", text)


def _spellings(secret: str) -> Iterator[str]:
    """A secret as it is, and as what carries it writes it: in a URI, in JSON, in base64."""
    for form in {secret, unquote(secret), unquote_plus(secret)}:
        yield from (form, quote(form), quote(form, safe=""), quote_plus(form), json.dumps(form)[1:-1], repr(form)[1:-1])
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(form.encode()).decode()
            yield encode(form.encode()).decode().rstrip("=")


def _secrets_of(uri: str) -> set[str]:
    found = {os.environ[name] for name in _SECRETS if os.environ.get(name)}
    found.add(f"{os.environ.get(_SECRETS[2], '')}:{os.environ.get(_SECRETS[0], '')}")
    rest = uri.partition("://")[2]
    credentials = "" if rest.startswith("/") else rest.rpartition("@")[0]
    user, _, password = credentials.partition(":")
    body, _, fragment = rest.removeprefix(credentials).partition("#")
    values = [pair.partition("=")[2] or pair for pair in body.partition("?")[2].split("&")]
    found |= {credentials, password or user, fragment, *values, f"{unquote(user)}:{unquote(password)}"}
    return {secret for secret in found if len(secret) >= 3}
