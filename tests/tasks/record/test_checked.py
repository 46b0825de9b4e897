"""Which answers are MLflow's, where something between here and MLflow may answer in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from tasks.record.checked import NOBODY, CheckedClient, EmptyAnswerError
from tests.support.http_server import HttpServer, Reply

API = "/api/2.0/mlflow"
RUN = f"{API}/runs/get?run_uuid={NOBODY}&run_id={NOBODY}"
MODEL = f"{API}/registered-models/get?name={NOBODY}"
NO_PROMPT = "filter=tag.%60mlflow.prompt.is_prompt%60+%21%3D+%27true%27"  # which MLflow's client adds
FOUND = {"runs": [{"info": {"run_id": "1", "run_uuid": "1", "status": "RUNNING"}}]}
NO_SUCH = Reply(json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}).encode(), status=404)
FORBIDDEN = Reply(b"Permission denied", status=403)
EMPTY = (Reply(b"{}"), Reply(b""))


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@pytest.fixture
def tracking(server: HttpServer) -> CheckedClient:
    return CheckedClient(server.url(""), server.url(""))


@pytest.mark.parametrize("empty", EMPTY, ids=["{}", "no body"])
@pytest.mark.parametrize(
    ("path", "method", "arguments"),
    [
        ("/runs/get?run_uuid=r&run_id=r", "get_run", ("r",)),
        ("/runs/create", "create_run", ("1",)),
        ("/experiments/create", "create_experiment", ("n",)),
        ("/experiments/get-by-name?experiment_name=n", "get_experiment_by_name", ("n",)),
        ("/registered-models/get?name=n", "get_registered_model", ("n",)),
        ("/model-versions/get?name=n&version=1", "get_model_version", ("n", "1")),
        ("/registered-models/alias?name=n&alias=champion", "get_model_version_by_alias", ("n", "champion")),
        ("/model-versions/get-download-uri?name=n&version=1", "get_model_version_download_uri", ("n", "1")),
        ("/logged-models/m-1", "get_logged_model", ("m-1",)),
    ],
)
def test_an_answer_with_nothing_in_it_is_none(
    server: HttpServer, tracking: CheckedClient, path: str, method: str, arguments: tuple[str, ...], empty: Reply
) -> None:
    known = json.dumps({"registered_model": {"name": "n"}}).encode()
    server.serve(f"{API}/registered-models/get?name=n", Reply(known))  # which is asked for first where an address is
    server.serve(f"{API}{path}", empty)
    with pytest.raises(EmptyAnswerError, match="something that is not MLflow answers in its place"):
        getattr(tracking, method)(*arguments)
    assert not tracking.answered_lately()


SEARCHES: list[tuple[str, str, str, tuple[Any, ...]]] = [
    ("/runs/search", RUN, "search_runs", (["1"],)),
    ("/logged-models/search", RUN, "search_logged_models", (["1"],)),
    ("/experiments/search", RUN, "search_experiments", ()),
    ("/model-versions/search?max_results=10000", MODEL, "search_model_versions", ()),
    (f"/registered-models/search?{NO_PROMPT}&max_results=100", MODEL, "search_registered_models", ()),
]


@pytest.mark.parametrize(("path", "sense", "method", "arguments"), SEARCHES)
def test_nothing_is_found_only_where_mlflow_itself_says_so(
    server: HttpServer, tracking: CheckedClient, path: str, sense: str, method: str, arguments: tuple[Any, ...]
) -> None:
    for empty in EMPTY:
        server.serve(f"{API}{path}", empty)
        for believed in (NO_SUCH, FORBIDDEN):
            server.serve(sense, believed)
            assert getattr(tracking, method)(*arguments) == []
        assert tracking.answered_lately()
        for other in (*EMPTY, Reply(b"<html>", status=404), Reply(b"<html>")):
            server.serve(sense, other)
            with pytest.raises(MlflowException):
                getattr(tracking, method)(*arguments)
            assert not tracking.answered_lately()


def test_what_one_wrong_answer_had_hidden_is_found(server: HttpServer, tracking: CheckedClient) -> None:
    server.serve(f"{API}/runs/search", Reply(b"{}"), Reply(json.dumps(FOUND).encode()))
    server.serve(RUN, NO_SUCH)
    assert [run.info.run_id for run in tracking.search_runs(["1"])] == ["1"]
