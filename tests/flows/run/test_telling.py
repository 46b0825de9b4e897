"""What a run came to, told from its record where a cloud's storage or the registry cannot take it yet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from mlflow import MlflowClient
from moto.server import ThreadedMotoServer

from flows.run.delivery import deliver_all
from flows.run.telling import Telling
from flows.use_cases.classify import CLASSIFY
from lib.errors import ServiceError, StoreError
from lib.recipes.classify import ClassifyRecipe
from tasks.environment import home
from tasks.record.mlflow_run import AwayError, RefusedNameError, reason_of
from tasks.record.outbox import Made, Outbox, Record, new_record, now
from tasks.record.pages import flatten
from tasks.record.recording import Recording, recorded
from tasks.registry.files import model_files
from tasks.registry.frozen import FROZEN_TAG, FrozenTest, frozen_test, load_frozen
from tasks.registry.models import CLASSIFIER, Version
from tests.support.e2e import experiment_id, free_port
from tests.support.publishing import EXPERIMENT, artifacts, recipe

pytestmark = pytest.mark.e2e


def record_of(chosen: ClassifyRecipe) -> Record:
    """The record of a run of the recipe that made the finished run's artifacts."""
    made = [Made(step=step, key=artifact.key, digest=artifact.digest) for step, artifact in artifacts().items()]
    values = chosen.model_dump(mode="json")
    tags = {"prefect.flow_run_url": ""}
    record = new_record(experiment=EXPERIMENT, name="a run", params=flatten(values), tags=tags, recipe=values)
    return record.model_copy(update={"made": made})


def kept(name: str) -> str:
    """Keeps the record of a run of the quick recipe under a registered name, which nobody was told of; its id."""
    record = record_of(recipe(name))
    Outbox().save(record.model_copy(update={"status": "FINISHED", "ended": now()}))
    return record.id


def why_not() -> list[str]:
    return [outcome.why_not for outcome in deliver_all()]


@contextmanager
def bucket(port: int) -> Iterator[None]:
    """A server of S3 with an empty bucket called `mlflow`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        boto3.client("s3").create_bucket(Bucket="mlflow")
        yield
    finally:
        server.stop()


def test_a_cloud_that_is_away_gets_files_and_version_later_and_says_nothing_of_either(
    published: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    settings = {
        "AWS_ENDPOINT_URL": address,
        "MLFLOW_S3_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    published.rename_experiment(experiment_id(published, EXPERIMENT), "on this disk")
    published.create_experiment(EXPERIMENT, artifact_location="s3://mlflow/runs")

    chosen = recipe("cloud")
    with recorded(record_of(chosen)) as recording:
        telling = Telling(CLASSIFY, chosen, recording, artifacts())
        assert (telling.track(), telling.publish(), telling.conclude()) == (False, False, False)
        recording.tell = telling.rest
    assert recording.waits == "[Errno 111] Connection refused"
    assert not published.search_model_versions("name = 'cloud'")
    with bucket(port):
        assert why_not() == [""]
        assert Outbox().ids() == []
    (version,) = published.search_model_versions("name = 'cloud'")
    assert published.get_model_version("cloud", version.version).tags["finetune.promotion"] == "first"
    (run,) = published.search_runs([experiment_id(published, EXPERIMENT)])
    assert run.info.status == "FINISHED"
    assert len(published.search_logged_models([run.info.experiment_id])) == 1

    shutil.rmtree(home() / "frozen")
    frozen = frozen_test(published, "cloud")
    assert frozen is not None
    with pytest.raises(AwayError, match="the frozen test set of 'cloud' cannot be fetched"):
        load_frozen(published, frozen, "cloud")
    with pytest.raises(AwayError, match="models:/cloud/1 cannot be fetched"):
        model_files(published, CLASSIFIER, Version("cloud", "1"))


def test_what_cannot_be_decided_about_is_no_version_and_waits(published: MlflowClient) -> None:
    elsewhere = FrozenTest(run="0" * 32, path="frozen/test.parquet", sha256="0" * 64, messages=1)
    published.create_registered_model("lost", tags={FROZEN_TAG: elsewhere.model_dump_json()})
    record = kept("lost")
    (reason,) = why_not()
    assert "restore that run, or choose another registry.name" in reason
    assert Outbox().ids() == [record]
    assert not published.search_model_versions("name = 'lost'")
    assert len(published.search_logged_models([experiment_id(published, EXPERIMENT)])) == 1  # the finished run's
    published.delete_registered_model_tag("lost", FROZEN_TAG)
    assert why_not() == [""]
    (version,) = published.search_model_versions("name = 'lost'")
    assert published.get_model_version("lost", version.version).tags["finetune.promotion"] == "first"


@pytest.mark.parametrize(
    "error",
    [
        StoreError("no space left"),
        ServiceError("restore that run"),
        OSError("no"),
        AwayError("gone: start it"),
        KeyError(),
    ],
)
def test_whatever_hinders_telling_of_a_finished_run_makes_its_record_wait(error: Exception) -> None:
    def refuse() -> None:
        raise error

    record = new_record(experiment=EXPERIMENT, name="a run", params={}, tags={})
    telling = Telling(CLASSIFY, None, recording := Recording(record, Outbox()), {})
    assert not telling._tried("track", refuse)
    assert recording.waits == reason_of(error)
    telling.away, error = False, RefusedNameError("another kind")
    with pytest.raises(RefusedNameError):
        telling._tried("track", refuse)


def test_a_name_of_another_kind_of_model_ends_the_run_for_good(published: MlflowClient) -> None:
    published.create_registered_model("other", tags={"finetune.kind": "instructions"})
    kept("other")
    assert why_not() == [""]
    runs = published.search_runs([experiment_id(published, EXPERIMENT)], "params.`registry.name` = 'other'")
    assert [run.info.status for run in runs] == ["FAILED"]
    assert "'other' is no name for the classifier of this run" in runs[0].data.tags["finetune.error"]
