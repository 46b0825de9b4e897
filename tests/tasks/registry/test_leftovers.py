"""What killed processes leave of models that they were registering, and what else nothing refers to in a home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel

import tasks.registry.files
import tasks.registry.pruning
from lib.processes.identity import this_process
from lib.serving.classifier import log_classifier
from tasks.environment import artifact_folder, home
from tasks.registry.files import model_files
from tasks.registry.leftovers import REGISTERING_TAG
from tasks.registry.models import CLASSIFIER, Version
from tasks.registry.pruning import prune_home
from tests.support.publishing import artifacts, publish, recipe, run_of, variant

pytestmark = pytest.mark.slow


def a_dead_process() -> str:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return this_process().model_copy(update={"pid": process.pid, "began": 1}).name


def begun(tracking: MlflowClient, by: str) -> LoggedModel:
    """A logged model without a version, as a process leaves it that is killed before that."""
    folder = model_files(tracking, CLASSIFIER, Version("e2e", "1")).folder
    tags: Mapping[str, str] = {REGISTERING_TAG: by}
    return log_classifier(folder, run_id=run_of(tracking), tracking_uri=tracking.tracking_uri, tags=tags)


def files_of(model: LoggedModel) -> Path:
    return Path(model.artifact_location.removeprefix("file://"))


def there(tracking: MlflowClient, model: LoggedModel) -> bool:
    known = {found.model_id for found in tracking.search_logged_models([model.experiment_id])}
    assert (model.model_id in known) == files_of(model).exists()
    return model.model_id in known


def test_the_next_registration_removes_what_a_killed_one_left(published: MlflowClient, tmp_path: Path) -> None:
    left, at_work = begun(published, a_dead_process()), begun(published, this_process().name)
    elsewhere = begun(published, this_process().model_copy(update={"host": "another-machine"}).name)
    (first,) = published.search_model_versions("name = 'e2e'")
    registered = published.get_logged_model(str(first.source).removeprefix("models:/"))
    published.set_logged_model_tags(
        registered.model_id, {REGISTERING_TAG: a_dead_process()}
    )  # killed after its version
    new = publish(run_of(published), recipe("e2e"), variant(artifacts(), tmp_path / "other", bias=(0.1, 0.0)))
    assert [there(published, model) for model in (left, at_work, elsewhere, registered)] == [False, True, True, True]
    assert new.model_id is not None
    for model_id in (new.model_id, registered.model_id):
        assert published.get_logged_model(model_id).tags[REGISTERING_TAG] == ""


def test_a_model_that_cannot_become_a_version_leaves_no_files(
    published: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted((artifact_folder() / "models").glob("*/*"))
    monkeypatch.setattr("tasks.registry.register._ensure_registered_model", None)  # which cannot be called
    with pytest.raises(TypeError):
        publish(run_of(published), recipe("e2e"), variant(artifacts(), tmp_path / "other", bias=(0.1, 0.0)))
    assert sorted((artifact_folder() / "models").glob("*/*")) == before


def test_what_nothing_refers_to_is_pruned_and_all_else_stays(
    published: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.registry.files, "is_local_uri", lambda place: False)  # as if a server had the models
    monkeypatch.setattr(tasks.registry.pruning, "tracking_is_served", lambda: True)
    half = home() / "models" / "e2e" / ".fetching-killed" / "model"
    half.mkdir(parents=True)
    fetched = model_files(published, CLASSIFIER, Version("e2e", "1")).root
    assert not half.parent.exists()  # whoever fetches next removes it
    (frozen,) = (home() / "frozen").glob("*.parquet")
    kept = [fetched, frozen, home() / "reports", *(artifact_folder() / "models").iterdir(), home() / "store"]
    left = begun(published, a_dead_process())
    shutil.copytree(fetched, fetched.with_name(f"2-{'0' * 32}"))
    shutil.copy(frozen, frozen.with_name(f"{'0' * 64}.parquet"))
    (artifact_folder() / "models" / "m-deleted").mkdir()
    (home() / "tmp" / "abandoned").mkdir(parents=True)
    half.mkdir(parents=True)
    for part, seconds in {"prefect-runs/old.part": 0, "prefect-runs/new.part": time.time(), "frozen/.old": 0}.items():
        (home() / part).parent.mkdir(exist_ok=True)
        (home() / part).touch()
        os.utime(home() / part, (seconds, seconds))
    wanted = {
        f"mlartifacts/models/{left.model_id}",
        "mlartifacts/models/m-deleted",
        f"models/e2e/2-{'0' * 32}",
        f"frozen/{'0' * 64}.parquet",
        "tmp/abandoned",
        "models/e2e/.fetching-killed",
        "prefect-runs/old.part",
        "frozen/.old",
    }
    would = prune_home(unreferenced=True, dry_run=True)
    assert {leftover.path for leftover in would} == wanted
    assert all((home() / leftover.path).exists() for leftover in would)
    assert {leftover.path for leftover in prune_home(unreferenced=True, dry_run=False)} == wanted
    assert not there(published, left)
    assert prune_home(unreferenced=True, dry_run=False) == []
    assert all(path.exists() for path in kept)
