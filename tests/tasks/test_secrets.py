from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from lib.secrets import revealed, secret_named
from tasks.secrets import secrets_kept, tell_of_secrets
from tests.support.recipes import load_recipe

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "battery-staple")


def test_no_log_has_a_secret() -> None:
    """Of any logger, with any handler and formatter, nor in a traceback."""
    stream, log = io.StringIO(), logging.Logger("of another program")
    log.addHandler(logging.StreamHandler(stream))
    try:
        raise ValueError("asked with battery-staple")
    except ValueError:
        log.exception("a failure of %s", "battery-staple")
    log.warning("no %s", "secret")
    told = stream.getvalue()
    assert "battery-staple" not in told
    assert "a failure of ***" in told
    assert "ValueError: asked with ***" in told
    assert "no secret" in told


def test_no_traceback_has_a_secret() -> None:
    """Of what Python itself prints when a program ends."""
    code = "import tasks; secret = 'battery'; raise ValueError(f'asked with {secret}-staple')"
    ended = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "ValueError: asked with ***" in ended.stderr
    assert "battery-staple" not in ended.stderr


def test_no_error_that_prefect_keeps_has_a_secret() -> None:
    with pytest.raises(ValueError, match=r"^asked with \*\*\*$"), secrets_kept():
        raise ValueError("asked with battery-staple")


def test_a_written_secret_is_advised_against(caplog: pytest.LogCaptureFixture) -> None:
    recipe = load_recipe("quickstart", {"data.source": "file", "data.url": "https://me:horse-staple@example.org/x.csv"})
    tell_of_secrets(recipe.model_dump())
    assert "data.url has a secret, which is kept out of all that this run records: write ${NAME}" in caplog.text
    assert "horse-staple" not in caplog.text
    caplog.clear()
    tell_of_secrets(load_recipe("quickstart").model_dump())
    assert not caplog.text


def test_a_secret_block_of_prefect_stands_for_a_reference(prefect_api: str) -> None:
    from prefect.blocks.system import Secret
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from pydantic import SecretStr

    assert secret_named("NIGHTLY_PASSWORD") is None  # no server is started to ask
    with temporary_settings({PREFECT_API_URL: prefect_api}), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect_api)
        Secret(value=SecretStr("p/w")).save("nightly-password", overwrite=True, _sync=True)  # type: ignore[call-arg]
        assert revealed("https://me:${NIGHTLY_PASSWORD}@example.org") == "https://me:p%2Fw@example.org"
        assert secret_named("NIGHTLY_OTHER") is None
