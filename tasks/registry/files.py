"""Finds or fetches a registered model's folder, for scoring without MLflow.

A folder of MLflow on the same disk is used in place. From a server the files are fetched once, into
`$FINETUNE_HOME/models/<name>/`, where they appear atomically.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from lib.files.disk import disk_full_is_clear, sync
from lib.files.yaml_text import YamlError, parse_yaml
from lib.store.artifacts import key_of
from tasks.environment import home
from tasks.record.mlflow_run import reason_of
from tasks.registry.models import Kind, Version, unloadable


@dataclass(frozen=True)
class ModelFiles:
    """A version's folder. `identity` is unique to the version, even if versions are deleted and registered again.

    run: the MLflow run that registered it.
    """

    folder: Path
    identity: str
    run: str


def model_files(tracking: MlflowClient, kind: Kind, version: Version) -> ModelFiles:
    """Returns the folder of a version, fetched if necessary; raises ServiceError if its files are missing."""
    try:
        registered = tracking.get_model_version(version.name, version.version)
        place = str(tracking.get_model_version_download_uri(version.name, version.version))
        # Names and numbers can be reused; the time of registration cannot.
        identity = key_of({"source": registered.source, "registered": registered.creation_timestamp})
        if is_local_uri(place):  # type: ignore[no-untyped-call]
            root = Path(local_file_uri_to_path(place))  # type: ignore[no-untyped-call]
        else:
            root = _fetched(tracking, version, home() / "models" / version.name, identity)
        # MLflow's description of the model has the path of the logged folder.
        described = parse_yaml((root / "MLmodel").read_text(encoding="utf-8"))
        folder = root / described["flavors"]["python_function"]["artifacts"][kind.logged_as]["path"]
    except (MlflowException, OSError) as error:
        raise unloadable(kind, version, reason_of(error)) from None
    except (KeyError, TypeError, YamlError):
        raise unloadable(kind, version, f"{root / 'MLmodel'} does not describe one") from None
    if not folder.is_dir():
        raise unloadable(kind, version, f"{folder} is not there")
    return ModelFiles(folder, identity, str(registered.run_id))


def _fetched(tracking: MlflowClient, version: Version, place: Path, identity: str) -> Path:
    """Fetches a version's files into `place`, one process at a time."""
    import mlflow

    final = place / f"{version.version}-{identity}"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"), disk_full_is_clear(place):
        if not final.is_dir():
            mlflow.set_tracking_uri(tracking.tracking_uri)
            with tempfile.TemporaryDirectory(prefix=".fetching-", dir=place) as temporary:
                fetched = Path(temporary) / "model"
                fetched.mkdir()
                mlflow.artifacts.download_artifacts(
                    artifact_uri=version.uri, dst_path=str(fetched), tracking_uri=tracking.tracking_uri
                )
                for path in [*fetched.rglob("*"), fetched]:
                    sync(path)
                fetched.rename(final)
            sync(place)
    return final
