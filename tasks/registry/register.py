"""Registers a candidate in MLflow: one version for each model that answers differently.

`register` and `promote` run inside one Prefect transaction: if the second fails for good, the first is rolled back.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.transactions import Transaction, get_transaction
from pydantic import BaseModel

from lib.files.jsonfile import save_json
from lib.files.listing import SHA256_TAG
from lib.files.lock import Lock
from lib.model.weights.saved import INFERENCE
from lib.processes.identity import this_process
from lib.store.artifacts import Artifact, key_of
from tasks.engine.log import run_log
from tasks.record.checked import says_missing
from tasks.record.mlflow_run import FAILURES, RefusedNameError, asked_once, client, may_pass
from tasks.registry.leftovers import REGISTERING_TAG, discard_leftovers
from tasks.registry.models import KIND_TAG, Kind
from tasks.secrets import secrets_kept
from tasks.store import artifact_store

IDENTITY_TAG = "finetune.identity"  # of a version: each model is registered once under a name
PROMOTION_TAG = "finetune.promotion"  # of a version: the decision about it, and the prefix of its numbers' tags
DIGEST_TAG = "finetune.digest"  # of a version: the artifact with its weights
STAYS = "stays"  # in a transaction of Prefect's: whether nothing of it is taken back


@dataclass(frozen=True)
class Candidate:
    """A trained model and what to register with it."""

    name: str  # the registered model's
    kind: Kind
    artifact: Artifact
    files: tuple[str, ...]  # of the artifact, as the model is served
    recipe: Mapping[str, Any]  # of this run, as JSON, with the values found on the way; a record only
    inference: Mapping[str, Any]  # what inference needs besides those files
    identity: str  # a hash of all that predictions depend on
    about: str  # the registered model's description
    log: Callable[..., LoggedModel]  # (folder, *, run_id, tracking_uri, tags)
    beside: tuple[Path, ...] = ()  # more files to serve

    def collect(self, folder: Path) -> Path:
        """Copies the model's files, as they are served, into a new folder; returns it."""
        folder.mkdir()
        for name in self.files:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(self.artifact.file(name), folder / name)
        for file in self.beside:
            shutil.copyfile(file, folder / file.name)
        save_json(self.inference, folder / INFERENCE)
        save_json(self.recipe, folder / "recipe.json")
        return folder


class Registered(BaseModel):
    """A version of a registered model."""

    name: str
    version: str
    new: bool  # False: the same model was already registered
    model_id: str | None = None  # MLflow's logged model behind a new version
    aliases: list[str] = []
    promotion: str | None = None  # the outcome: first, promoted, kept, never, not comparable
    why: str | None = None
    champion: str | None = None  # the version that it was compared with
    compared: dict[str, float] = {}  # the numbers of that comparison, and how many messages it was on


def publishing(name: str) -> Lock:
    """Locks publishing under a name: two runs at once must not both find a model new or challenge a champion."""
    return artifact_store().lock("register", key_of({"name": name}))


@task(
    name="register",
    task_run_name="register",
    description="Registers the model as a version in MLflow's registry",
    cache_policy=NO_CACHE,
)
@secrets_kept()
def register(run_id: str, candidate: Candidate) -> Registered:
    """Registers a new version, or returns the existing version of the same model. Raises RefusedNameError if the name
    belongs to another kind of model."""
    tracking = client()
    name = candidate.name
    _require_kind(tracking, name, candidate.kind)
    known = _version_of(tracking, name, candidate.identity)
    if known is not None:
        return Registered(name=name, version=str(known.version), new=False)
    for left in discard_leftovers(tracking, str(tracking.get_run(run_id).info.experiment_id)):
        run_log().info("the model %s, which a killed process was registering, was removed", left.model_id)
    with tempfile.TemporaryDirectory(prefix="finetune-register-") as folder:
        files = candidate.collect(Path(folder) / candidate.kind.logged_as)
        marked = {REGISTERING_TAG: this_process().name}
        with asked_once():
            model = candidate.log(files, run_id=run_id, tracking_uri=tracking.tracking_uri, tags=marked)
    try:
        _ensure_registered_model(tracking, candidate)
        with asked_once():
            version = tracking.create_model_version(
                name,
                source=model.model_uri,
                run_id=run_id,
                model_id=model.model_id,
                await_creation_for=0,  # or what is no answer would be asked for minutes whether it is ready
                tags={
                    IDENTITY_TAG: candidate.identity,
                    DIGEST_TAG: candidate.artifact.digest,
                    SHA256_TAG: model.tags[SHA256_TAG],
                },
            )
    except FAILURES:
        raise  # it may be there, and only the answer was lost: the next try finds it
    except BaseException:
        _discard(tracking, model.model_id)
        raise
    tracking.set_logged_model_tags(model.model_id, {REGISTERING_TAG: ""})
    registered = Registered(name=name, version=str(version.version), new=True, model_id=model.model_id)
    transaction = get_transaction()
    if transaction is not None:
        transaction.set("registered", registered)
    return registered


@register.on_rollback
def unregister(transaction: Transaction) -> None:
    """Withdraws a version if what follows fails for good."""
    registered: Registered | None = transaction.get("registered", None)
    if registered is not None and not transaction.get(STAYS, False):
        withdraw(registered)


@contextmanager
def stays_if_it_may_pass() -> Iterator[None]:
    """Has Prefect take nothing back of the present transaction if the block fails in a way that may pass: the record's
    next delivery goes on from what is there."""
    try:
        yield
    except Exception as error:
        transaction = get_transaction()
        if transaction is not None and may_pass(error):
            (transaction.get_parent() or transaction).set(STAYS, True)
        raise


def withdraw(registered: Registered) -> None:
    """Deletes a version that is new; one that was there before stays, and so does one about which was decided: what is
    served may be it."""
    if registered.model_id is None:
        return
    tracking = client()
    if PROMOTION_TAG not in tracking.get_model_version(registered.name, registered.version).tags:
        tracking.delete_model_version(registered.name, registered.version)
        _discard(tracking, registered.model_id)


def _discard(tracking: MlflowClient, model_id: str) -> None:
    from lib.serving.logged_model import discard  # here, because a cached run registers nothing

    discard(tracking, tracking.get_logged_model(model_id))


def discard_unregistered(run_id: str) -> None:
    """Deletes what was logged as models of a run and could not be registered, because MLflow failed."""
    tracking = client()
    experiment = str(tracking.get_run(run_id).info.experiment_id)
    used = {version.source for version in tracking.search_model_versions(f"run_id = '{run_id}'")}
    for model in tracking.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'"):
        if model.model_uri not in used:
            _discard(tracking, model.model_id)


def versions_of(tracking: MlflowClient, name: str) -> list[ModelVersion]:
    """Returns all versions under a name, oldest first."""
    return sorted(tracking.search_model_versions(f"name = '{name}'"), key=lambda version: int(version.version))


def _version_of(tracking: MlflowClient, name: str, identity: str) -> ModelVersion | None:
    """Returns the newest version of `name` with this model."""
    found = tracking.search_model_versions(f"name = '{name}' and tags.`{IDENTITY_TAG}` = '{identity}'")
    return max(found, key=lambda version: int(version.version), default=None)


def _require_kind(tracking: MlflowClient, name: str, kind: Kind) -> None:
    try:
        known = tracking.get_registered_model(name).tags.get(KIND_TAG, kind.tag)
    except MlflowException as error:
        if not says_missing(error):
            raise
        return
    if known != kind.tag:
        raise RefusedNameError(
            f"{name!r} is no name for the {kind.noun} of this run, because MLflow's registry has {known} under it:"
            " choose another registry.name"
        )


def _ensure_registered_model(tracking: MlflowClient, candidate: Candidate) -> None:
    try:
        tracking.create_registered_model(
            candidate.name, tags={KIND_TAG: candidate.kind.tag}, description=candidate.about
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        tracking.set_registered_model_tag(
            candidate.name, KIND_TAG, candidate.kind.tag
        )  # names registered earlier have none
