"""The file that MLflow loads to serve a classifier ("models from code"); a logged model holds a copy of it.

What an engine needs, such as torch, is imported only when a model is loaded.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, DataType, Schema

from lib.errors import MessagesError
from lib.files.listing import require_unchanged
from lib.inference.predictor import Predictor

ARTIFACT = "classifier"  # the name of a logged model and of its folder
TEXT_COLUMN = "text"
REQUIRED = ("mlflow", "numpy", "pandas", "tiktoken")  # besides what its engine needs
EXAMPLE = ["You are a winner: claim your free prize by texting WIN to 80082", "are we still on for lunch at 12?"]


class InputError(MlflowException, MessagesError):
    """Input that cannot be classified; MLflow's server and the command line show its sentence."""


class TextClassifier(PythonModel):
    """Texts in; out one row each: `label`, of two labels its `threshold`, and `probability_<label>` for each label."""

    _predictor: Predictor

    def load_context(self, context: Any) -> None:
        """Loads the classifier's folder, logged as the artifact `ARTIFACT`; MLflow calls this once. Raises WeightsError
        if a file of the logged model was changed."""
        folder = Path(context.artifacts[ARTIFACT])
        require_unchanged(folder.parents[1])  # what MLflow loads: code, description and this folder
        self._predictor = Predictor.load(folder)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Returns a row for each text, in order.

        By the signature MLflow turns lists, arrays, Series and requests into a table with one column, called `text` or
        unnamed. Raises InputError for other columns, or if a text is empty.
        """
        predictor = self._predictor
        try:
            predictions = list(predictor.predict(_texts(model_input)))
        except MessagesError as error:
            raise InputError.invalid_parameter_value(str(error)) from error
        threshold = [predictor.threshold] if has_threshold(predictor.labels) else []
        return pd.DataFrame(
            [[prediction.label, *threshold, *prediction.probabilities.values()] for prediction in predictions],
            columns=output_columns(predictor.labels),
        )


def _texts(table: pd.DataFrame) -> "pd.Series[str]":
    (column,) = table.columns
    # MLflow passes on a table's first column, whatever it is: labels must not be classified.
    if isinstance(column, str) and column != TEXT_COLUMN:
        raise MessagesError(
            f"the first column of the input is {column!r}: give the texts as the only column, called"
            f" {TEXT_COLUMN!r}, or as a plain list"
        )
    return table[column]


def output_columns(labels: tuple[str, ...]) -> list[str]:
    """Returns the names of the columns that `predict` returns."""
    threshold = ["threshold"] if has_threshold(labels) else []
    return ["label", *threshold, *(f"probability_{label}" for label in labels)]


def has_threshold(labels: tuple[str, ...]) -> bool:
    """Whether a threshold decides; of more than two labels the most probable one is predicted."""
    return len(labels) == 2


def signature(labels: tuple[str, ...]) -> ModelSignature:
    """Returns the signature of a model with these labels.

    The input has no name: with one, MLflow would refuse plain lists of strings.
    """
    label, *numbers = output_columns(labels)
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([ColSpec(DataType.string, label), *(ColSpec(DataType.double, name) for name in numbers)]),
    )


def log_classifier(
    folder: Path, *, run_id: str, tracking_uri: str, tags: Mapping[str, str] | None = None
) -> LoggedModel:
    """Logs the classifier in `folder`, which `Predictor.load` reads, as a model of the MLflow run: see `log_model`."""
    from lib.serving.logged_model import log_model, required  # neither needed nor copied where a model is served

    labels = tuple(json.loads((folder / "labels.json").read_text(encoding="utf-8")))
    return log_model(
        folder,
        run_id=run_id,
        tracking_uri=tracking_uri,
        tags=tags or {},
        name=ARTIFACT,
        python_file=Path(__file__),
        code_of="lib.inference.predictor",
        signature=signature(labels),
        example=EXAMPLE,
        packages=required(folder, REQUIRED),
    )


mlflow.models.set_model(TextClassifier())
