"""Which registered model answers, where classifiers, instruction followers and strangers' models share one MLflow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import lib.serving.classifier
import lib.serving.follower
from lib.errors import MessagesError, ServiceError
from lib.serving.follower import log_follower
from tasks.record.mlflow_run import client, experiment_id
from tasks.registry.frozen import frozen_test
from tasks.registry.models import CLASSIFIER, INSTRUCTIONS, KIND_TAG, KINDS, Kind, Version, find_model
from tasks.registry.promote import as_registered_by
from tasks.registry.register import PROMOTION_TAG, Registered, withdraw
from tasks.use.predict import answer
from tests.support.followers import RESPONSES, write_follower
from tests.support.http_server import HttpServer, Reply
from tests.support.tracking import tracking_restored


@pytest.fixture
def tracking(new_home: Path) -> Iterator[MlflowClient]:
    """A client of the local database of a home of its own."""
    with tracking_restored():
        tracking = client()
        mlflow.set_tracking_uri(tracking.tracking_uri)  # where MLflow looks for the logged model of a new version
        yield tracking


def new_run(tracking: MlflowClient, **tags: str) -> str:
    return str(tracking.create_run(experiment_id(tracking, "tests"), tags=tags).info.run_id)


def register(
    tracking: MlflowClient, name: str, *, tag: str | None = None, logged_as: str | None = None, champion: bool = True
) -> str:
    """A registered model with one version, which holds nothing; returns the run that it belongs to."""
    run = new_run(tracking)
    model = None
    if logged_as:
        model = tracking.create_logged_model(experiment_id(tracking, "tests"), name=logged_as, source_run_id=run)
        model = tracking.finalize_logged_model(model.model_id, "READY")
    tracking.create_registered_model(name, tags={KIND_TAG: tag} if tag else {})
    version = tracking.create_model_version(
        name, source=model.model_uri if model else "nowhere", run_id=run, model_id=model.model_id if model else None
    )
    if champion:
        tracking.set_registered_model_alias(name, "champion", version.version)
    return run


def refusal(tracking: MlflowClient, kind: Kind, **choice: str) -> str:
    with pytest.raises(ServiceError) as refused:
        find_model(tracking, kind, **choice)
    return str(refused.value)


def test_models_are_logged_under_the_names_of_their_kinds() -> None:
    assert [kind.logged_as for kind in KINDS.values()] == [
        lib.serving.classifier.ARTIFACT,
        lib.serving.follower.ARTIFACT,
    ]


@pytest.mark.parametrize("told_by", ["tag", "logged_as"])
def test_only_champions_of_the_kind_count(tracking: MlflowClient, told_by: str) -> None:
    for name, kind in {"spam": CLASSIFIER, "helper": INSTRUCTIONS}.items():
        register(tracking, name, **{told_by: getattr(kind, told_by)})
        register(tracking, f"{name}-in-trial", **{told_by: getattr(kind, told_by)}, champion=False)
    register(tracking, "a stranger's", logged_as="random-forest")
    register(tracking, "an old stranger's")
    assert find_model(tracking, CLASSIFIER) == find_model(tracking, CLASSIFIER, name="spam") == Version("spam", "1")
    assert find_model(tracking, INSTRUCTIONS) == Version("helper", "1")
    assert refusal(tracking, INSTRUCTIONS, name="spam") == (
        "spam's champion is no instruction follower: those with one are helper"
    )
    assert refusal(tracking, CLASSIFIER, name="a stranger's") == (
        "a stranger's's champion is no classifier: those with one are spam"
    )
    assert refusal(tracking, CLASSIFIER, name="spam-in-trial") == (
        "spam-in-trial has no champion: those with one are spam"
    )


def test_the_tag_wins_over_the_name_of_the_logged_model(tracking: MlflowClient) -> None:
    register(tracking, "helper", tag=INSTRUCTIONS.tag, logged_as=CLASSIFIER.logged_as)
    assert find_model(tracking, INSTRUCTIONS) == Version("helper", "1")
    assert refusal(tracking, CLASSIFIER) == "there is no classifier with a champion: fine-tune one first"


def test_a_copied_version_is_what_it_was_copied_from(tracking: MlflowClient) -> None:
    register(tracking, "spam", logged_as=CLASSIFIER.logged_as, champion=False)
    tracking.copy_model_version("models:/spam/1", "production")
    tracking.set_registered_model_alias("production", "champion", "1")
    assert find_model(tracking, CLASSIFIER) == Version("production", "1")


def test_a_logged_model_that_was_deleted_tells_nothing(tracking: MlflowClient) -> None:
    register(tracking, "spam", logged_as=CLASSIFIER.logged_as)
    tracking.delete_logged_model(str(tracking.get_model_version("spam", "1").source).removeprefix("models:/"))
    assert "no classifier with a champion" in refusal(tracking, CLASSIFIER)


def test_of_two_champions_of_a_kind_the_one_that_was_registered_last_answers(tracking: MlflowClient) -> None:
    for name in ("spam", "mood", "tone"):
        register(tracking, name, tag=CLASSIFIER.tag)
    register(tracking, "helper", tag=INSTRUCTIONS.tag)
    assert find_model(tracking, CLASSIFIER) == Version("tone", "1")
    tracking.create_model_version("spam", "somewhere")  # a challenger: the name is the last one, its champion answers
    assert find_model(tracking, CLASSIFIER) == Version("spam", "1")
    assert find_model(tracking, CLASSIFIER, name="mood") == Version("mood", "1")
    assert refusal(tracking, CLASSIFIER, name="spum") == "spum has no champion: those with one are spam, mood, tone"


def test_every_page_of_registered_models_is_read(tracking: MlflowClient) -> None:
    for number in range(101):
        tracking.create_registered_model(f"{number:03}")
    assert tracking.search_registered_models().token
    register(tracking, "spam", tag=CLASSIFIER.tag)
    assert find_model(tracking, CLASSIFIER) == Version("spam", "1")


def test_a_run_has_a_model_of_its_own_or_that_of_the_run_that_trained_it(tracking: MlflowClient) -> None:
    run = register(tracking, "spam", tag=CLASSIFIER.tag, champion=False)
    again = new_run(tracking, **{"finetune.source_run": run})
    for choice in (run, again):
        assert find_model(tracking, CLASSIFIER, run=choice) == Version("spam", "1")
        assert refusal(tracking, INSTRUCTIONS, run=choice).endswith(
            "registered no instruction follower: choose another one"
        )
    assert "registered no classifier" in refusal(tracking, CLASSIFIER, run=new_run(tracking))
    assert refusal(tracking, CLASSIFIER, run="0" * 32).startswith(f"MLflow has no run {'0' * 32}")


def test_a_registered_model_answers_by_name_and_by_run(tracking: MlflowClient, tmp_path: Path) -> None:
    register(tracking, "spam", tag=CLASSIFIER.tag)
    run = new_run(tracking)
    model = log_follower(write_follower(tmp_path / "follower"), run_id=run, tracking_uri=tracking.tracking_uri)
    tracking.create_registered_model("helper", tags={KIND_TAG: INSTRUCTIONS.tag})
    tracking.create_model_version("helper", source=model.model_uri, run_id=run, model_id=model.model_id)
    tracking.set_registered_model_alias("helper", "champion", "1")
    questions = [("Is it?", ""), ("Is it?", "Say no!")]
    told: list[Version] = []
    for name, of_run in ((None, None), ("helper", None), (None, run)):
        assert answer(questions, name=name, run=of_run, tell=told.append) == [RESPONSES["?"], RESPONSES["!"]]
    assert told == [Version("helper", "1")] * 3
    assert answer([]) == []
    with pytest.raises(MessagesError, match="the instruction of question 2 is empty"):
        answer([("Is it?", ""), ("", "")])


def test_a_version_about_which_was_decided_is_never_withdrawn(tracking: MlflowClient) -> None:
    runs = {name: register(tracking, name, tag="classifier", logged_as="classifier") for name in ("new", "decided")}
    tracking.set_model_version_tag("decided", "1", PROMOTION_TAG, "first")
    for name, run in runs.items():
        known = Registered(name=name, version="1", new=False)
        assert as_registered_by("another run", known) == known
        own = as_registered_by(run, known)
        assert (own.new, own.model_id is None) == (True, name == "decided")
        withdraw(own)
        withdraw(own.model_copy(update={"model_id": "m-1"}) if name == "decided" else known)  # as the task's roll-back
    assert [version.name for version in tracking.search_model_versions()] == ["decided"]


def test_asking_for_help_imports_no_torch() -> None:
    modules = "flows.terminal.predict, tasks.use.predict, tasks.registry.models"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0


def test_a_page_with_status_404_does_not_say_that_a_model_is_missing() -> None:
    """Such as a proxy answers while the server behind it starts; MLflow's client takes it for an answer of MLflow."""
    asked = "/api/2.0/mlflow/registered-models/get?name=mine"
    gone = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "it is not there"}).encode()
    with HttpServer() as server:
        address = server.serve(asked, Reply(b"<html>no such page</html>", status=404)).removesuffix(asked)
        tracking = MlflowClient(address, registry_uri=address)
        with pytest.raises(MlflowException, match="no such page"):
            frozen_test(tracking, "mine")
        server.serve(asked, Reply(gone, status=404))
        assert frozen_test(tracking, "mine") is None
