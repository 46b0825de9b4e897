"""Secrets planted in addresses, settings and servers' answers, looked for in all that runs leave and print."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from flows.http.guard import add_key, read_keys
from flows.run.prefect_api import find_prefect
from flows.servers.database import create_missing, databases
from lib.errors import LAST_WORDS, LONGEST_SENTENCE, FinetuneError, ServiceError
from lib.evaluation.judge.protocol import AskError
from lib.evaluation.judge.servers import SAID_LIMIT, OpenAIServer
from lib.secrets import redacted
from tasks.record.mlflow_run import client
from tests.faults.outcomes import Outcomes
from tests.support.e2e import Home
from tests.support.http_server import HttpServer, Reply

pytestmark = pytest.mark.faults

# What each is, and where a run meets it; no other text has any of them.
PLANTED = {
    "a password in data.url": "Zq1-pass/of@data",
    "the signature of an address of S3": "Zq2sign0123456789abcdef",
    "a shared access signature of Azure": "Zq3sas%2Bqueue%3D",
    "a token in the place of a user's name": "Zq4_0123456789abcdefghij",
    "a Secret block of Prefect": "Zq5-block/of@prefect",
    "a password in PREFECT_API_URL": "Zq6-prefect-api",
    "HF_TOKEN": "Zq7_hub_0123456789",
    "the secret key of an object store": "Zq8/storage+0123456789",
    "the key of a judge's server": "Zq9-judge-0123456789",
    "a variable that a reference names": "Zq10-env/of@data",
}
PASSWORD, SIGNATURE, SAS, TOKEN, BLOCK, OF_PREFECT, *IN_ENVIRONMENT, REFERRED = PLANTED.values()


def forms(secret: str) -> set[bytes]:
    """How a secret may lie in a file: as it is, percent-encoded, in JSON, in base64 wherever it begins."""
    texts = {secret, quote(secret, safe=""), quote(secret), quote(secret, safe="").lower(), json.dumps(secret)[1:-1]}
    texts |= {json.dumps(secret).replace("/", "\\/")[1:-1]}
    inside = [base64.b64encode(b"x" * shift + secret.encode())[4 if shift else 0 : -4] for shift in range(3)]
    return {text.encode() for text in texts} | set(inside)


def found_in(places: Iterator[tuple[str, bytes]]) -> list[str]:
    """Which secrets lie where."""
    wanted = {what: forms(secret) for what, secret in PLANTED.items()}
    return [
        f"{what}: {place}"
        for place, content in places
        for what, ways in wanted.items()
        if any(way in content for way in ways)
    ]


def files_below(*folders: Path) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not file.is_symlink():
                yield str(file), str(file).encode() + file.read_bytes()


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@pytest.fixture
def planted(copied: Home, prefect_api: str, tmp_path: Path) -> Home:
    """A home in which a run meets all of them; what is temporary lies below `tmp_path`."""
    from prefect.blocks.system import Secret
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from pydantic import SecretStr

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        Secret(value=SecretStr(BLOCK)).save("zq-block", overwrite=True, _sync=True)  # type: ignore[call-arg]
    (tmp_path / "temporary").mkdir()
    variables = dict(zip(("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"), IN_ENVIRONMENT, strict=True))
    environment = {
        **copied.environment,
        **variables,
        "PREFECT_API_URL": prefect_api.replace("://", f"://me:{OF_PREFECT}@"),
        "ZQ_PASSWORD": REFERRED,
        "TMPDIR": str(tmp_path / "temporary"),
    }
    return replace(copied, environment=environment)


@pytest.mark.e2e
def test_no_byte_that_runs_leave_or_print_has_a_secret(
    planted: Home, server: HttpServer, small_data: Path, prefect_home: Path, tmp_path: Path, outcomes: Outcomes
) -> None:
    whole = Reply(small_data.read_bytes(), etag='"1"')
    host = server.url("").removeprefix("http://")
    addresses = [
        f"http://me:{quote(PASSWORD, safe='')}@{host}/of-pass.csv",
        f"http://{host}/signed.csv?X-Amz-Credential=me&X-Amz-Signature={SIGNATURE}",
        f"http://{host}/sas.csv?sv=2021&sig={SAS}",
        f"http://{TOKEN}@{host}/token.csv",
        f"http://me:${{ZQ_BLOCK}}@{host}/block.csv",
        f"http://me:${{ZQ_PASSWORD}}@{host}/reference.csv",
    ]
    refused = planted.call(*planted.arguments(f"--data.url={json.dumps(addresses)}"))
    server.serve("/reference.csv", whole)  # the last of them, so that all are asked
    done = planted.call(*planted.arguments("--json", f"--data.url={json.dumps(addresses)}"))
    asked = {request.path.partition("?")[0]: request for request in server.requests}
    with outcomes.trying("secrets in addresses, the environment and Prefect, a run that fails and one that succeeds"):
        assert refused.returncode == 2, refused.stderr
        assert done.returncode == 0, done.stderr
        assert "data.url has a secret" in done.stderr
        assert asked["/of-pass.csv"].headers["authorization"] == basic("me", PASSWORD)  # who connects has them
        assert asked["/block.csv"].headers["authorization"] == basic("me", BLOCK)
        assert asked["/reference.csv"].headers["authorization"] == basic("me", REFERRED)
        assert SIGNATURE in asked["/signed.csv"].path
        printed = [("printed", (run.stdout + run.stderr).encode()) for run in (refused, done)]
        left = [*files_below(planted.folder, prefect_home, tmp_path / "temporary")]
        assert found_in(iter([*printed, *left])) == []
        # What is kept in their place is in all places where a secret could have been.
        with_reference = {Path(name).name for name, content in left if b"${ZQ_PASSWORD}@" in content}
        assert {"source.json", "manifest.json", "recipe.yaml", "mlflow.db"} <= with_reference
        assert {"prefect.db", "prefect.db-wal"} & with_reference


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:Zq1-pass/of@data@127.0.0.1:1/mlflow",
        "postgresql://me:Zq1-pass%2Fof%40data@127.0.0.1:1/mlflow",
        "http://me:Zq1-pass%2Fof%40data@127.0.0.1:1",
        "http://me:Zq1-pass/of@data@127.0.0.1:1",
    ],
)
def test_a_server_that_is_away_is_named_without_its_password(
    address: str, monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes
) -> None:
    asked: dict[str, Callable[[], object]] = {"MLflow": client, "Prefect": lambda: find_prefect(address)}
    if address.startswith("postgres"):
        asked["PostgreSQL"] = lambda: create_missing(databases(address))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    for name, ask in asked.items():
        with outcomes.trying(f"a password in the address of {name}, which is away"):
            with pytest.raises(FinetuneError) as error:
                ask()
            assert found_in(iter([(name, str(error.value).encode())])) == []
            assert "Zq1" not in str(error.value)
            assert "of@data" not in str(error.value)


def test_a_judges_answer_that_repeats_the_key(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes
) -> None:
    async def ask_once() -> None:
        async with OpenAIServer("judge", server.url("")).open() as ask:
            await ask([{"role": "user", "content": "?"}])

    key = PLANTED["the key of a judge's server"]
    monkeypatch.setenv("OPENAI_API_KEY", key)
    for status, before in ((401, ""), (429, ""), (500, ""), (500, "." * (SAID_LIMIT - 8 - len("no ")))):
        said = json.dumps({"error": {"message": f"{before}no {key}"}}).encode()  # the last: across the cut
        server.serve("/chat/completions", Reply(said, status=status))
        with outcomes.trying("a judge's server that repeats the key in its answer"):
            with pytest.raises(AskError) as error:
                asyncio.run(ask_once())
            assert key[:5] not in str(error.value)


def test_the_key_of_a_scoring_server_is_kept_nowhere(tmp_path: Path, outcomes: Outcomes) -> None:
    file = tmp_path / "keys"
    key = add_key(file, "me")
    with outcomes.trying("the file with the keys of a scoring server"):
        assert key not in file.read_text(encoding="utf-8")
        assert list(read_keys(file)) == ["me"]
        assert file.stat().st_mode & 0o077 == 0


def test_the_words_of_other_programs(monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    """An error of a client that quotes its address or header is the second line of defence's."""
    for name, secret in (("HF_TOKEN", IN_ENVIRONMENT[0]), ("AWS_SECRET_ACCESS_KEY", IN_ENVIRONMENT[1])):
        monkeypatch.setenv(name, secret)
        for form in (secret, quote(secret, safe=""), json.dumps({"token": secret})):
            with outcomes.trying("a secret of the environment in the words of another program"):
                assert found_in(iter([(name, redacted(f"refused {form}").encode())])) == []
        head = LONGEST_SENTENCE - LAST_WORDS - 1
        for at in range(len(secret) + 1):  # where a long sentence is cut, of whose middle nothing is kept
            for before, after in ((head - at, LONGEST_SENTENCE), (LONGEST_SENTENCE, LAST_WORDS - at)):
                with outcomes.trying("a secret across a cut of a sentence"):
                    said = str(ServiceError(f"{'.' * before}{secret}{'.' * after}"))
                    assert len(said) <= LONGEST_SENTENCE
                    assert not {*secret} & {*said.replace("***", "")}, said


def test_a_secret_that_looks_like_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcomes: Outcomes) -> None:
    for secret in ("/Zq8+storage0123456789", "/Zq8/storage+0123456789", "~Zq8storage0123456789", "/" + "Zq8" * 2000):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        with outcomes.trying("a secret of the environment that begins as a path does"):
            assert redacted(f"refused {secret}!") == "refused ***!"
    for file in (tmp_path / "key.pem", tmp_path / "missing.pem", Path("~/key.pem")):
        (tmp_path / "key.pem").touch()
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("TLS_KEY", str(file))
        assert redacted(f"{file} cannot be read") == f"{file} cannot be read"  # it is no secret where a key lies
