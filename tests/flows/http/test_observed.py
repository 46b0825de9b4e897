"""What is counted, logged and measured of requests: metrics, request ids, log lines, drift."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from flows.http.app import Endpoints, application
from flows.http.batching import Manner, Turns
from flows.http.limits import Limits
from flows.http.logs import LOG
from flows.http.metrics import DRIFT, Metrics
from flows.http.versions import Answering, Served
from lib.evaluation.drift.comparison import Tallier, compare, score_drift
from lib.evaluation.drift.profile import Distribution, DriftProfile
from lib.inference.predictor import Prediction
from tests.support.said import Lines, logging_to

SECRET = "a text that is nobody's business"


@pytest.fixture
def profile() -> DriftProfile:
    """Of a thousand messages whose scores are spread evenly over the hundredths."""
    scores = np.arange(100) / 100
    return DriftProfile(
        tokenizer="bytes", labels=("ham", "spam"), messages=1000, effective=1000.0,
        score=Distribution.of(*np.unique(scores, return_counts=True)), length=Distribution.of(np.ones(1), np.ones(1)),
        most_probable={"ham": 0.5, "spam": 0.5}, unknown=0.0, unknown_variance=0.0, known="",
    )  # fmt: skip


def asking(served: Served, metrics: Metrics, *, access_log: bool = False, log_texts: bool = False) -> TestClient:
    endpoints = Endpoints(Answering(served), Limits(), Turns(Manner(), metrics.batch), metrics, log_texts=log_texts)
    return TestClient(application(endpoints, access_log=access_log), raise_server_exceptions=False)


def values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of their names."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_requests_batches_and_labels_are_counted(served: Served) -> None:
    metrics = Metrics()
    with asking(served, metrics) as client:
        given = [client.post("/invocations", json={"inputs": ["a", "b"]}).json()["predictions"] for _ in range(3)]
        client.post("/invocations", json={"inputs": [""]})
        client.get(f"/{SECRET}")
        read = client.get("/metrics")
    assert read.headers["content-type"].startswith("text/plain; version=")
    counted = values(metrics)
    assert counted["finetune_requests_total", "/invocations", "200"] == 3
    assert counted["finetune_requests_total", "/invocations", "400"] == 1
    assert counted["finetune_requests_total", "other", "404"] == 1
    assert counted["finetune_request_seconds_count", "/invocations"] == 4
    assert (counted["finetune_batch_texts_count",], counted["finetune_batch_texts_sum",]) == (3, 6)
    assert counted["finetune_waiting_requests",] == 0
    label = given[0][0]["label"]
    assert counted["finetune_labels_total", label, "7"] == sum(row["label"] == label for rows in given for row in rows)
    assert SECRET not in metrics.text().decode()
    assert counted["process_resident_memory_bytes",] > 1e7


def test_each_answer_has_the_requests_id(served: Served) -> None:
    with asking(served, Metrics()) as client:
        for ours in ("9f-8:7", "x" * 128):
            assert client.get("/model", headers={"X-Request-ID": ours}).headers["x-request-id"] == ours
        for wrong in ("", "x" * 129, "a b", "a\tb"):
            made = client.get("/nothing", headers={"X-Request-ID": wrong}).headers["x-request-id"]
            assert re.fullmatch("[0-9a-f]{32}", made)
        assert len({client.get("/").headers["x-request-id"] for _ in range(3)}) == 3


def test_a_request_is_one_line_without_its_text(served: Served, lines: Lines) -> None:
    with asking(served, Metrics(), access_log=True) as client:
        client.post("/invocations?key=secret", json={"inputs": [SECRET, "b"]}, headers={"X-Request-ID": "one"})
        client.get(f"/{SECRET}", headers={"X-Request-ID": "two"})
    first, second = lines()
    assert first.pop("milliseconds") > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first.pop("time"))
    assert first == {
        "level": "info", "event": "request", "request": "one", "method": "POST", "path": "/invocations",
        "status": 200, "version": "7", "texts": 2,
    }  # fmt: skip
    assert (second["request"], second["path"], second["status"]) == ("two", "other", 404)


def test_what_fails_is_logged_with_its_request_and_counted(
    served: Served, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Served, prediction: Prediction) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(Served, "row", broken)
    metrics = Metrics()
    with asking(served, metrics, access_log=True) as client:
        answer = client.post("/invocations", json={"inputs": [SECRET]}, headers={"X-Request-ID": "one"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "one")
    failed, request = lines()
    assert (failed["event"], failed["level"], failed["request"]) == ("failed to answer", "error", "one")
    assert failed["traceback"].endswith("\nbuiltins.RuntimeError")  # its words may quote a text
    assert "in broken" in failed["traceback"]
    assert SECRET not in json.dumps([failed, request])
    assert values(metrics)["finetune_requests_total", "/invocations", "500"] == 1


def test_requests_are_not_logged_unless_asked_for(served: Served, lines: Lines) -> None:
    with asking(served, Metrics()) as client:
        client.get("/model")
    LOG.info("said")
    assert [line["event"] for line in lines()] == ["said"]


def predictions(scores: np.ndarray[Any, Any]) -> list[Prediction]:
    return [Prediction("ham", {"ham": 1 - score, "spam": score}) for score in scores.tolist()]


def test_the_drift_of_scores_is_that_of_a_scored_file(profile: DriftProfile) -> None:
    scores = np.round(np.random.default_rng(1).uniform(0, 0.7, 1000), 6)
    tally = Tallier(profile.model_copy(update={"known": "AAAA"})).count(
        [[0]] * len(scores), np.column_stack([1 - scores, scores])
    )
    settings = DRIFT.model_dump()
    (whole,) = [each for each in compare(profile, tally, **settings).measures if each.name == "psi_score"]
    assert score_drift(profile, scores, psi=DRIFT.psi, significance=DRIFT.significance) == whole
    assert whole.exceeded


def test_metrics_show_the_drift_of_enough_scores(served: Served, profile: DriftProfile) -> None:
    metrics, measured = Metrics(), replace(served, profile=profile)
    rng = np.random.default_rng(1)
    metrics.given(measured, predictions(rng.uniform(0, 1, DRIFT.minimum - 1)))
    assert ("finetune_score_psi", "7") not in values(metrics)
    metrics.given(measured, predictions(rng.uniform(0, 1, 1)))
    alike = values(metrics)
    assert alike["finetune_score_psi", "7"] < alike["finetune_score_psi_chance", "7"]
    metrics.given(measured, predictions(rng.uniform(0.8, 1, 500)))
    drifted = values(metrics)
    assert drifted["finetune_score_psi", "7"] > max(DRIFT.psi, drifted["finetune_score_psi_chance", "7"])
    assert drifted["finetune_score_texts", "7"] == DRIFT.minimum + 500


def test_a_version_without_a_profile_has_no_drift(served: Served) -> None:
    metrics = Metrics()
    metrics.given(served, predictions(np.full(DRIFT.minimum, 0.5)))
    assert not [name for name, *_ in values(metrics) if name.startswith("finetune_score")]


@pytest.mark.parametrize("texts", [False, True])
def test_texts_are_logged_only_where_that_is_asked_for(
    served: Served, monkeypatch: pytest.MonkeyPatch, texts: bool
) -> None:
    def broken(self: Served, prediction: Prediction) -> Any:
        raise LookupError(SECRET) from ValueError(SECRET)

    with logging_to(texts=texts) as lines:
        with asking(served, Metrics(), access_log=True, log_texts=texts) as client:
            client.post("/invocations", json={"inputs": [SECRET]})
            monkeypatch.setattr(Served, "row", broken)
            client.post("/invocations", json={"inputs": [SECRET]})
        answered, failed, _ = lines()
    assert answered["texts"] == ([SECRET] if texts else 1)
    assert (SECRET in failed["traceback"]) is texts
    assert "ValueError" in failed["traceback"]
    assert "LookupError" in failed["traceback"]
