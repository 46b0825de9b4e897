"""Removes what lies in the home beside the store and nothing refers to: leftovers of killed processes, and copies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, ViewType
from mlflow.exceptions import MlflowException
from pydantic import BaseModel

from lib.errors import StoreError
from lib.files.disk import remove
from lib.files.lock import tried
from tasks.environment import artifact_folder, home, local_tracking_uri, tracking_is_served, tracking_uri
from tasks.record.checked import says_missing
from tasks.record.mlflow_run import all_pages, client
from tasks.registry.files import FETCHED, FETCHING, identity_of, lock_of
from tasks.registry.frozen import FOLDER as FROZEN
from tasks.registry.frozen import FROZEN_TAG, FrozenTest
from tasks.registry.leftovers import leftover_models
from tasks.registry.models import all_registered
from tasks.temporary import LOCK, abandoned, place

MENDING = "mlartifacts/models/*/artifacts/.mending"
PARTS = ("prefect-runs/*.part", f"{FROZEN}/*.part", f"{FROZEN}/.*", "reports/*.part", MENDING)  # renamed when whole
OLD = 3600.0  # seconds after which nobody writes one any more
MODELS = "models"  # MLflow's folder of logged models, among its files


class Leftover(BaseModel):
    """Something of the home that nothing refers to."""

    path: str  # in the home
    size: int  # bytes
    why: str


def prune_home(*, unreferenced: bool, dry_run: bool) -> list[Leftover]:
    """Removes what dead processes left beside the store: temporary files, and models that they were registering.

    unreferenced: also copies of models and of frozen test sets that no version refers to, and files of logged models
    that MLflow does not have any more. What a run or a version refers to stays. Creates no database.

    Raises ServiceError if MLflow does not answer, StoreError if permission is missing.
    """
    if tracking_uri() == local_tracking_uri() and not (home() / "mlflow.db").exists():
        return _prune_files(_dead_files(), dry_run)
    tracking = client()
    experiments = [found.experiment_id for found in tracking.search_experiments(view_type=ViewType.ALL)]
    report = [_prune_model(tracking, model, dry_run) for model in leftover_models(tracking, experiments)]
    found = [*_dead_files(), *(_unreferenced(tracking) if unreferenced else ())]
    return report + _prune_files(found, dry_run)


def _prune_model(tracking: MlflowClient, model: LoggedModel, dry_run: bool) -> Leftover:
    from lib.serving.logged_model import discard

    folder = artifact_folder() / MODELS / model.model_id  # on a server its size is not known
    pruned = Leftover(path=f"{folder.relative_to(home())}", size=_size(folder), why="its process was killed")
    if not dry_run:
        discard(tracking, model)
    return pruned


def _prune_files(found: list[tuple[Path, str]], dry_run: bool) -> list[Leftover]:
    report = [Leftover(path=f"{path.relative_to(home())}", size=_size(path), why=why) for path, why in found]
    for path, _ in [] if dry_run else found:
        remove(path)
        if path.exists():
            raise StoreError(f"{path} cannot be removed: prune as the user that it belongs to")
    return report


def _dead_files() -> list[tuple[Path, str]]:
    parts = [file for pattern in PARTS for file in home().glob(pattern) if time.time() - file.stat().st_mtime > OLD]
    return [(path, "its process has ended") for path in (*_temporary(), *_half_fetched(), *sorted(parts))]


def _temporary() -> list[Path]:
    temporary = place()
    if not temporary.is_dir():
        return []
    with FileLock(temporary / LOCK):
        return abandoned(temporary)


def _half_fetched() -> Iterator[Path]:
    """Yields models that nobody fetches any more and that are not whole."""
    for folder in sorted((home() / FETCHED).glob(f"*/{FETCHING}*")):
        with tried(lock_of(folder.parent)) as free:
            if free:
                yield folder


def _unreferenced(tracking: MlflowClient) -> Iterator[tuple[Path, str]]:
    """Yields copies and files that MLflow's registry does not know."""
    if tracking_uri() == local_tracking_uri():
        for folder in sorted((artifact_folder() / MODELS).glob("m-*")):
            if not _has_model(tracking, folder.name):
                yield folder, "MLflow has deleted the model"
    if tracking_is_served():
        versions = {
            (version.name, f"{version.version}-{identity_of(version)}")
            for version in all_pages(lambda token: tracking.search_model_versions(page_token=token))
        }
        for folder in sorted((home() / FETCHED).glob("*/[!.]*")):
            if (folder.parent.name, folder.name) not in versions:
                yield folder, "a copy of a version that is not there any more"
    frozen = set(_frozen(tracking))
    for file in sorted((home() / FROZEN).glob("*.parquet")):
        if file.stem not in frozen:
            yield file, "a copy of a frozen test set that no registered model has"


def _frozen(tracking: MlflowClient) -> Iterator[str]:
    """Yields the checksums of all frozen test sets: those of registered models, and those that this machine notes."""
    for model in all_registered(tracking):
        if FROZEN_TAG in model.tags:
            yield FrozenTest.model_validate_json(model.tags[FROZEN_TAG]).sha256
    for note in (home() / FROZEN).glob("*.json"):
        try:
            with suppress(ValueError, KeyError, TypeError, FileNotFoundError, IsADirectoryError):
                yield str(json.loads(note.read_bytes())["sha256"])
        except OSError as error:  # then nobody knows which copy it needs
            raise StoreError(
                f"{note} cannot be read ({error.strerror}): prune as the user that it belongs to"
            ) from None


def _has_model(tracking: MlflowClient, model_id: str) -> bool:
    try:
        tracking.get_logged_model(model_id)
    except MlflowException as error:
        if not says_missing(error):
            raise
        return any(tracking.search_model_versions(f"source_path = 'models:/{model_id}'"))
    return True


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
