"""Finds registered models by name or by run, and tells their kinds apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from lib.errors import ServiceError, listed
from tasks.record.checked import says_missing
from tasks.record.metrics import SOURCE_TAG, run_called
from tasks.record.mlflow_run import all_pages

CHAMPION, CHALLENGER = "champion", "challenger"  # aliases: the version to use, and the latest candidate
KIND_TAG = "finetune.kind"  # of a registered model: the kind of its versions


@dataclass(frozen=True)
class Kind:
    """A kind of registered model.

    tag: the value of `KIND_TAG`. noun: its name in errors.
    logged_as: the name of MLflow's logged model (`ARTIFACT` of the file that serves it).
    """

    tag: str
    logged_as: str
    noun: str


CLASSIFIER = Kind(tag="classifier", logged_as="classifier", noun="classifier")
INSTRUCTIONS = Kind(tag="instructions", logged_as="instruction-follower", noun="instruction follower")
KINDS = {kind.tag: kind for kind in (CLASSIFIER, INSTRUCTIONS)}


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    name: str
    version: str

    @property
    def uri(self) -> str:
        """Its address in MLflow."""
        return f"models:/{self.name}/{self.version}"


def find_model(tracking: MlflowClient, kind: Kind, *, name: str | None = None, run: str | None = None) -> Version:
    """Returns the registered version to use.

    `name`: a registered model, whose champion is returned (None: among the champions of this kind, that of the model
    registered last). `run`: an MLflow run, whose own model is returned. Raises ServiceError if there is no such model
    or run, or none of this kind.
    """
    return _of_run(tracking, kind, run) if run else _champion(tracking, kind, name)


def find_version(tracking: MlflowClient, kind: Kind, name: str, version: str) -> Version:
    """Returns a version of a registered model, champion or not; raises ServiceError if there is none of this kind."""
    try:
        registered = tracking.get_registered_model(name)
        tracking.get_model_version(name, version)
    except MlflowException as error:
        if not _names_nothing(error):
            raise
        raise ServiceError(f"there is no version {version} of {name!r}: look in the pages (`make ui`)") from None
    if kind_of(tracking, registered, version) != kind:
        raise ServiceError(f"{name!r} version {version} is no {kind.noun}: choose another one")
    return Version(name, version)


def _names_nothing(error: MlflowException) -> bool:
    """Whether MLflow has nothing by the given name, or could have nothing by it."""
    return says_missing(error) or error.error_code == "INVALID_PARAMETER_VALUE"


def unloadable(kind: Kind, version: Version, reason: str) -> ServiceError:
    """The error of a version whose files cannot be used."""
    return ServiceError(
        f"the {kind.noun} {version.uri} cannot be loaded ({reason}): its files are missing or damaged, so choose"
        " another one (--name, --run) or fine-tune again under another registry.name"
    )


def kind_of(tracking: MlflowClient, registered: RegisteredModel, version: str) -> Kind | None:
    """Returns the kind of a registered model's version; None if this project did not make it. Uses the tag, or without
    one (registered earlier, or by hand in MLflow's pages) the logged model."""
    tag = registered.tags.get(KIND_TAG)
    logged_as = None if tag else _logged_name(tracking, registered.name, version)
    return next((kind for kind in KINDS.values() if tag == kind.tag or logged_as == kind.logged_as), None)


def _logged_name(tracking: MlflowClient, name: str, version: str) -> str | None:
    """Returns the name of the logged model behind a version; None if there is none."""
    try:
        # "models:/<logged model's id>", or for a copy "models:/<name>/<version>"; databases do not store `model_id`.
        scheme, _, place = str(tracking.get_model_version(name, version).source).partition(":/")
        if scheme != "models":
            return None
        copied, _, version = place.rpartition("/")
        return _logged_name(tracking, copied, version) if copied else str(tracking.get_logged_model(place).name)
    except MlflowException as error:
        if not says_missing(error):
            raise
        return None  # deleted


def _champion(tracking: MlflowClient, kind: Kind, name: str | None) -> Version:
    champions: dict[str, Version] = {}  # of all kinds
    names = []  # of this kind
    for registered in all_registered(tracking):
        if CHAMPION in registered.aliases:
            champion = Version(registered.name, str(registered.aliases[CHAMPION]))
            champions[champion.name] = champion
            if kind_of(tracking, registered, champion.version) == kind:
                names.append(champion.name)
    if name is None and names:
        return champions[max(names, key=lambda each: _registered_at(tracking, each))]
    if name is not None and name in names:
        return champions[name]
    if name is None:
        wrong = f"there is no {kind.noun} with a champion"
    else:
        wrong = f"{name}'s champion is no {kind.noun}" if name in champions else f"{name} has no champion"
    there = f"those with one are {listed(nearest_first(name or '', names))}" if names else "fine-tune one first"
    raise ServiceError(f"{wrong}: {there}")


def _registered_at(tracking: MlflowClient, name: str) -> int:
    """Returns when the newest version was registered, in milliseconds since 1970."""
    return max(int(version.creation_timestamp) for version in tracking.search_model_versions(f"name = '{name}'"))


def nearest_first(name: str, names: Sequence[str]) -> list[str]:
    """Returns names by their similarity to a wrong one."""
    return sorted(names, key=lambda each: -SequenceMatcher(None, name, each).ratio())


def all_registered(tracking: MlflowClient) -> Iterator[RegisteredModel]:
    """Yields every registered model."""
    return all_pages(lambda token: tracking.search_registered_models(page_token=token))


def _of_run(tracking: MlflowClient, kind: Kind, run: str) -> Version:
    try:
        found = tracking.get_run(run)
    except MlflowException as error:
        if not _names_nothing(error):
            raise
        raise ServiceError(f"MLflow has no run {run}: look its id up in the pages (`make ui`)") from None
    # A cached model was registered by the run that trained it; which was perhaps not in MLflow yet when that was told.
    trained_by = run_called(tracking, found.data.tags.get(SOURCE_TAG, run), found.info.experiment_id)
    for source in dict.fromkeys([run, *([] if trained_by is None else [str(trained_by.info.run_id)])]):
        for version in tracking.search_model_versions(f"run_id = '{source}'"):
            if kind_of(tracking, tracking.get_registered_model(version.name), str(version.version)) == kind:
                return Version(version.name, str(version.version))
    raise ServiceError(
        f"run {run} in experiment {found.info.experiment_id} registered no {kind.noun}: choose another one"
    )
