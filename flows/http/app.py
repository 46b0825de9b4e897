"""The scoring server's application: MLflow's paths with limits, and a page to try a classifier.

GET  /ping /health /version   MLflow's own
POST /invocations             texts in one of MLflow's JSON forms; for each its label, threshold and probabilities
POST /explain                 {"text": "..."}; the same of one text, and how much each word weighed
GET  /model                   which model answers
GET  /                        a page to try it
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from mlflow.pyfunc import scoring_server
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from flows.http.limits import Limits
from lib.errors import MessagesError
from lib.inference.explanation import explain
from lib.inference.requests import TEXT, text_of, texts_of

JSON = "application/json"
ASSETS = Path(__file__).parent / "assets"
PAGE = {"/": ("try.html", "text/html"), "/try.css": ("try.css", "text/css"), "/try.js": ("try.js", "text/javascript")}
# The page runs its own script and asks its own server, whatever a text or a label says.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
PATHS = "GET / and /model, /ping, /health, /version; POST /invocations and /explain"
TOGETHER = 128  # texts that are classified in one go; between two goes other requests have their turn
LONGEST_EXPLAINED = 10_000  # characters of a text: it is classified once for each of its words
CLIENT_IS_GONE = 499  # nginx's number for it; nobody reads the answer

Result = TypeVar("Result")


@dataclass(frozen=True)
class Served:
    """A version of a registered model, loaded: MLflow's `PyFuncModel`."""

    name: str
    version: str
    model: Any

    @property
    def identity(self) -> dict[str, str]:
        """What every answer says of it."""
        return {"name": self.name, "version": self.version}

    def rows(self, texts: list[str]) -> list[dict[str, Any]]:
        """What MLflow's scoring server answers for each text: `label`, `threshold`, `probability_<label>`."""
        # Not as "inputs": of those MLflow makes NumPy's strings, each as wide as the widest, without NULs at the end.
        asked = json.dumps({"dataframe_split": {"columns": [TEXT], "data": [[text] for text in texts]}})
        schema = self.model.metadata.get_input_schema()
        answer = scoring_server.invocations(asked, JSON, self.model, schema)  # type: ignore[no-untyped-call]
        rows: list[dict[str, Any]] = json.loads(answer.response)["predictions"]
        return rows

    def explanation(self, text: str) -> dict[str, Any]:
        """The text's own row as `prediction`, its `words` with their weights, and how many words were `not_weighed`."""
        (row,) = self.rows([text])
        share = f"probability_{row['label']}"
        found = explain(text, lambda texts: [float(other[share]) for other in self.rows(texts)])
        return {"prediction": row, **asdict(found)}


def application(served: Served, limits: Limits, *, threads: int) -> Starlette:
    """The application over one loaded model, which so many `threads` work on at once."""
    endpoints = _Endpoints(served, limits, ThreadPoolExecutor(threads, thread_name_prefix="classify"))
    mlflow = scoring_server.init(served.model)
    pages = [Route(path, partial(_page, *file)) for path, file in PAGE.items()]
    return Starlette(
        routes=[
            *pages,
            *(Route(path, mlflow, methods=["GET"]) for path in ("/ping", "/health", "/version")),
            Route("/model", endpoints.model),
            Route("/invocations", endpoints.invocations, methods=["POST"]),
            Route("/explain", endpoints.explain, methods=["POST"]),
        ],
        exception_handlers={
            HTTPException: _refused,
            MessagesError: _wrong_input,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )


@dataclass(frozen=True)
class _Endpoints:
    served: Served
    limits: Limits
    workers: ThreadPoolExecutor

    async def model(self, request: Request) -> Response:  # noqa: ARG002 - what a route is given
        return _json({**self.served.identity, "limits": asdict(self.limits)})

    async def invocations(self, request: Request) -> Response:
        texts = texts_of(await self._body(request))
        if len(texts) > self.limits.texts:
            raise _too_large(
                f"the request has {len(texts):,} texts, and {self.limits.texts:,} are the most: send several requests,"
                " or score files with finetune score"
            )
        rows: list[dict[str, Any]] = []
        for start in range(0, len(texts), TOGETHER):
            if start and await request.is_disconnected():
                raise ClientDisconnect
            rows += await self._in_turn(partial(self.served.rows, texts[start : start + TOGETHER]))
        return _json({"predictions": rows, "model": self.served.identity})

    async def explain(self, request: Request) -> Response:
        text = text_of(await self._body(request))
        if len(text) > LONGEST_EXPLAINED:
            raise _too_large(
                f"the text has {len(text):,} characters, and {LONGEST_EXPLAINED:,} are the most that are explained:"
                " shorten it, or POST it to /invocations"
            )
        found = await self._in_turn(partial(self.served.explanation, text))
        return _json({**found, "model": self.served.identity})

    async def _in_turn(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.workers, work)

    async def _body(self, request: Request) -> bytes:
        """The request's body; no more of it is kept than the limit, whatever its headers say."""
        kind, _, charset = request.headers.get("content-type", "").partition(";")
        if kind.strip().lower() != JSON or charset.strip().lower() not in ("", "charset=utf-8"):
            # Also what keeps other sites' pages out: a browser asks before it sends JSON to another site.
            raise HTTPException(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body must be JSON in UTF-8: send Content-Type: {JSON}"
            )
        most = self.limits.body_bytes
        sentence = f"the body has more than {most:,} bytes, the most that is read: send several requests"
        if int(request.headers.get("content-length", 0)) > most:
            raise _too_large(sentence)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise _too_large(sentence)
        return bytes(body)


async def _page(name: str, kind: str, request: Request) -> Response:  # noqa: ARG001 - what a route is given
    return Response((ASSETS / name).read_bytes(), media_type=kind, headers=PAGE_HEADERS)


def _json(content: dict[str, Any], status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    # Escaped to ASCII: a sentence may quote half a character, which no encoding can write.
    return Response(json.dumps(content), status, headers, media_type=JSON)


def _error(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """In the form of MLflow's errors, without their stack trace."""
    return _json({"error_code": HTTPStatus(status).name, "message": sentence}, status, headers)


def _too_large(sentence: str) -> HTTPException:
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)


async def _wrong_input(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _error(HTTPStatus.BAD_REQUEST, str(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "what it is registered for"
    sentence = error.detail
    if error.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        sentence = f"{request.method} {request.url.path} is nothing that is served here: there are {PATHS}"
    return _error(error.status_code, sentence, error.headers)  # a 405 has to say what is allowed


async def _gone(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return Response(status_code=CLIENT_IS_GONE)


async def _failed(request: Request, error: Exception) -> Response:  # noqa: ARG001 - logged by the server
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed to answer: its log says why")
