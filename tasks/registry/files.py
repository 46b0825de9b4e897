"""Finds or fetches a registered model's folder, checks its files, and loads it.

A folder of MLflow on the same disk is used in place. From a server the files are fetched once, into
`$FINETUNE_HOME/models/<name>/`, where they appear atomically. A version's tag has the checksum of the list of its
files' checksums, so that files and list cannot change together unnoticed.
"""

from __future__ import annotations

import posixpath
import tempfile
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from lib.errors import listed
from lib.files.disk import disk_behind, disk_full_is_clear, remove, sync
from lib.files.listing import LISTING, MOST_NAMED, SHA256_TAG, problems
from lib.files.yaml_text import YamlError, parse_yaml
from lib.store.artifacts import key_of
from tasks.engine.log import run_log
from tasks.environment import home, unusable_home_is_clear
from tasks.record.checked import NOBODY, EmptyAnswerError, says_missing
from tasks.record.mlflow_run import FAILURES, AwayError, reason_of
from tasks.registry.mend import mend
from tasks.registry.models import Kind, Version, unloadable

FETCHED = "models"  # the folder of the home with what was fetched from a server
FETCHING = ".fetching-"  # what folders in it are called while they are fetched
TRIES = 2  # what comes and is not what was registered may be a page of something between here and MLflow


@dataclass(frozen=True)
class ModelFiles:
    """A version's files, as they were registered. `identity` is unique to the version, even if versions are deleted and
    registered again.

    root: what MLflow loads. folder: the model itself, in it. run: the MLflow run that registered it.
    """

    root: Path
    folder: Path
    identity: str
    run: str


def model_files(tracking: MlflowClient, kind: Kind, version: Version) -> ModelFiles:
    """Returns the folder of a version, fetched if necessary. Damaged files are mended from the store, or fetched again,
    with a warning; raises ServiceError, which names them, if they cannot be, and AwayError if MLflow did not do what it
    was asked, which says nothing of the version."""
    try:
        registered = tracking.get_model_version(version.name, version.version)
        place = str(tracking.get_model_version_download_uri(version.name, version.version))
        identity = identity_of(registered)
        if is_local_uri(place):  # type: ignore[no-untyped-call]
            root = Path(local_file_uri_to_path(place))  # type: ignore[no-untyped-call]
            wrong = _mended(tracking, registered, root)
        else:
            root = home() / FETCHED / version.name / f"{version.version}-{identity}"
            wrong = _fetched(tracking, registered, version, root)
            if wrong and not _is_what_is_there(tracking, place, root, wrong):
                raise _away(version, EmptyAnswerError("with other files"))
        if wrong:
            raise unloadable(kind, version, listed(wrong.values(), most=MOST_NAMED))
        # MLflow's description of the model has the path of the logged folder.
        described = parse_yaml((root / "MLmodel").read_text(encoding="utf-8"))
        folder = root / described["flavors"]["python_function"]["artifacts"][kind.logged_as]["path"]
    except AwayError:
        raise
    except (*FAILURES, OSError) as error:
        if is_damage(error):
            raise unloadable(kind, version, reason_of(error)) from None
        if isinstance(error, FAILURES):
            raise _away(version, error) from error
        raise
    except (KeyError, TypeError, UnicodeDecodeError, YamlError):
        raise unloadable(kind, version, f"{root / 'MLmodel'} does not describe one") from None
    if not folder.is_dir():
        raise unloadable(kind, version, f"{folder} is not there")
    return ModelFiles(root, folder, identity, str(registered.run_id))


def is_damage(error: Exception) -> bool:
    """Whether an error says that a version, or a file of it, is missing, damaged or not to be read. A network's error
    or a lack of this machine's, such as too many open files, says nothing of them, though it may be an OSError too."""
    missing = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
    return isinstance(error, missing) or says_missing(error)


def identity_of(version: ModelVersion) -> str:
    """Returns what a version is told by: names and numbers can be reused, the time of registration cannot."""
    return key_of({"source": version.source, "registered": version.creation_timestamp})


def lock_of(place: Path) -> FileLock:
    """Returns the lock that whoever fetches versions of a name into its folder holds; it ends with its process."""
    return FileLock(place / ".lock")


def load_model(tracking: MlflowClient, kind: Kind, version: Version) -> Any:
    """Loads a version as MLflow's `PyFuncModel`; raises ServiceError if its files are missing or damaged."""
    import mlflow

    root = model_files(tracking, kind, version).root
    mlflow.set_tracking_uri(tracking.tracking_uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return mlflow.pyfunc.load_model(str(root))
        except MlflowException as error:
            raise unloadable(kind, version, reason_of(error)) from None
        except OSError as error:
            if not is_damage(error):
                raise
            raise unloadable(kind, version, reason_of(error)) from None


def _wrong(registered: ModelVersion, root: Path) -> dict[str, str]:
    """Returns what is wrong with a version's files, by file; nothing for one that was registered without checksums."""
    seal = registered.tags.get(SHA256_TAG)
    if seal is None and not (root / LISTING).exists():
        if root.is_dir():
            run_log().warning(
                "%s version %s was registered before versions had checksums: damage to its files would go unnoticed"
                " until it is fine-tuned again",
                registered.name,
                registered.version,
            )
        return {}
    return problems(root, seal)


def _mended(tracking: MlflowClient, registered: ModelVersion, root: Path) -> dict[str, str]:
    """Mends a folder of MLflow's on this disk where it is damaged; returns what is wrong with it still."""
    wrong = _wrong(registered, root)
    if wrong and root.is_dir():
        mended = mend(tracking, registered, root, wrong)
        if mended:
            run_log().warning("%s: mended from the store (%s)", root, listed(mended, most=MOST_NAMED))
            return problems(root, registered.tags.get(SHA256_TAG))
    return wrong


def _fetched(tracking: MlflowClient, registered: ModelVersion, version: Version, final: Path) -> dict[str, str]:
    """Fetches a version's files into `final`, one process at a time, and once more where what is there, or what came,
    is damaged; returns what is wrong with them still."""
    place = final.parent
    with unusable_home_is_clear():
        place.mkdir(parents=True, exist_ok=True)
    with lock_of(place), disk_full_is_clear(place):
        for left in place.glob(f"{FETCHING}*"):  # by a killed process
            remove(left)
        wrong = _wrong(registered, final) if final.exists() else {}
        if final.exists() and not wrong:
            return {}
        for _ in range(TRIES):
            if wrong:
                said = listed(wrong.values(), most=MOST_NAMED)
                run_log().warning("%s is damaged and fetched again (%s)", final, said)
            remove(final)
            _fetch(tracking, version, final)
            wrong = _wrong(registered, final)
            if not wrong:
                break
        return wrong


def _fetch(tracking: MlflowClient, version: Version, final: Path) -> None:
    """Fetches a version's files into `final`. Raises AwayError if they are not all sent, StoreError if the disk is
    full."""
    import mlflow

    mlflow.set_tracking_uri(tracking.tracking_uri)
    with tempfile.TemporaryDirectory(prefix=FETCHING, dir=final.parent) as temporary:
        fetched = Path(temporary) / "model"
        fetched.mkdir()
        try:
            mlflow.artifacts.download_artifacts(
                artifact_uri=version.uri, dst_path=str(fetched), tracking_uri=tracking.tracking_uri
            )
        except Exception as error:  # a cloud's storage raises its own
            if says_missing(error):
                raise
            raise disk_behind(error, final.parent) or _away(version, error) from error
        for path in [*fetched.rglob("*"), fetched]:
            sync(path)
        fetched.rename(final)
    sync(final.parent)


def _is_what_is_there(tracking: MlflowClient, place: str, root: Path, names: Collection[str]) -> bool:
    """Whether the files that came, or did not, have the size with which they are in MLflow's folder `place`: what a
    proxy sends in place of one has another."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(place, tracking_uri=tracking.tracking_uri)
    if not repository.list_artifacts():
        tracking.get_experiment_by_name(NOBODY)  # which raises where nothing that is said is MLflow's
    there = {
        file.path: file.file_size
        for folder in {posixpath.dirname(name) for name in names}
        for file in repository.list_artifacts(folder or None)
        if not file.is_dir
    }
    files = {name: root / name for name in names}
    return all(there.get(name) == (file.stat().st_size if file.is_file() else None) for name, file in files.items())


def _away(version: Version, error: Exception) -> AwayError:
    return AwayError(
        f"{version.uri} cannot be fetched ({reason_of(error)}): see that MLflow and the storage behind it work"
    )
