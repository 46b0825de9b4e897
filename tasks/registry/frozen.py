"""The frozen test set of a registered name: where MLflow stores it and how to fetch it.

All versions of the name are compared on it, and none learns from it. The file is an artifact of the run that registered
the first version; a tag of the registered model points to it, so it follows a shared server.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ValidationError

from lib.data.tables import MESSAGES, load_table, save_table
from lib.errors import ServiceError
from lib.files.checksum import file_sha256
from lib.files.disk import disk_behind, disk_full_is_clear, give_way, into_place, write_whole
from lib.files.sealed import set_aside
from lib.store.artifacts import key_of
from tasks.engine.log import run_log
from tasks.environment import home, local_tracking_uri, tracking_uri
from tasks.record.checked import EmptyAnswerError, says_missing
from tasks.record.mlflow_run import FAILURES, AwayError, client, reason_of
from tasks.record.outbox import servers

FROZEN_TAG = "finetune.frozen_test"  # of a registered model: a FrozenTest as JSON
FOLDER = "frozen"
TRIES = 2  # one lost request is no outage


class FrozenTest(BaseModel):
    """Where MLflow stores a frozen test set, and its checksum."""

    run: str
    path: str
    sha256: str
    messages: int


def frozen_test(tracking: MlflowClient, name: str) -> FrozenTest | None:
    """Returns the frozen test set of a registered name; None if it has none yet."""
    try:
        model = tracking.get_registered_model(name)
    except MlflowException as error:
        if not says_missing(error):
            raise
        return None
    value = model.tags.get(FROZEN_TAG)
    return None if value is None else FrozenTest.model_validate_json(value)


def frozen_texts(name: str) -> list[str]:
    """Returns the texts of a name's frozen test set; none if it has none yet. Creates no database. If MLflow does not
    answer, also when it is asked again, that is the one that it had when it last did. Raises ServiceError if MLflow has
    lost the file."""
    local = tracking_uri() == local_tracking_uri() and not os.environ.get("MLFLOW_REGISTRY_URI")
    if local and not (home() / "mlflow.db").exists():
        return []
    reason = ""
    for _ in range(TRIES):
        try:
            tracking = client()
            frozen = frozen_test(tracking, name)
            texts: list[str] = [] if frozen is None else load_frozen(tracking, frozen, name)["text"].tolist()
        except FAILURES as error:
            reason = reason_of(error)
        else:
            note_frozen(name, frozen)
            return texts
    return _Known(name).texts(reason)


def note_frozen(name: str, frozen: FrozenTest | None) -> None:
    """Notes on this machine which frozen test set a name has, for runs while MLflow does not answer."""
    _Known(name).keep(frozen)


def load_frozen(tracking: MlflowClient, frozen: FrozenTest, name: str) -> pd.DataFrame:
    """Loads the messages (id int64, text, label) from the copy on this machine or from MLflow. Raises ServiceError if
    MLflow has lost them, and AwayError if it cannot tell."""
    copy = _copy(frozen.sha256)
    if not _is_whole(copy, frozen.sha256):
        _fetch(tracking, frozen, name, copy)
    return load_table(copy, MESSAGES)


def _fetch(tracking: MlflowClient, frozen: FrozenTest, name: str, copy: Path) -> None:
    """Fetches a frozen test set into `copy`; once more where what comes is not what was stored, as a page of something
    between here and MLflow is not."""
    with tempfile.TemporaryDirectory(prefix="finetune-frozen-") as folder:
        for number in range(TRIES):
            place = Path(folder) / f"{number}"
            place.mkdir()
            try:
                file = Path(tracking.download_artifacts(frozen.run, frozen.path, str(place)))
            except Exception as error:  # a cloud's storage raises its own
                if (refused := disk_behind(error, place)) is not None:
                    raise refused from error
                if _is_gone(tracking, frozen):
                    raise _lost(name, frozen, reason_of(error)) from error
                raise _away(name, error) from error
            if _is_whole(file, frozen.sha256):
                _keep_copy(file, copy)
                return
            came = file.stat().st_size
    if came != _size_there(tracking, frozen, name):
        raise _away(name, EmptyAnswerError("with another file"))
    raise _lost(name, frozen, "the file does not have its checksum")


def _size_there(tracking: MlflowClient, frozen: FrozenTest, name: str) -> int | None:
    """Returns how many bytes MLflow says that the file has."""
    try:
        return next(
            (file.file_size for file in tracking.list_artifacts(frozen.run, FOLDER) if file.path == frozen.path), None
        )
    except Exception as error:  # a cloud's storage raises its own
        raise _away(name, error) from error


def _is_gone(tracking: MlflowClient, frozen: FrozenTest) -> bool:
    """Whether MLflow says that it does not have the file."""
    try:
        there = tracking.list_artifacts(frozen.run, FOLDER)
    except Exception as error:  # then it says nothing
        return says_missing(error)
    return frozen.path not in [file.path for file in there]


def store_frozen(tracking: MlflowClient, run_id: str, messages: pd.DataFrame) -> FrozenTest:
    """Logs messages (id, text, label) as an artifact of the run; a tag makes it the frozen test set later."""
    with tempfile.TemporaryDirectory(prefix="finetune-frozen-") as folder:
        file = Path(folder) / "test.parquet"
        save_table(messages, file, MESSAGES)
        sha256 = file_sha256(file)
        tracking.log_artifact(run_id, str(file), FOLDER)
        _keep_copy(file, _copy(sha256))
    return FrozenTest(run=run_id, path=f"{FOLDER}/test.parquet", sha256=sha256, messages=len(messages))


class _Known:
    """What this machine knows of a name's frozen test set while MLflow does not answer."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._file = home() / FOLDER / f"{key_of({'name': name, 'servers': list(servers())})}.json"

    def keep(self, frozen: FrozenTest | None) -> None:
        """Notes what MLflow says, where the home can be written; its messages are copied here."""
        with suppress(OSError):
            if frozen is None:
                self._file.unlink(missing_ok=True)
            elif not self._file.exists() or self._noted() != frozen:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._file, frozen.model_dump_json())

    def texts(self, reason: str) -> list[str]:
        """Returns the texts as they are known here; says so, with the reason."""
        noted = self._noted()
        if noted is None or not _is_whole(_copy(noted.sha256), noted.sha256):
            run_log().warning(
                "whether %r has a frozen test set is not known (%s): a version that learns from it cannot be compared",
                self._name,
                reason,
            )
            return []
        texts: list[str] = load_table(_copy(noted.sha256), MESSAGES)["text"].tolist()
        return texts

    def _noted(self) -> FrozenTest | None:
        """Returns what is noted; None if nothing is, or it cannot be read now. A damaged note is set aside."""
        with suppress(OSError):
            try:
                return FrozenTest.model_validate_json(self._file.read_bytes())
            except (ValidationError, IsADirectoryError):
                run_log().warning(
                    "%s was damaged and is %s now: MLflow says again what was in it",
                    self._file,
                    set_aside(self._file).name,
                )
        return None


def _copy(sha256: str) -> Path:
    """Returns the path of this machine's copy."""
    return home() / FOLDER / f"{sha256}.parquet"


def _is_whole(file: Path, sha256: str) -> bool:
    return file.is_file() and file_sha256(file) == sha256


def _keep_copy(file: Path, copy: Path) -> None:
    """Copies atomically: another run may be reading the copy."""
    with disk_full_is_clear(copy.parent):
        copy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=copy.parent, prefix=".", delete=False) as stream:
            partial = Path(stream.name)
        try:
            shutil.copyfile(file, partial)
            give_way(copy)  # damage
            into_place(partial, copy)
        finally:
            partial.unlink(missing_ok=True)


def _away(name: str, error: Exception) -> AwayError:
    return AwayError(
        f"the frozen test set of {name!r} cannot be fetched ({reason_of(error)}): see that MLflow and the storage"
        " behind it work"
    )


def _lost(name: str, frozen: FrozenTest, reason: str) -> ServiceError:
    return ServiceError(
        f"the frozen test set of {name!r}, {frozen.path} of MLflow's run {frozen.run}, cannot be fetched ({reason}):"
        " restore that run, or choose another registry.name"
    )
