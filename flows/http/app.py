"""The scoring server's application: MLflow's paths with limits, and pages to try a classifier and to read about it.

POST /invocations             texts in one of MLflow's JSON forms; for each its label, threshold and probabilities
POST /explain                 {"text": "..."}; the same of one text, and how much each word weighed
GET  /model                   which model answers
GET  /metrics                 for Prometheus
GET  /ping /health /version   MLflow's own
GET  / /docs /openapi.json    a page to try it, a page about these paths, the same for programs
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any, TypeVar

import mlflow
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from flows.http.answers import ONE_TEXT, REFUSALS, TEXTS, Explained, Model, Predictions
from flows.http.batching import MOST, Turns
from flows.http.comparing import Comparison
from flows.http.errors import JSON, error_response, json_response
from flows.http.guard import Guard
from flows.http.limits import Limits
from flows.http.metrics import CONTENT_TYPE, Metrics
from flows.http.observed import ID, NOTES, Observed
from flows.http.pages import pages
from flows.http.versions import Answering, Served
from lib.errors import MessagesError
from lib.inference.explanation import explain
from lib.inference.predictor import Prediction
from lib.inference.requests import text_of, texts_of

PATHS = "GET / and /docs, /openapi.json, /model, /metrics, /ping, /health, /version; POST /invocations and /explain"
LONGEST_EXPLAINED = 10_000  # characters of a text: it is classified once for each of its words
CLIENT_IS_GONE = 499  # nginx's number for it; nobody reads the answer
ABOUT = "Texts in, their labels and probabilities out, by a classifier of MLflow's registry."

Result = TypeVar("Result")
Work = Callable[[], Coroutine[Any, Any, None]]  # goes on until it is cancelled


def application(
    endpoints: Endpoints, *, behind: Sequence[Work] = (), guard: Guard | None = None, access_log: bool = False
) -> Observed:
    """The application, observed. `behind`: what goes on while requests are answered. `guard`: who may ask (None:
    everybody)."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001 - what FastAPI gives it
        tasks = [asyncio.create_task(work()) for work in behind]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(
        title=f"{endpoints.answering.champion.name}: texts classified over HTTP",
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={
            HTTPException: _refused,
            MessagesError: _wrong_input,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )
    app.post("/invocations", response_model=Predictions, responses=REFUSALS, openapi_extra=TEXTS)(endpoints.invocations)
    # Requests go straight to their handler: what FastAPI does before it calls one takes as long as a tiny classifier.
    app.router.routes.insert(0, Route("/invocations", endpoints.invocations, methods=["POST"]))
    app.post("/explain", response_model=Explained, responses=REFUSALS, openapi_extra=ONE_TEXT)(endpoints.explain)
    app.get("/model", response_model=Model)(endpoints.model)
    for path in ("/ping", "/health"):
        app.get(path, response_class=Response)(_ping)
    app.get("/version", response_class=Response)(_version)
    app.get("/metrics", response_class=Response)(endpoints.read_metrics)
    app.routes.extend(pages(app))
    endpoints.metrics.watch_queue(lambda: endpoints.turns.waiting)
    paths = {getattr(route, "path", "") for route in app.routes}
    return Observed(app, paths, endpoints.metrics, guard or Guard(), access_log)


@dataclass(frozen=True)
class Endpoints:
    """The paths that ask the versions that answer, whose texts are classified by turns; `comparison` hears of each
    answer. What the methods say of themselves is on the page `/docs`. `log_texts`: whether a request's line of the log
    has its texts."""

    answering: Answering
    limits: Limits
    turns: Turns
    metrics: Metrics
    comparison: Comparison | None = None
    log_texts: bool = False

    async def invocations(self, request: Request) -> Response:
        """Classifies texts, in one of MLflow's JSON forms; answers with a row for each text, in order."""
        texts = texts_of(await self._body(request))
        if len(texts) > self.limits.texts:
            raise _too_large(
                f"the request has {len(texts):,} texts, and {self.limits.texts:,} are the most: send several requests,"
                " or score files with finetune score"
            )
        began, served = perf_counter(), self.answering.to(request.scope[ID])
        work = self.turns.predictions(served.predictor, texts)
        predictions = await (work if len(texts) <= MOST else _while_connected(request, work))
        self._note(request, served, texts, predictions)
        if self.comparison is not None:
            self.comparison.answered(request.scope[ID], served, texts, predictions, perf_counter() - began)
        rows = [served.row(prediction) for prediction in predictions]
        return json_response({"predictions": rows, "model": served.identity})

    async def explain(self, request: Request) -> Response:
        """Classifies one text, and weighs each word by how far the label's log-odds fall without it."""
        text = text_of(await self._body(request))
        if len(text) > LONGEST_EXPLAINED:
            raise _too_large(
                f"the text has {len(text):,} characters, and {LONGEST_EXPLAINED:,} are the most that are explained:"
                " shorten it, or POST it to /invocations"
            )
        served, loop = self.answering.to(request.scope[ID]), asyncio.get_running_loop()
        (prediction,) = await self.turns.predictions(served.predictor, [text])
        self._note(request, served, [text], [prediction])

        def probability(texts: list[str]) -> list[float]:
            work = asyncio.run_coroutine_threadsafe(self.turns.predictions(served.predictor, texts), loop)
            return [other.probabilities[prediction.label] for other in work.result()]

        found = await asyncio.to_thread(explain, text, probability)
        return json_response({"prediction": served.row(prediction), **asdict(found), "model": served.identity})

    async def model(self) -> Response:
        """Says which version is the champion, how its answers come about, and what one request may bring."""
        champion = self.answering.champion
        told = {**champion.identity, **champion.rule, "engine": champion.engine}
        return json_response({**told, "limits": asdict(self.limits)})

    async def read_metrics(self) -> Response:
        """Says what Prometheus collects: requests, seconds, the queue, batches, labels, drift of scores."""
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)

    def _note(self, request: Request, served: Served, texts: Sequence[str], predictions: Sequence[Prediction]) -> None:
        self.metrics.given(served, predictions)
        request.scope[NOTES].update(version=served.version, texts=list(texts) if self.log_texts else len(texts))

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


async def _ping() -> Response:
    """Says that the model is loaded and warm: before that, nothing listens."""
    return Response("\n", media_type=JSON)


async def _version() -> Response:
    """Says MLflow's version."""
    return Response(mlflow.__version__, media_type=JSON)


async def _while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """Returns what `work` gives; raises ClientDisconnect, and ends it, once nobody waits for it any more."""
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(request.receive())  # its body has been read: only the end of the connection follows
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        left.cancel()


def _too_large(sentence: str) -> HTTPException:
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)


async def _wrong_input(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return error_response(HTTPStatus.BAD_REQUEST, str(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "what it is registered for"
    sentence = error.detail
    if error.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        sentence = f"{request.method} {request.url.path} is nothing that is served here: there are {PATHS}"
    return error_response(error.status_code, sentence, error.headers)  # a 405 has to say what is allowed


async def _gone(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return Response(status_code=CLIENT_IS_GONE)


async def _failed(request: Request, error: Exception) -> Response:  # noqa: ARG001 - logged by the server
    return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed to answer: its log says why")
