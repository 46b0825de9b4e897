"""Files in object stores: S3 by a real server (moto's), Google's and Azure's by servers that answer as theirs do."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import pytest
from moto.server import ThreadedMotoServer

from lib.data.source import objects
from lib.data.source.download import download, identity
from lib.data.source.objects import find_objects
from lib.errors import ExtraError, SourceError
from tests.support.http_server import HttpServer, Reply, Request

TEXT = b"text,label\n" + b"hello,ham\ncall now,spam\n" * 20_000
SHA256 = hashlib.sha256(TEXT).hexdigest()
SECRET = "very-secret-key"
ACCOUNT_KEY = base64.b64encode(SECRET.encode()).decode()


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a server with an empty bucket called `data`."""
    settings = {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="data")
    yield client
    for version in client.list_object_versions(Bucket="data").get("Versions", []):
        client.delete_object(Bucket="data", Key=version["Key"], VersionId=version["VersionId"])
    client.delete_bucket(Bucket="data")


class Place:
    """A folder to download into."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.scratch = folder / "into", folder / "scratch"
        self.progress: list[tuple[int, int | None, str]] = []

    def get(self, address: str, **options: Any) -> Any:
        return download(
            [address], self.folder, scratch=self.scratch, progress=lambda *done: self.progress.append(done), **options
        )

    def fails(self, address: str, **options: Any) -> SourceError:
        with pytest.raises(SourceError) as caught:
            self.get(address, **options)
        assert SECRET not in str(caught.value)
        return caught.value


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def key(address: str) -> dict[str, str]:
    return identity([address], member=None, sha256=None, ending_counts=True)


def test_an_object_of_s3_arrives_whole(s3: Any, place: Place) -> None:
    s3.put_object(Bucket="data", Key="in/a b+c#1?.csv", Body=TEXT)
    found = place.get("s3://data/in/a b+c#1?.csv", sha256=SHA256)
    assert (found.size, found.address) == (len(TEXT), "s3://data/in/a b+c#1?.csv")
    assert found.file.read_bytes() == TEXT
    assert place.progress[-1] == (len(TEXT), len(TEXT), "bytes")
    assert list(place.scratch.iterdir()) == []


def test_a_cut_transfer_of_an_object_is_gone_on_with(s3: Any, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "BLOCK_BYTES", 100_000)
    s3.put_object(Bucket="data", Key="a.csv", Body=TEXT)

    def killed(done: int, total: int | None, unit: str) -> None:
        if done >= 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(["s3://data/a.csv"], place.folder, scratch=place.scratch, progress=killed)
    assert place.get("s3://data/a.csv", sha256=SHA256).size == len(TEXT)
    assert place.progress[0] == (200_000, len(TEXT), "bytes")


def test_an_object_that_has_changed_is_not_gone_on_with(s3: Any, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "BLOCK_BYTES", 100_000)
    s3.put_object(Bucket="data", Key="a.csv", Body=TEXT)

    def changing(done: int, total: int | None, unit: str) -> None:
        if done == 200_000:
            s3.put_object(Bucket="data", Key="a.csv", Body=TEXT.replace(b"hello", b"HELLO"))

    with pytest.raises(SourceError, match="changed while it was fetched") as caught:
        download(["s3://data/a.csv"], place.folder, scratch=place.scratch, progress=changing)
    assert caught.value.temporary
    assert place.get("s3://data/a.csv").file.read_bytes() == TEXT.replace(b"hello", b"HELLO")


def test_the_key_of_an_object_changes_with_its_contents_and_has_no_credentials(s3: Any) -> None:
    s3.put_object(Bucket="data", Key="a.csv", Body=TEXT)
    first = key("s3://data/a.csv")
    assert first == {
        "addresses": "s3://data/a.csv",
        "etag": f'"{hashlib.md5(TEXT).hexdigest()}"',
        "content_length": str(len(TEXT)),
        "ending": ".csv",
    }
    s3.put_object(Bucket="data", Key="a.csv", Body=TEXT + b"a,ham\n")
    assert key("s3://data/a.csv") != first
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="data", Key="a.csv", Body=TEXT)
    assert "version" in key("s3://data/a.csv")


def test_what_is_not_there_is_said_in_one_sentence(s3: Any, place: Place) -> None:
    s3.put_object(Bucket="data", Key="in/a.csv", Body=TEXT)
    assert str(place.fails("s3://data/none.csv")) == (
        "The source file cannot be fetched: s3://data/none.csv does not exist; check data.url"
    )
    assert "does not exist" in str(place.fails("s3://no-such-bucket/a.csv"))
    assert "larger than 0.1 MiB" in str(place.fails("s3://data/in/a.csv", size_limit=100_000))
    assert not place.fails("s3://data/none.csv").temporary


def test_a_store_that_refuses_names_where_credentials_come_from(
    s3: Any, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with HttpServer() as server:
        server.serve("/data/a.csv", Reply(b"", status=403))
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url(""))
        error = place.fails("s3://data/a.csv")
    assert "s3://data/a.csv may not be read with the credentials of the environment: set AWS_PROFILE" in str(error)
    assert not error.temporary
    assert SECRET not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("lib"))


def test_a_store_that_does_not_answer_may_do_so_later(s3: Any, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with HttpServer() as server:
        closed = server.url("")
    monkeypatch.setenv("AWS_ENDPOINT_URL", closed)
    error = place.fails("s3://data/a.csv", timeout=20.0)
    assert error.temporary
    assert "s3://data/a.csv cannot be reached" in str(error)
    assert key("s3://data/a.csv") == {"addresses": "s3://data/a.csv", "ending": ".csv"}


def test_folders_and_patterns_of_a_store_are_sorted(s3: Any) -> None:
    for name in ("in/b.csv", "in/a.csv", "in/deep/c.csv", "in/d.txt", "other/a.csv"):
        s3.put_object(Bucket="data", Key=name, Body=b"")
    found = {
        address: [name.removeprefix("s3://data/") for name in find_objects(f"s3://data/{address}", timeout=60)]
        for address in ("in/a.csv", "in/", "in", "in/*.csv", "*/a.csv", "in/**/*.csv", "in/none*")
    }
    assert found == {
        "in/a.csv": ["in/a.csv"],
        "in/": ["in/a.csv", "in/b.csv", "in/d.txt", "in/deep/c.csv"],
        "in": ["in/a.csv", "in/b.csv", "in/d.txt", "in/deep/c.csv"],
        "in/*.csv": ["in/a.csv", "in/b.csv"],
        "*/a.csv": ["in/a.csv", "other/a.csv"],
        "in/**/*.csv": ["in/a.csv", "in/b.csv", "in/deep/c.csv"],
        "in/none*": [],
    }


def test_a_store_without_its_package_names_the_extra(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.extras.find_spec", lambda package: None)
    with pytest.raises(ExtraError, match=r"s3://… needs the package s3fs, .*finetune-flows\[s3\]"):
        place.get("s3://data/a.csv")


class GoogleServer(HttpServer):
    """Answers as Google Cloud Storage's JSON API does for one bucket."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self.objects = objects

    def next_reply(self, request: Request) -> Reply:
        url = urlsplit(request.path)
        name = unquote(url.path.rpartition("/o/")[2])
        if url.path.rstrip("/") == "/storage/v1/b/data/o":
            prefix = parse_qs(url.query).get("prefix", [""])[0]
            items = [self.facts(name) for name in self.objects if name.startswith(prefix)]
            return Reply(json.dumps({"items": items}).encode(), headers={"Content-Type": "application/json"})
        if name not in self.objects:
            error = {"error": {"code": 404, "message": "not found"}}
            return Reply(json.dumps(error).encode(), status=404, headers={"Content-Type": "application/json"})
        if parse_qs(url.query).get("alt") == ["media"]:
            return Reply(self.objects[name])
        return Reply(json.dumps(self.facts(name)).encode(), headers={"Content-Type": "application/json"})

    def facts(self, name: str) -> dict[str, str]:
        body = self.objects[name]
        size = str(len(body))
        return {
            "name": name,
            "bucket": "data",
            "size": size,
            "etag": "e1",
            "generation": "17",
            "kind": "storage#object",
        }


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with GoogleServer({"in/a.csv": TEXT}) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url(""))
        yield server


def test_an_object_of_google_arrives_whole(google: GoogleServer, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "BLOCK_BYTES", 200_000)
    assert place.get("gs://data/in/a.csv", sha256=SHA256).size == len(TEXT)
    assert key("gs://data/in/a.csv") == {
        "addresses": "gs://data/in/a.csv",
        "etag": "e1",
        "version": "17",
        "content_length": str(len(TEXT)),
        "ending": ".csv",
    }
    assert find_objects("gs://data/in/*.csv", timeout=60) == ["gs://data/in/a.csv"]
    assert "gs://data/in/none.csv does not exist" in str(place.fails("gs://data/in/none.csv"))


class AzureServer(HttpServer):
    """Answers as Azure's blob storage does for one container."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        super().__init__()
        self.blobs = blobs

    def next_reply(self, request: Request) -> Reply:
        name = unquote(urlsplit(request.path).path).removeprefix("/account/data/")
        headers = {"x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"}
        if name not in self.blobs:
            return Reply(b"", status=404, headers=headers | {"x-ms-error-code": "BlobNotFound"})
        asked = request.headers.get("x-ms-range", request.headers.get("range"))
        body = self.blobs[name]
        dates = {"Last-Modified": "Tue, 01 Jul 2025 10:00:00 GMT", "ETag": '"0x1"', "x-ms-creation-time": ""}
        dates["x-ms-creation-time"] = dates["Last-Modified"]
        if asked is None:
            return Reply(body, headers=headers | dates)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = body[int(first) : int(last or len(body) - 1) + 1]
        span = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
        return Reply(part, status=206, headers=headers | dates | {"Content-Range": span})


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with AzureServer({"in/a.csv": TEXT}) as server:
        place = f"BlobEndpoint={server.url('/account')};AccountName=account;AccountKey={ACCOUNT_KEY}"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"DefaultEndpointsProtocol=http;{place}")
        yield server


def test_an_object_of_azure_arrives_whole(azure: AzureServer, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "BLOCK_BYTES", 200_000)
    assert place.get("az://data/in/a.csv", sha256=SHA256).size == len(TEXT)
    told = key("az://data/in/a.csv")
    assert told["content_length"] == str(len(TEXT))
    assert "0x1" in told["etag"]
    error = str(place.fails("az://data/in/none.csv"))
    assert "az://data/in/none.csv does not exist" in error
    assert ACCOUNT_KEY not in error
