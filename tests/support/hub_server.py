"""A real HTTP server on 127.0.0.1 that speaks the Hugging Face hub's protocol, as far as fetching and pushing need it.

    with HubServer() as hub:
        commit = hub.add("owner/name", {"config.json": b"{}", "model.safetensors": weights})
        ...
        assert [request.path for request in hub.requests] == [f"/owner/name/resolve/{commit}/config.json"]

Answers carry what the hub's do (X-Repo-Commit, X-Linked-Etag, X-Linked-Size, X-Error-Code); large files are redirected
to `storage`, another server on another port. `serve` (of either server) sets up worse answers. Large files are said to
be in Xet too, as the hub says it of its own, but Xet is not spoken here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import huggingface_hub.constants
import pytest

from tests.support.http_server import HttpServer, Reply, Request

TOKEN = "hf_of-this-test"  # the only one that is valid
USER = "somebody"  # whose it is


@dataclass
class Repository:
    """What one repository has."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # files by commit
    revisions: dict[str, str] = field(default_factory=dict)  # commits by branch, tag and commit
    private: bool = False
    gated: bool = False


class Storage(HttpServer):
    """Keeps what is uploaded, if it is what its address says."""

    def next_reply(self, request: Request) -> Reply:
        if request.method == "PUT":
            if request.path != stored_at(request.body):
                return Reply(b"not what was announced", status=400)
            self.serve(request.path, stored(request.body))
        return super().next_reply(request)

    def kept(self, path: str) -> bytes:
        """What lies there."""
        return self._replies[path][0].body


class HubServer(HttpServer):
    """Serves the repositories that were added or pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = Storage()
        self._repositories: dict[str, Repository] = {}

    def __enter__(self) -> Self:
        self.storage.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self.storage.__exit__(kind, error, traceback)

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT is to be."""
        return self.url("")

    def add(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        revision: str = "main",
        private: bool = False,
        gated: bool = False,
    ) -> str:
        """Make a commit that `revision` then stands for; returns it. A data set's name begins with `datasets/`."""
        content = repr((name, sorted(files.items()))).encode()
        commit = hashlib.sha1(content).hexdigest()
        repository = self._repositories.setdefault(name, Repository())
        repository.private, repository.gated = private, gated
        repository.commits[commit] = dict(files)
        repository.revisions |= {revision: commit, commit: commit}
        for file, body in files.items():
            if is_large(file):
                self.storage.serve(stored_at(body), stored(body))
        return commit

    def files(self, name: str) -> dict[str, bytes]:
        """What the main branch has."""
        repository = self._repositories[name]
        return repository.commits[repository.revisions["main"]]

    def is_private(self, name: str) -> bool:
        return self._repositories[name].private

    def next_reply(self, request: Request) -> Reply:
        """What `serve` was told for this path, or else what a hub answers."""
        told = super().next_reply(request)
        if request.path in self._replies:
            return told
        token = request.headers.get("authorization")
        if found := re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", request.path):
            return self._resolve(token, *map(unquote, found.groups()))
        if found := re.fullmatch(r"/api/(?:models/|(?=datasets/))(.+/[^/]+)/revision/([^/]+)", request.path):
            return self._info(token, *map(unquote, found.groups()))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", request.path):
            return self._info(token, found[1], "main")
        if request.method == "POST":
            return self._write(token, request)
        return told

    def _write(self, token: str | None, request: Request) -> Reply:
        """What a hub answers to those who push."""
        if token != f"Bearer {TOKEN}":
            return refused(401, None, "Invalid credentials in Authorization header")
        if request.path == "/api/validate-yaml":
            return as_json({"errors": [], "warnings": []})
        if request.path == "/api/repos/create":
            return self._create(json.loads(request.body))
        found = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/.]+)(?:\.git)?/(preupload|commit|info)/.+", request.path)
        if found is None:
            return Reply(b"nothing here", status=404)
        name, what = found.groups()
        if name.split("/")[0] != USER:
            return refused(403, None, f"Forbidden: you must have write access to {name}")
        answer = {"preupload": self._modes, "info": self._batch, "commit": self._commit}[what]
        return as_json(answer(name, request.body))

    def _create(self, wanted: Mapping[str, Any]) -> Reply:
        name = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] != USER:
            return refused(403, None, f"You don't have the rights to create a model under {wanted['organization']}")
        if name in self._repositories:
            return Reply(json.dumps({"url": self.url(f"/{name}")}).encode(), status=409)
        self.add(name, {".gitattributes": b""}, private=wanted.get("visibility") == "private")
        return as_json({"url": self.url(f"/{name}")})

    def _modes(self, name: str, body: bytes) -> dict[str, Any]:
        """How each file is to come, and the name of what is there already."""
        there = self.files(name)
        asked = [file["path"] for file in json.loads(body)["files"]]
        return {
            "files": [
                {
                    "path": file,
                    "uploadMode": "lfs" if is_large(file) else "regular",
                    "shouldIgnore": False,
                    "oid": None if file not in there else name_of(file, there[file]),
                }
                for file in asked
            ]
        }

    def _batch(self, name: str, body: bytes) -> dict[str, Any]:
        objects = json.loads(body)["objects"]
        places = {each["oid"]: {"upload": {"href": self.storage.url(f"/repos/{each['oid']}")}} for each in objects}
        return {"transfer": "basic", "objects": [{**each, "actions": places[each["oid"]]} for each in objects]}

    def _commit(self, name: str, body: bytes) -> dict[str, Any]:
        files = dict(self.files(name))
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.storage.kept(f"/repos/{value['oid']}")
        commit = self.add(name, files, private=self.is_private(name))
        return {"commitUrl": self.url(f"/{name}/commit/{commit}"), "commitOid": commit, "success": True}

    def _readable(self, name: str, token: str | None) -> Repository | Reply:
        """The repository, or why whoever has the token may not see it."""
        if token not in (None, f"Bearer {TOKEN}"):
            return refused(401, None, "Invalid credentials in Authorization header")
        repository = self._repositories.get(name)
        if repository is None or (repository.private and token is None):
            return refused(401 if token is None else 404, "RepoNotFound", "Repository not found")
        return repository

    def _info(self, token: str | None, name: str, revision: str) -> Reply:
        """What a repository has; of a gated one everybody may know that."""
        repository = self._readable(name, token)
        if isinstance(repository, Reply):
            return repository
        commit = repository.revisions.get(revision)
        if commit is None:
            return refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = [{"rfilename": file} for file in sorted(repository.commits[commit])]
        told = {"id": name, "sha": commit, "private": repository.private, "gated": repository.gated, "siblings": files}
        return as_json(told)

    def _resolve(self, token: str | None, name: str, revision: str, file: str) -> Reply:
        repository = self._readable(name, token)
        if isinstance(repository, Reply):
            return repository
        if repository.gated:
            return refused(401 if token is None else 403, "GatedRepo", f"Access to model {name} is restricted")
        commit = repository.revisions.get(revision)
        if commit is None:
            return refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        body = repository.commits[commit].get(file)
        if body is None:
            return refused(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        if not is_large(file):
            return Reply(body, headers={"X-Repo-Commit": commit}, etag=f'"{name_of(file, body)}"')
        linked = {
            "X-Repo-Commit": commit,
            "X-Linked-Etag": f'"{name_of(file, body)}"',
            "X-Linked-Size": str(len(body)),
            "X-Xet-Hash": xet_name(body),
            "X-Xet-Refresh-Route": self.url(f"/api/models/{name}/xet-read-token/{commit}"),
            "Location": self.storage.url(stored_at(body)),
        }
        return Reply(b"Found. Redirecting", status=302, headers=linked)


@contextmanager
def hub_for(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[HubServer]:
    """A hub, and huggingface_hub as it would be in an environment that named this hub and `folder`/cache.

    It reads its environment once, when it is imported, so a test in the same process sets what it read.
    """
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer() as server:
        settings = {
            "HF_HUB_CACHE": f"{folder}/cache",
            "HF_TOKEN_PATH": f"{folder}/no-token",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_DISABLE_XET": True,
            "DOWNLOAD_CHUNK_SIZE": 500,  # bytes, instead of ten million: what a cut connection loses at most
        }
        for name, value in settings.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        name_endpoint(monkeypatch, server.endpoint)
        yield server


def name_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """As HF_ENDPOINT does."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def is_large(file: str) -> bool:
    """Whether the hub keeps such a file outside of git."""
    return file.endswith((".safetensors", ".bin", ".parquet"))


def name_of(file: str, body: bytes) -> str:
    """The name by which the hub knows a file's content: its SHA-256 if it is large, git's otherwise."""
    if is_large(file):
        return hashlib.sha256(body).hexdigest()
    return hashlib.sha1(b"blob %d\0%s" % (len(body), body)).hexdigest()


def as_json(told: Mapping[str, Any]) -> Reply:
    return Reply(json.dumps(told).encode(), headers={"Content-Type": "application/json"})


def stored(body: bytes) -> Reply:
    return Reply(body, etag=f'"{hashlib.md5(body).hexdigest()}"')


def xet_name(body: bytes) -> str:
    """What Xet calls a file: 64 hexadecimal digits that are not its SHA-256."""
    return hashlib.blake2s(body).hexdigest()


def stored_at(body: bytes) -> str:
    """The path on the storage server."""
    return f"/repos/{hashlib.sha256(body).hexdigest()}"


def refused(status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error as the hub words it."""
    known = {"X-Error-Message": message} | ({} if code is None else {"X-Error-Code": code})
    return Reply(message.encode(), status=status, headers=known | dict(headers or {}))
