"""The classifier in MLflow's registry, published whole or not at all.

`register` makes a version, `promote` points aliases at it. Both run inside one Prefect transaction: when the second
fails, the first is rolled back. Each also takes back what it did itself if it fails half way.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from prefect import task
from prefect.transactions import Transaction, get_transaction
from pydantic import BaseModel

from lib.artifacts import Artifact, Store, key_of
from lib.jsonfile import load_json, save_json
from lib.recipe import ClassifyRecipe
from tasks.services import store_folder
from tasks.tracking import client

CLASSIFIER_TAG = "finetune.classifier"  # what identifies a classifier: it is registered once under a name
CHAMPION, CHALLENGER = "champion", "challenger"
NAMED_LABELS = 10  # labels that a registered model's description names
CLASSIFIER_FILES = ("model.safetensors", "config.json", "labels.json", "history.parquet", "training.json")


class Registered(BaseModel):
    """A version of a registered model."""

    name: str
    version: str
    new: bool  # False: this very classifier had been registered before
    model_id: str | None = None  # MLflow's logged model behind a new version
    aliases: list[str] = []


def publishing(name: str) -> FileLock:
    """A lock on publishing under a name: two runs at once must not both find that a classifier is new."""
    return Store(store_folder()).lock("register", key_of({"name": name}))


@task(
    name="register",
    task_run_name="register",
    description="Registers the classifier as a version of the model in MLflow's registry",
)
def register(run_id: str, recipe: ClassifyRecipe, finetune: Artifact, description: str = "") -> Registered:
    """A new version with this description, or the one that this very classifier has already."""
    tracking = client()
    name = recipe.registry.name
    resolved = _resolved(recipe, finetune)
    identity = _identity(resolved, finetune)
    known = _version_of(tracking, name, identity)
    if known is not None:
        return Registered(name=name, version=str(known.version), new=False)
    from lib.serving import log_classifier

    with tempfile.TemporaryDirectory(prefix="finetune-register-") as folder:
        classifier = Path(folder) / "classifier"
        _collect(finetune, resolved, classifier)
        model = log_classifier(classifier, run_id=run_id, tracking_uri=tracking.tracking_uri)
    try:
        _ensure_registered_model(tracking, name, load_json(finetune.file("labels.json")))
        version = tracking.create_model_version(
            name,
            source=model.model_uri,
            run_id=run_id,
            model_id=model.model_id,
            tags={CLASSIFIER_TAG: identity},
            description=description,
        )
    except BaseException:
        tracking.delete_logged_model(model.model_id)
        raise
    registered = Registered(name=name, version=str(version.version), new=True, model_id=model.model_id)
    transaction = get_transaction()
    if transaction is not None:
        transaction.set("registered", registered)
    return registered


@register.on_rollback
def unregister(transaction: Transaction) -> None:
    """Takes a new version back when what follows fails; one that was there before stays."""
    registered: Registered | None = transaction.get("registered", None)
    if registered is not None and registered.model_id is not None:
        tracking = client()
        tracking.delete_model_version(registered.name, registered.version)
        tracking.delete_logged_model(registered.model_id)


@task(
    name="promote",
    task_run_name="promote",
    description="Points the alias `challenger` at the new version, and `champion` if it is the first",
)
def promote(registered: Registered) -> Registered:
    """The version with the aliases that it has now; when one cannot be set, all are as before."""
    tracking = client()
    before = dict(tracking.get_registered_model(registered.name).aliases)
    versions = tracking.search_model_versions(f"name = '{registered.name}'")
    if not registered.new and any(int(version.version) > int(registered.version) for version in versions):
        return _with_aliases(tracking, registered)  # an old recipe, run again, is no challenger of newer ones
    wanted = [CHALLENGER] if CHAMPION in before else [CHALLENGER, CHAMPION]
    try:
        for alias in wanted:
            tracking.set_registered_model_alias(registered.name, alias, registered.version)
    except BaseException:
        for alias in wanted:
            if alias in before:
                tracking.set_registered_model_alias(registered.name, alias, before[alias])
            else:
                tracking.delete_registered_model_alias(registered.name, alias)
        raise
    return _with_aliases(tracking, registered)


def _with_aliases(tracking: MlflowClient, registered: Registered) -> Registered:
    aliases = tracking.get_model_version(registered.name, registered.version).aliases
    return registered.model_copy(update={"aliases": sorted(aliases)})


def _resolved(recipe: ClassifyRecipe, finetune: Artifact) -> dict[str, Any]:
    """This run's recipe, with the length that was found while tokenizing."""
    resolved = recipe.model_dump(mode="json")
    resolved["encoding"]["max_length"] = load_json(finetune.file("recipe.json"))["encoding"]["max_length"]
    return resolved


def _identity(resolved: Mapping[str, Any], finetune: Artifact) -> str:
    """What an answer of the classifier depends on: its bytes, and the fields of the recipe that prediction reads."""
    read = {section: resolved[section] for section in ("encoding", "classifier")}
    return key_of({"digest": finetune.digest, "precision": resolved["training"]["precision"], **read})


def _version_of(tracking: MlflowClient, name: str, identity: str) -> ModelVersion | None:
    """The newest version of `name` that holds this classifier."""
    found = tracking.search_model_versions(f"name = '{name}' and tags.`{CLASSIFIER_TAG}` = '{identity}'")
    return max(found, key=lambda version: int(version.version), default=None)


def _collect(finetune: Artifact, resolved: Mapping[str, Any], folder: Path) -> None:
    """The classifier's files as they are served, with this run's own recipe."""
    folder.mkdir()
    for name in CLASSIFIER_FILES:
        shutil.copyfile(finetune.file(name), folder / name)
    save_json(resolved, folder / "recipe.json")


def _ensure_registered_model(tracking: MlflowClient, name: str, labels: Sequence[str]) -> None:
    named = [*labels[:NAMED_LABELS], f"{len(labels) - NAMED_LABELS} more"] if len(labels) > NAMED_LABELS else labels
    description = (
        f"Classifies texts as {', '.join(named[:-1])} or {named[-1]}. The alias {CHAMPION} is the version to use,"
        f" {CHALLENGER} the latest candidate."
    )
    try:
        tracking.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
