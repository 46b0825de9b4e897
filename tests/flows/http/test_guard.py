"""Who may ask: hosts, and API keys of which only hashes are kept."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from flows.http.app import Endpoints, application
from flows.http.batching import Manner, Turns
from flows.http.guard import OPEN, Guard, add_key, own_hosts, read_keys
from flows.http.limits import Limits
from flows.http.metrics import Metrics
from flows.http.versions import Answering, Served
from flows.serve import main
from lib.errors import RecipeError


def asking(served: Served, guard: Guard, host: str = "localhost:5050") -> TestClient:
    endpoints = Endpoints(Answering(served), Limits(), Turns(Manner()), Metrics())
    headers: Any = {b"Host": host.encode("latin-1")}  # as bytes, because it may have any
    return TestClient(application(endpoints, guard=guard), base_url="http://localhost", headers=headers)


def status(served: Served, listening: str, host: str, *more: str) -> int:
    return asking(served, Guard(own_hosts(listening, more)), host).get("/ping").status_code


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:5050", "localhost.", "127.0.0.1:80", "[::1]:5050", "192.0.2.7", "models.example"]
)
def test_hosts_that_are_this_server(served: Served, host: str) -> None:
    assert status(served, "192.0.2.7", host, "Models.example") == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "192.0.2.8", "[::2]", "", "a b", "localhost@evil.example"),
        *("localhost:x", "[::1", "é.example", "\xff", "0.0.0.0"),
    ],
)
def test_hosts_that_are_another(served: Served, host: str) -> None:
    answer = asking(served, Guard(own_hosts("127.0.0.1")), host).get("/ping")
    assert answer.status_code == 421
    assert "start it with --allow-host" in answer.json()["message"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("listening", ["0.0.0.0", "::"])
def test_a_server_that_listens_everywhere_answers_for_addresses_and_not_for_names(
    served: Served, listening: str
) -> None:
    assert [status(served, listening, host) for host in ("192.0.2.8", "[2001:db8::1]:80", "evil.example")] == [
        200,
        200,
        421,
    ]
    assert status(served, listening, "evil.example", "*") == 200


def test_a_key_is_asked_for_where_texts_are_answered(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key, other = add_key(file, "nightly"), add_key(file, "web.1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in file.read_text()
    client = asking(served, Guard(None, read_keys(file)))
    for wrong in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {key}x"},
        {"Authorization": f"Basic {key}"},
    ):
        answer = client.post("/invocations", json={"inputs": ["a"]}, headers=wrong)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json()["message"] == "this server asks for a key: send the header Authorization: Bearer KEY"
    for right in (f"Bearer {key}", f"bearer  {other}"):
        headers = {"Authorization": right}
        assert client.post("/invocations", json={"inputs": ["a"]}, headers=headers).status_code == 200
    assert {client.get(path).status_code for path in OPEN} == {200}
    assert {client.get(path).status_code for path in ("/model", "/metrics", "/other")} == {401}


def test_a_key_is_made_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys"
    assert main(["--api-keys", str(file), "--new-key", "web"]) == 0
    key = capsys.readouterr().out.strip()
    assert Guard(None, read_keys(file)).key_of(f"Bearer {key}".encode()) == "web"
    assert main(["--api-keys", str(file), "--new-key", "web"]) == 2
    assert "has a key 'web' already" in capsys.readouterr().err
    assert main(["--new-key", "web"]) == 2
    assert "add --api-keys FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no key"),
        (b"# none yet\n\n", "has no key"),
        (b"web secret\n", "line 1 is no key"),
        (b"\nweb sha256:00\n", "line 2 is no key"),
        (b"\xff", "cannot be read"),
    ],
)
def test_a_file_that_has_no_keys(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=said):
        read_keys(file)


def test_names_that_no_key_has(tmp_path: Path) -> None:
    for name in ("a b", "", "a\n"):
        with pytest.raises(RecipeError, match="cannot name a key"):
            add_key(tmp_path / "keys", name)
