"""Scoring as a user does it: a process for each, a registered classifier, real servers; and what drift sets off."""

from __future__ import annotations

import csv
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent

from lib.data.samples.messages import ARCHIVE, MEMBER
from lib.serving.classifier import log_classifier
from tests.support.e2e import PROJECT, Home, copy_of, experiment_id, wait_until

pytestmark = pytest.mark.e2e

SHORT_AND_STRANGE = ["ψυχή και σώμα", "добрый день", "今日は", "ok", "👍🏽👍🏽"]


@pytest.fixture(scope="module")
def home(finished: tuple[Home, Any], tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A copy of the finished run's home, for scoring runs."""
    return copy_of(finished[0], tmp_path_factory.mktemp("scoring") / "home")


def score(home: Home, *arguments: str) -> Any:
    """What `--json` printed in its last line."""
    done = home.call(*arguments, "--json", module="flows.score")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def scoring_runs(home: Home) -> list[Run]:
    client = MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")
    return list(client.search_runs([experiment_id(client, "score-messages")], order_by=["attributes.start_time"]))


def drift_events(home: Home, flow_run: str) -> list[Any]:
    """The events about drift that this flow run emitted, as the server has them."""
    answer = httpx.post(
        f"{home.environment['PREFECT_API_URL']}/events/filter",
        json={
            "filter": {
                "event": {"name": ["finetune.drift"]},
                "any_resource": {"id": [f"prefect.flow-run.{flow_run}"]},
                "occurred": {"since": "2020-01-01T00:00:00Z"},
            }
        },
    )
    return list(answer.raise_for_status().json()["events"])


@pytest.fixture(scope="module")
def same_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hundred messages of the same source in the same shares, that the classifier has not seen."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        rows = [line.split("\t", 1) for line in archive.read(MEMBER).decode().splitlines()]
    new = [text for label, text in rows if label == "ham"][300:600] + [t for label, t in rows if label == "spam"][
        100:200
    ]
    file = tmp_path_factory.mktemp("same") / "same.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerows([["number", "body"], *([f"m{number}", text] for number, text in enumerate(new))])
    return file


def test_a_run_leaves_answers_an_mlflow_run_and_no_event(home: Home, same_kind: Path, tmp_path: Path) -> None:
    arguments = [str(same_kind), f"--output={tmp_path}/out", "--text_column=body", "--id_column=number"]
    result = score(home, *arguments, "--part_rows=150")
    rows = len(pd.read_csv(same_kind))
    assert (result["model"], result["version"], result["scored"], result["parts_written"]) == ("e2e", "1", rows, 3)
    scored = pd.read_parquet(tmp_path / "out" / "scored")
    assert sorted(scored["id"]) == sorted(f"m{number}" for number in range(rows))
    assert result["labels"] == {label: int((scored["label"] == label).sum()) for label in ("ham", "spam")}

    run = scoring_runs(home)[-1]
    assert (run.info.run_id, run.info.status) == (result["mlflow_run"], "FINISHED")
    assert (run.data.params["text_column"], run.data.params["drift.psi"]) == ("body", "0.25")
    assert {name: run.data.metrics[name] for name in result["metrics"]} == result["metrics"]
    assert run.data.metrics["rows/scored"] == rows
    assert run.data.metrics["share/spam"] == pytest.approx(result["labels"]["spam"] / rows)
    assert {"drift/psi_score", "drift/ks_length", "drift/unknown_rise"} <= run.data.metrics.keys()
    tags = run.data.tags
    assert (tags["model.name"], tags["model.version"]) == ("e2e", "1")
    assert tags["finetune.drift"] == result["drift"]["why"]
    assert tags["prefect.flow_run_id"] == result["flow_run"]
    client = MlflowClient(f"sqlite:///{home.folder / 'mlflow.db'}")
    assert client.get_run(tags["finetune.source_run"]).data.tags["recipe"] == "quick"
    answer = httpx.post(
        f"{home.environment['PREFECT_API_URL']}/artifacts/filter",
        json={"artifacts": {"flow_run_id": {"any_": [result["flow_run"]]}}},
    )
    assert {"scores", "drift", "mlflow-run"} <= {artifact["key"] for artifact in answer.json()}

    assert result["drift"]["measured"]
    assert not result["drift"]["drifted"], result["drift"]["why"]
    assert drift_events(home, result["flow_run"]) == []

    again = home.call(*arguments, "--part_rows=150", f"--run={tags['finetune.source_run']}", module="flows.score")
    assert again.returncode == 0, again.stderr
    assert "0 written, 3 kept from before" in again.stdout
    assert "no drift: no measure exceeds its threshold beyond chance" in again.stdout


def test_drifted_messages_emit_the_event_that_the_automation_waits_for(home: Home, tmp_path: Path) -> None:
    pd.DataFrame({"text": SHORT_AND_STRANGE * 60}).to_parquet(tmp_path / "strange.parquet")
    result = score(home, str(tmp_path / "strange.parquet"), f"--output={tmp_path}/out", "--name=e2e")
    assert result["drift"]["drifted"]
    assert "share of unknown tokens: rise" in result["drift"]["why"]
    assert result["metrics"]["drift/drifted"] == 1
    wait_until(lambda: bool(drift_events(home, result["flow_run"])), seconds=30, what="the event")
    (event,) = drift_events(home, result["flow_run"])
    assert event["resource"]["prefect.resource.id"] == "finetune.scoring.e2e"
    assert event["payload"]["metrics"]["drift/unknown_rise"] == result["metrics"]["drift/unknown_rise"] > 0.1

    automations = yaml.safe_load((PROJECT / "deploy" / "automations.yaml").read_text(encoding="utf-8"))
    (retrain,) = [each for each in automations if "finetune.drift" in each["trigger"].get("expect", [])]
    trigger = EventTrigger.model_validate(retrain["trigger"])
    # It is for one model, which is not the one of this test.
    meant = {**event["resource"], "prefect.resource.id": retrain["trigger"]["match"]["prefect.resource.id"]}
    assert meant["prefect.resource.id"].startswith("finetune.scoring.")
    facts = {**event, "resource": meant, "id": uuid4(), "received": datetime.now(UTC)}
    received = ReceivedEvent.model_validate(facts)
    assert trigger.covers(received)
    assert trigger.expects(received.event)
    assert retrain["actions"][0]["deployment"].endswith("/classify-adhoc")


def test_a_version_without_a_profile_is_scored_and_says_that_drift_is_not_measured(
    copied: Home, published: MlflowClient, tmp_path: Path
) -> None:
    (trained,) = copied.artifacts()["finetune"]
    (run,) = published.search_runs([experiment_id(published, "finetune-classifier")])
    model = log_classifier(trained, run_id=run.info.run_id, tracking_uri=published.tracking_uri)
    published.create_registered_model("old")
    version = published.create_model_version("old", source=model.model_uri, run_id=run.info.run_id)
    published.set_registered_model_alias("old", "champion", version.version)
    (tmp_path / "m.jsonl").write_text('{"text": "hello there"}\n{"text": null}\n')
    result = score(copied, str(tmp_path / "m.jsonl"), f"--output={tmp_path}/out", "--name=old")
    assert (result["scored"], result["unscorable"]) == (1, {"null": 1})
    assert result["drift"]["why"].startswith("drift is not measured: old 1 was registered without a profile")
    assert result["drift"]["metrics"] == {}


def test_what_a_user_can_put_right_is_one_sentence_and_the_mlflow_run_failed(
    home: Home, same_kind: Path, tmp_path: Path
) -> None:
    sentence = "same.csv has no column 'nope', only 'number', 'body'"
    done = home.call(str(same_kind), "--text_column=nope", f"--output={tmp_path}/out", module="flows.score")
    assert done.returncode == 2
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert sentence in error
    assert "Traceback" not in done.stderr
    run = scoring_runs(home)[-1]
    assert run.info.status == "FAILED"
    assert sentence in run.data.tags["finetune.error"]
