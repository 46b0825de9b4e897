"""The application without a server: what OpenAPI says of the answers is true, and no page needs another host."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from flows.http.answers import Explained, Model, Predictions, Problem
from flows.http.app import PATHS, Endpoints, _while_connected, application
from flows.http.batching import Manner, Turns
from flows.http.limits import Limits
from flows.http.metrics import Metrics
from flows.http.versions import Answering, Served
from lib.inference.requests import FORMS

TEXTS = ["You are a winner, claim your free prize now", "see you at lunch"]


@pytest.fixture
def client(served: Served) -> Iterator[TestClient]:
    endpoints = Endpoints(Answering(served), Limits(body_bytes=5000), Turns(Manner()), Metrics())
    with TestClient(application(endpoints)) as client:
        yield client


def described(client: TestClient) -> dict[str, Any]:
    content: dict[str, Any] = client.get("/openapi.json").json()
    return content


def test_answers_are_what_openapi_says(client: TestClient) -> None:
    predictions = Predictions.model_validate(client.post("/invocations", json={"inputs": TEXTS}).json())
    assert [set(row.__pydantic_extra__) for row in predictions.predictions] == [
        {"probability_ham", "probability_spam"}
    ] * 2
    assert Explained.model_validate(client.post("/explain", json={"text": TEXTS[0]}).json()).model.version == "7"
    assert Model.model_validate(client.get("/model").json()).limits.body_bytes == 5000
    refused = client.post("/invocations", json={"inputs": [""]})
    assert Problem.model_validate(refused.json()).error_code == "BAD_REQUEST"


def test_every_answer_says_whether_it_is_calibrated(client: TestClient, served: Served) -> None:
    asked = {"/invocations": {"inputs": TEXTS}, "/explain": {"text": TEXTS[0]}}
    assert [client.post(path, json=body).json()["model"]["calibrated"] for path, body in asked.items()] == [False] * 2
    calibrated = replace(served, predictor=replace(served.predictor, temperature=2.0, threshold=0.25))
    endpoints = Endpoints(Answering(calibrated), Limits(body_bytes=5000), Turns(Manner()), Metrics())
    with TestClient(application(endpoints)) as other:
        assert [other.post(path, json=body).json()["model"]["calibrated"] for path, body in asked.items()] == [True] * 2
        (row, _) = other.post("/invocations", json={"inputs": TEXTS}).json()["predictions"]
        about = Model.model_validate(other.get("/model").json())
    assert (row["threshold"], about.threshold, about.positive_label, about.calibrated) == (0.25, 0.25, "spam", True)
    (plain, _) = client.post("/invocations", json={"inputs": TEXTS}).json()["predictions"]
    odds = [each["probability_spam"] / each["probability_ham"] for each in (plain, row)]
    assert odds[1] == pytest.approx(odds[0] ** 0.5)


def test_every_example_of_openapi_is_answered(client: TestClient) -> None:
    asked = 0
    for path, methods in described(client)["paths"].items():
        for method, operation in methods.items():
            bodies = [None]
            if "requestBody" in operation:
                examples = operation["requestBody"]["content"]["application/json"]["examples"]
                bodies = [example["value"] for example in examples.values()]
            for body in bodies:
                assert client.request(method, path, json=body).status_code == 200, (path, body)
                asked += 1
    assert asked > len(FORMS)


def test_openapi_describes_every_form_and_every_path(client: TestClient) -> None:
    paths = described(client)["paths"]
    assert set(paths["/invocations"]["post"]["requestBody"]["content"]["application/json"]["examples"]) == set(FORMS)
    pages = {"/", "/docs", "/openapi.json"}
    assert set(paths) | pages == set(re.findall(r"/[a-z.]*(?=[ ,;]|$)", PATHS))


def test_the_page_about_the_paths_names_no_other_host_and_runs_nothing(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert "//" not in re.sub(r"<pre>.*?</pre>", "", answer.text, flags=re.DOTALL)  # the address of no other host
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in described(client)["paths"]:
        assert f"{path}</code>" in answer.text
    links = set(re.findall(r'(?:href|src)="([^"#]*)"', answer.text)) - {"data:,", ""}
    assert links == {"try.css", "./", "openapi.json"}
    assert all(client.get(f"/{link.removeprefix('./')}").status_code == 200 for link in links)
    anchors = set(re.findall(r'href="#([^"]+)"', answer.text))
    assert anchors <= set(re.findall(r'id="([^"]+)"', answer.text))


def test_what_mlflow_serves_is_there(client: TestClient) -> None:
    assert [client.get(path).text for path in ("/ping", "/health")] == ["\n", "\n"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", client.get("/version").text)


def test_a_refusal_has_nothing_that_a_terminal_obeys(client: TestClient) -> None:
    answer = client.get("/%1b%5b2J%00")
    assert answer.status_code == 404
    assert answer.json()["message"].startswith("GET /\\u001b[2J\\u0000 is nothing that is served here")


def test_what_fails_inside_is_told_without_its_words(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Served, prediction: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(Served, "row", broken)
    quiet = TestClient(client.app, raise_server_exceptions=False)
    answer = quiet.post("/invocations", json={"inputs": TEXTS})
    assert answer.status_code == 500
    assert answer.json() == {
        "error_code": "INTERNAL_SERVER_ERROR", "message": "the server failed to answer: its log says why",
    }  # fmt: skip


def test_work_ends_with_the_connection_of_who_asked() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def work() -> None:
        endless: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with pytest.raises(ClientDisconnect):
            await _while_connected(Request({"type": "http"}, gone), endless)
        assert endless.cancelled()

    asyncio.run(work())
