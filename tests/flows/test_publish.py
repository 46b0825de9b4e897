"""Publishing is whole or not at all: what is left in a real registry when a later part fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e import PROJECT, QUICK, Home
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from prefect import flow
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.transactions import transaction

from lib.artifacts import Artifact, Store
from lib.recipe import ClassifyRecipe
from lib.recipe_file import load_recipe
from tasks.register import Registered, promote, register
from tasks.tracking import client

pytestmark = pytest.mark.e2e


@pytest.fixture
def published(copied: Home, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """The registry of a home in which version 1 is champion and challenger; this process works in that home."""
    monkeypatch.setenv("FINETUNE_HOME", str(copied.folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # mlflow.set_tracking_uri sets it, for children
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        yield client()
        # What this process still has to tell the server: while it runs, rather than when both end.
        APILogWorker.drain_all(timeout=10)
        EventsWorker.drain_all(timeout=10)


def recipe(name: str) -> ClassifyRecipe:
    overrides = dict(flag.removeprefix("--").split("=", 1) for flag in QUICK)
    return load_recipe(
        str(PROJECT / "tests" / "quick.yaml"), {**overrides, "data.url": "small.csv", "registry.name": name}
    )


def classifier(tracking: MlflowClient) -> tuple[str, Artifact]:
    (run,) = tracking.search_runs([tracking.get_experiment_by_name("finetune-classifier").experiment_id])
    from tasks.services import store_folder

    store = Store(store_folder())
    (manifest,) = store.manifests("finetune")
    artifact = store.find("finetune", manifest.key)
    assert artifact is not None
    return run.info.run_id, artifact


def logged_models(tracking: MlflowClient) -> int:
    experiment = tracking.get_experiment_by_name("finetune-classifier").experiment_id
    return len(tracking.search_logged_models([experiment]))


@flow
def publish_and_fail(run_id: str, name: str, artifact: Artifact) -> None:
    with transaction():
        registered = register(run_id, recipe(name), artifact)
        promote(registered.model_copy(update={"version": "99"}))  # the registry has no such version


def test_a_failed_promotion_leaves_no_version_and_no_model(published: MlflowClient) -> None:
    run_id, artifact = classifier(published)
    before = logged_models(published)
    with pytest.raises(MlflowException, match="99"):
        publish_and_fail(run_id, "another", artifact)
    assert published.search_model_versions("name = 'another'") == []
    assert published.get_registered_model("another").aliases == {}
    assert logged_models(published) == before


def test_a_failed_promotion_keeps_a_version_that_was_there_before(published: MlflowClient) -> None:
    run_id, artifact = classifier(published)
    with pytest.raises(MlflowException, match="99"):
        publish_and_fail(run_id, "e2e", artifact)
    (version,) = published.search_model_versions("name = 'e2e'")
    assert str(version.version) == "1"
    assert {str(v) for v in published.get_registered_model("e2e").aliases.values()} == {"1"}
    assert set(published.get_registered_model("e2e").aliases) == {"champion", "challenger"}


@flow
def publish(run_id: str, name: str, artifact: Artifact) -> Registered:
    with transaction():
        return promote(register(run_id, recipe(name), artifact))


def test_the_same_classifier_under_another_name_is_a_first_version_there(published: MlflowClient) -> None:
    run_id, artifact = classifier(published)
    registered = publish(run_id, "another", artifact)
    assert (registered.version, registered.new, registered.aliases) == ("1", True, ["challenger", "champion"])
    assert publish(run_id, "another", artifact).new is False
