"""Addresses of MLflow stores: those that are nearly right are told, and what they keep secret is not."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from ltbench.errors import UserError
from ltbench.system.uris import default_uri, store_uri, without_secrets

PASSWORD = "S3cret Pw/+?"


@pytest.mark.parametrize(
    "uri",
    ["http://host:5000", "https://me:pw@host/x", "sqlite:///m.db", "sqlite:////abs/m.db?timeout=5", "databricks",
     "postgresql+psycopg2://me:pw@host/db", "mysql://host/db", "databricks://profile", "file:///mlruns"],
)  # fmt: skip
def test_addresses_that_mlflow_knows_go_through(uri: str, tmp_path: Path) -> None:
    assert store_uri(uri, tmp_path) == uri
    assert store_uri(None, tmp_path) == default_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("htp://127.0.0.1:5000", r"no stores of the scheme 'htp'.*'http'"),
        ("postgres://host/db", r"no stores of the scheme 'postgres'.*'postgresql'"),
        ("s3://bucket/x", "no stores of the scheme 's3'"),
        ("http:/host", "write // after http:"),
        ("sqlite://m.db", "write /// after sqlite:"),
        ("sqlite:/m.db", "write /// after sqlite:"),
        ("127.0.0.1:5000", "no address with a scheme"),
        ("m.db", "no address with a scheme; .*sqlite:///FILE.db"),
        ("./mlruns", "no address with a scheme"),
        ("htp://me:geheim@host", r"htp://\*\*\*@host"),
    ],
)
def test_addresses_that_are_nearly_right_are_told_with_the_cure(uri: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as refused:
        store_uri(uri, tmp_path)
    assert "geheim" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_results_folder_whose_path_is_no_path_in_a_uri_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rename the folder"):
        default_uri(tmp_path / "what?")


@pytest.mark.parametrize(
    "said",
    [
        PASSWORD,
        PASSWORD.upper(),
        quote(PASSWORD),
        quote(PASSWORD, safe=""),
        json.dumps({"password": PASSWORD}),
        f"Authorization: Basic {base64.b64encode(f'alice:{PASSWORD}'.encode()).decode()}",
        base64.urlsafe_b64encode(f"alice:{PASSWORD}".encode()).decode().rstrip("="),
        base64.b64encode(PASSWORD.encode()).decode(),
    ],
)
@pytest.mark.parametrize("place", ["environment", "uri"])
def test_what_a_server_says_back_is_masked_in_every_spelling(
    said: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://host"
    if place == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    else:
        uri = f"http://alice:{quote(PASSWORD, safe='')}@host"
    masked = without_secrets(f"denied ({said}) by host", uri)
    assert masked.startswith("denied (")
    assert masked.endswith(") by host")
    for form in (said, "S3cret", "s3cret", base64.b64encode(b"alice:S3").decode()[:10]):
        assert form not in masked


@pytest.mark.parametrize(
    "said",
    ["Bearer abc.def-123", "bearer abc.def-123", "BEARER: abc.def-123", "token=abc.def-123", "Basic YWxpY2U6czNjcmV0",
     "Bearer%20abc.def-123"],
)  # fmt: skip
def test_tokens_that_nobody_told_ltbench_of_are_masked_by_their_kind(said: str) -> None:
    masked = without_secrets(f"denied {said}", "http://host")
    assert "abc.def" not in masked
    assert "YWxp" not in masked


def test_what_is_no_secret_stays() -> None:
    text = "401 Client Error: the basic authentication of http://host:5000/api failed"
    assert without_secrets(text, "http://host:5000") == text
