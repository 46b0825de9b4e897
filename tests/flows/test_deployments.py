"""prefect.yaml against a real server and worker: what is registered, and what becomes of runs of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.flows import Flow, load_flow_from_entrypoint

from tests.support.e2e import PROJECT, Home, wait_until
from tests.support.said import after_the_first_line
from tests.support.up import Up, up

pytestmark = pytest.mark.e2e

STORED = json.loads((Path(__file__).parent / "deployments.json").read_text())
ADHOC, NIGHTLY = "finetune-classifier/classify-adhoc", "finetune-classifier/classify-nightly"
QUICK = str(PROJECT / "tests" / "support" / "quick.yaml")
QUEUE = "work_pools/finetune/queues/gpu"
FOREVER = 10_000  # epochs


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, small_data: Path, give_database: Callable[[Home], None]
) -> Iterator[Up]:
    """`make up` over a home without runs, with a scheduler that looks every five seconds rather than every minute."""
    home = Home(tmp_path_factory.mktemp("deployments") / "home", small_data)
    give_database(home)
    with up(home, PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS="5") as everything:
        yield everything


def quick(small_data: Path, **training: Any) -> dict[str, Any]:
    """The parameters of a run of seconds."""
    fields = {"url": str(small_data), "epochs": 1, "learning_rate": 0.001, "registered_name": "deployed", **training}
    return {"recipe": QUICK, "changes": {**fields, "overrides": "training:\n  batch_size: 16\n  evaluate_every: 5\n"}}


# -- what prefect.yaml says ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORED)
def test_an_entrypoint_loads_with_its_retries_and_time_out_and_takes_its_parameters(name: str) -> None:
    stored = STORED[name]
    flow: Flow[..., Any] = load_flow_from_entrypoint(stored["entrypoint"], use_placeholder_flow=False)
    assert flow.name == name.partition("/")[0]
    assert flow.retries == stored["retries"]
    assert (flow.retry_delay_seconds or 0) == stored["retry_delay_minutes"] * 60
    assert flow.timeout_seconds == stored["timeout_hours"] * 3600
    assert set(flow.validate_parameters(stored["parameters"])) >= set(stored["parameters"])


def test_an_address_of_a_scoring_deployment_is_none_of_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.deployments import _in_home

    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    places = ("s3://bucket/in/", "inbox", "/elsewhere/in")
    assert [_in_home(place) for place in places] == ["s3://bucket/in/", f"{tmp_path}/inbox", "/elsewhere/in"]


def test_the_server_has_what_the_stored_list_says(running: Up) -> None:
    found = {}
    for deployment in running.post("deployments/filter", {}):
        flow = running.get(f"flows/{deployment['flow_id']}")["name"]
        schedules = {s["slug"]: f"{s['schedule']['cron']} {s['schedule']['timezone']}" for s in deployment["schedules"]}
        assert all(schedule["active"] for schedule in deployment["schedules"])
        assert deployment["description"]
        found[f"{flow}/{deployment['name']}"] = {
            "entrypoint": deployment["entrypoint"],
            "parameters": deployment["parameters"],
            "schedules": schedules,
            "tags": sorted(deployment["tags"]),
            "queue": f"{deployment['work_pool_name']}/{deployment['work_queue_name']}",
        }
    of_the_flow = ("retries", "retry_delay_minutes", "timeout_hours")
    assert found == {
        name: {key: value for key, value in stored.items() if key not in of_the_flow} for name, stored in STORED.items()
    }
    assert running.get(QUEUE)["concurrency_limit"] == 1
    assert running.get("v2/concurrency_limits/tag:gpu")["limit"] == 1


def test_the_form_has_the_recipes_fields_with_their_limits(running: Up) -> None:
    schema = running.deployment(ADHOC)["parameter_openapi_schema"]
    named, file = schema["properties"]["recipe"]["anyOf"]
    assert named["enum"] == sorted(recipe.stem for recipe in (PROJECT / "recipes" / "classify").glob("*.yaml"))
    assert file["pattern"] == r"\.ya?ml$"
    epochs = schema["definitions"]["Changes"]["properties"]["epochs"]
    assert {"type": epochs["type"], "minimum": epochs["minimum"]} == {"type": "integer", "minimum": 1}
    assert "passes over the training split; recipes have: " in epochs["description"]
    assert "default" not in epochs  # of which the form would make a value that the recipe's own does not stand against


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"recipe": "gpt2-smal"}, "recipe"),
        ({"changes": {"epochs": 0}}, "changes.epochs"),
        ({"changes": {"epochs": "many"}}, "changes.epochs"),
        ({"changes": {"epoch": 3}}, "epoch"),
        ({"changes": {"overrides": {"training": {"epochs": 3}}}}, "changes.overrides"),
        ({"changes": {"overrides": "trainig.epochs: 3"}}, "trainig"),
    ],
)
def test_a_wrong_parameter_is_refused_by_the_api(running: Up, parameters: dict[str, Any], named: str) -> None:
    answer = running.ask_for(ADHOC, parameters)
    assert answer.status_code == 409
    assert named in answer.json()["detail"]


# -- runs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """Runs of both deployments that were asked for at once, at their end."""

    completed: Any
    contradiction: Any
    wrong_text: Any


@pytest.fixture(scope="module")
def asked(running: Up, small_data: Path) -> Asked:
    first = running.start(ADHOC, quick(small_data))
    contradiction = {"overrides": "classifier: {pooling: padded_last, padding: batch}"}
    second = running.start(NIGHTLY, {"recipe": "quickstart", "changes": contradiction})
    parameters = {"recipe": "quickstart", "changes": {"overrides": "training.epoch: 3"}}
    third = {"name": "third try", "parameters": parameters, "state": {"type": "SCHEDULED"}}
    deployment = running.deployment(NIGHTLY)["id"]
    named = running.post(f"deployments/{deployment}/create_flow_run", third)["id"]
    return Asked(running.ended(first), running.ended(second), running.ended(named))


@pytest.fixture(scope="module")
def completed(asked: Asked) -> Any:
    """A run of the deployment for requests, at its end."""
    return asked.completed


def test_a_run_goes_to_its_end_as_one_flow_run_named_by_its_recipe(running: Up, completed: Any) -> None:
    assert completed["state_type"] == "COMPLETED"
    assert completed["name"].endswith(" quick")
    assert completed["parent_task_run_id"] is None
    (tracked,) = running.tracked(completed["id"])
    assert tracked["info"]["status"] == "FINISHED"
    assert tracked["info"]["run_name"] == completed["name"]
    params = {param["key"]: param["value"] for param in tracked["data"]["params"]}
    assert (params["training.epochs"], params["training.learning_rate"]) == ("1", "0.001")
    assert running.mlflow_runs() == [tracked]


def test_a_recipe_that_contradicts_itself_fails_in_one_sentence_and_is_not_tried_again(asked: Asked) -> None:
    run = asked.contradiction
    assert run["state_type"] == "FAILED"
    assert "classifier.pooling 'padded_last'" in run["state"]["message"]
    assert run["run_count"] == 1
    assert run["name"].endswith(" quickstart")


def test_a_wrong_text_of_overrides_fails_in_one_sentence_under_the_name_that_was_typed(asked: Asked) -> None:
    run = asked.wrong_text
    assert (run["state_type"], run["run_count"], run["name"]) == ("FAILED", 1, "third try")
    assert "there is no flag --training.epoch: did you mean --training.epochs?" in run["state"]["message"]


def test_runs_of_different_deployments_go_one_after_the_other(asked: Asked) -> None:
    runs = sorted((asked.completed, asked.contradiction, asked.wrong_text), key=lambda run: run["start_time"])
    assert len({run["deployment_id"] for run in runs}) == 2
    assert all(one["end_time"] <= other["start_time"] for one, other in pairwise(runs))


def test_a_schedule_starts_a_run_with_its_own_parameters(running: Up, completed: Any, small_data: Path) -> None:
    deployment = running.deployment(ADHOC)["id"]
    soon = datetime.now(UTC) + timedelta(seconds=10)  # after the scheduler's next look, also on a busy machine
    schedule = {"interval": 3600, "anchor_date": soon.isoformat()}
    values = [{"active": True, "schedule": schedule, "parameters": quick(small_data)}]
    (made,) = running.post(f"deployments/{deployment}/schedules", values)

    def scheduled() -> list[Any]:
        asked = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["COMPLETED"]}}}
        return [run for run in running.post("flow_runs/filter", {"flow_runs": asked}) if run["auto_scheduled"]]

    wait_until(lambda: bool(scheduled()), seconds=120, what="a run of the schedule")
    assert running.ask("DELETE", f"deployments/{deployment}/schedules/{made['id']}").is_success
    (run,) = scheduled()
    assert run["parameters"]["recipe"] == QUICK
    assert abs(datetime.fromisoformat(run["expected_start_time"]) - soon) < timedelta(seconds=1)


def test_cancelling_while_it_trains_leaves_nothing_running_and_nothing_registered(
    running: Up, completed: Any, small_data: Path
) -> None:
    def versions() -> Any:
        return httpx.get(f"{running.mlflow}/api/2.0/mlflow/model-versions/search").json()["model_versions"]

    before = versions()
    run = running.start(ADHOC, quick(small_data, epochs=FOREVER))
    running.wait_for_training(run)
    running.cancel(run)
    assert running.ended(run)["state_type"] == "CANCELLED"
    (tracked,) = running.tracked(run)
    assert tracked["info"]["status"] == "KILLED"
    assert versions() == before
    *_, worker = (child for child in running.everything() if "worker" in child.cmdline())  # below its keeper
    wait_until(lambda: not worker.children(), seconds=30, what="the end of the cancelled run's process")


def test_drift_starts_one_run_however_often_it_is_found(running: Up) -> None:
    deployment = running.deployment(ADHOC)["id"]
    resource = {"prefect.resource.id": "finetune.scoring.gpt2-small", "prefect.resource.name": "spam"}
    events = [
        {"event": "finetune.drift", "resource": resource, "id": str(uuid4()), "occurred": datetime.now(UTC).isoformat()}
        for _ in range(2)
    ]

    def started() -> list[Any]:
        found = running.post("flow_runs/filter", {"flow_runs": {"deployment_id": {"any_": [deployment]}}})
        return [run for run in found if (run["created_by"] or {}).get("type") == "AUTOMATION"]

    running.patch(QUEUE, is_paused=True)  # what it starts fetches GPT-2, which is not for tests
    try:
        assert running.ask("POST", "events", events).is_success
        wait_until(lambda: bool(started()), seconds=30, what="the automation's run")
        (run,) = started()
        assert run["created_by"]["display_value"] == "retrain-on-drift"
        assert run["parameters"] == {"recipe": "gpt2-small"}
        running.cancel(run["id"])
    finally:
        running.patch(QUEUE, is_paused=False)


def test_registering_again_changes_nothing_and_keeps_what_a_person_has_set(running: Up) -> None:
    def registered() -> Any:
        deployments = {d["name"]: (d["id"], d["paused"]) for d in running.post("deployments/filter", {})}
        automations = {a["name"]: (a["id"], a["updated"], a["enabled"]) for a in running.post("automations/filter", {})}
        return deployments, automations, running.get(QUEUE)["concurrency_limit"]

    running.patch(QUEUE, concurrency_limit=2)
    (silent,) = [a for a in running.post("automations/filter", {}) if a["name"] == "crash-silent-runs"]
    running.patch(f"automations/{silent['id']}", enabled=False)
    (nightly,) = [d["id"] for d in running.post("deployments/filter", {}) if d["name"] == "classify-nightly"]
    running.patch(f"deployments/{nightly}", paused=True)
    try:
        before = registered()
        assert before[0]["classify-nightly"] == (nightly, True)
        done = running.home.call(module="flows.deploy")
        assert (done.returncode, after_the_first_line(done.stderr)) == (0, "")
        assert done.stdout.splitlines() == [f"registered {name}" for name in sorted(STORED)]
        assert registered() == before
        assert before[2] == 2
        assert before[1]["crash-silent-runs"][2] is False
    finally:
        running.patch(QUEUE, concurrency_limit=1)
        running.patch(f"deployments/{nightly}", paused=False)


def test_a_second_one_says_where_the_first_one_is_and_starts_nothing(running: Up) -> None:
    before = {process.pid for process in running.everything()}
    done = running.home.call(module="flows.up")
    assert (done.returncode, after_the_first_line(done.stderr)) == (0, "")
    assert done.stdout.startswith("already running here")
    assert f"export PREFECT_API_URL={running.api} MLFLOW_TRACKING_URI={running.mlflow}" in done.stdout
    assert {process.pid for process in running.everything()} == before
