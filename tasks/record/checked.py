"""A client of MLflow that takes nothing for an answer of MLflow's which something else may have given in its place.

A proxy whose server starts, or a network that wants a sign-in, may answer anything with status 200 and nothing in it.
MLflow's own client makes a run without an id of that, and of a search that it found nothing: a first champion would be
crowned without a contest, or a run recorded twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, ErrorCode

from lib.files.uploads import Sizes, missing_upload

MISSING = "RESOURCE_DOES_NOT_EXIST"  # MLflow's error code
NO_ANSWER_OF_MLFLOW = "API request to endpoint"  # how MLflow's client begins its error for any page with status 404
LATELY = 1.0  # seconds
NOBODY = "0" * 32  # no run has this id, and no registered model this name

# What is in each answer about one thing, always; nothing where somebody else has answered.
OF_ONE: Mapping[str, Callable[[Any], object]] = {
    **dict.fromkeys(("create_run", "get_run"), lambda run: run.info.run_id),
    **dict.fromkeys(("get_experiment", "get_experiment_by_name"), lambda found: found is None or found.experiment_id),
    **dict.fromkeys(("create_experiment", "get_model_version_download_uri"), lambda text: text),
    **dict.fromkeys(("create_registered_model", "get_registered_model"), lambda model: model.name),
    **dict.fromkeys(("create_logged_model", "finalize_logged_model", "get_logged_model"), lambda model: model.model_id),
    **dict.fromkeys(
        ("create_model_version", "get_model_version", "get_model_version_by_alias", "update_model_version"),
        lambda version: version.version,
    ),
}
# What answers with a list, or None, which may be right or no answer; and who else is asked then.
OF_RUNS = (
    *("get_experiment_by_name", "get_metric_history", "list_artifacts"),
    *("search_experiments", "search_logged_models", "search_runs"),
)
UPLOADS = ("log_artifact", "log_artifacts")
OF_MODELS = ("search_model_versions", "search_registered_models")


class EmptyAnswerError(MlflowException):
    """What answers says less than MLflow would, or MLflow does not have what it seemed to take."""

    def __init__(self, what: str = "with nothing in it") -> None:
        super().__init__(f"something that is not MLflow answers in its place, {what}")


class CheckedClient(MlflowClient):
    """MLflow's client, which raises EmptyAnswerError for what MLflow would not answer.

    A list is believed to be empty if the next question, for what cannot be there, is answered as MLflow does, and the
    list is empty still; files are believed to be there if they are listed, with their sizes. Databases answer
    themselves, and nothing is asked twice of them.
    """

    def __init__(self, tracking: str, registry: str) -> None:
        super().__init__(tracking, registry)
        self._answered: float | None = None  # when the last request was (time.monotonic); None: it was not
        self._served = {
            **dict.fromkeys(OF_RUNS, tracking.startswith("http")),
            **dict.fromkeys(OF_MODELS, registry.startswith("http")),
        }

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name == "answered_lately" or not callable(found):
            return found

        def ask(*arguments: Any, **named: Any) -> Any:
            try:
                answer = found(*arguments, **named)
                if name in OF_ONE and not OF_ONE[name](answer):
                    raise EmptyAnswerError
                if not answer and self._served.get(name):
                    self._require_sense(name)
                    answer = found(*arguments, **named)
                if name in UPLOADS and self._served["list_artifacts"]:
                    self._require_files(*signature(found).bind(*arguments, **named).args)
            except BaseException:
                self._answered = None
                raise
            self._answered = time.monotonic()
            return answer

        return ask

    def answered_lately(self) -> bool:
        """Whether the last request was answered, and a moment ago."""
        return self._answered is not None and time.monotonic() - self._answered < LATELY

    def _require_files(self, run_id: str, local: str, folder: str | None = None) -> None:
        """Raises unless the server has the file, or the folder's files, in that folder of the run."""

        def sizes_in(place: str) -> Sizes:
            return {each.path: each.file_size for each in self.list_artifacts(run_id, place or None)}

        missing = missing_upload(Path(local), folder or "", sizes_in)
        if missing is not None:
            raise EmptyAnswerError(f"which took {missing} and did not keep it")

    def _require_sense(self, name: str) -> None:
        """Raises unless the server says of what cannot be there that it is not."""
        ask = super().get_registered_model if name in OF_MODELS else super().get_run
        try:
            ask(NOBODY)
        except MlflowException as error:
            if not says_missing(error) and error.error_code != ErrorCode.Name(PERMISSION_DENIED):
                raise
        else:
            raise EmptyAnswerError


def says_missing(error: Exception) -> bool:
    """Whether MLflow says that what it was asked for is not there. A page with status 404, as of a proxy whose server
    starts, does not say that, though MLflow's client takes it for the same."""
    return (
        isinstance(error, MlflowException)
        and error.error_code == MISSING
        and not str(error).startswith(NO_ANSWER_OF_MLFLOW)
    )
