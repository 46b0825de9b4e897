"""The file that MLflow itself loads to serve a classifier ("models from code").

Here belong the translation between MLflow's inputs and outputs and `Predictor`, and what MLflow is told of them when
such a model is logged. A logged model holds a copy of this file. Torch is imported when a model is loaded, not before.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, DataType, Schema

from lib.errors import MessagesError

if TYPE_CHECKING:
    from lib.inference.predictor import Predictor

ARTIFACT = "classifier"  # what a logged model is called, and the name under which it holds the folder
TEXT_COLUMN = "text"
REQUIRED = ("mlflow", "numpy", "pandas", "safetensors", "tiktoken", "torch")
EXAMPLE = ["You are a winner: claim your free prize by texting WIN to 80082", "are we still on for lunch at 12?"]


class InputError(MlflowException, MessagesError):
    """Input that cannot be classified: MLflow's server answers with its sentence, the command line prints it."""


class TextClassifier(PythonModel):
    """Texts in, one row for each out: `label`, of two labels the `threshold` it was given at, and
    `probability_<label>` for each label."""

    _predictor: "Predictor"

    def load_context(self, context: Any) -> None:
        """Load the classifier's folder that was logged as the artifact `ARTIFACT`; called once by MLflow."""
        from lib.inference.predictor import Predictor  # here, so that logging a model does not import torch

        self._predictor = Predictor.load(Path(context.artifacts[ARTIFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """A row for each text, in their order.

        Lists, arrays, Series and what a request holds arrive as a table, because the signature has MLflow turn them
        into one: its column is the texts, and is called `text` or has no name. Raises InputError if it is called
        otherwise, or if a text is empty.
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
    # MLflow passes on the first column of a table, whatever it is: labels must not be taken for texts.
    if isinstance(column, str) and column != TEXT_COLUMN:
        raise MessagesError(
            f"the first column of the input is {column!r}: give the texts as the only column, called"
            f" {TEXT_COLUMN!r}, or as a plain list"
        )
    return table[column]


def output_columns(labels: tuple[str, ...]) -> list[str]:
    """The names of the columns that `predict` returns."""
    threshold = ["threshold"] if has_threshold(labels) else []
    return ["label", *threshold, *(f"probability_{label}" for label in labels)]


def has_threshold(labels: tuple[str, ...]) -> bool:
    """Whether a label is given from a probability on; of more than two it is simply the most probable one."""
    return len(labels) == 2


def signature(labels: tuple[str, ...]) -> ModelSignature:
    """What a model with these labels takes and returns.

    The input has no name: with one, MLflow would refuse plain lists of strings.
    """
    label, *numbers = output_columns(labels)
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([ColSpec(DataType.string, label), *(ColSpec(DataType.double, name) for name in numbers)]),
    )


def log_classifier(folder: Path, *, run_id: str, tracking_uri: str) -> LoggedModel:
    """Log the classifier in `folder`, which `Predictor.load` reads, as a model of the MLflow run: see `log_model`."""
    from lib.serving.logged_model import log_model  # not needed, and not copied, where a model is served

    labels = tuple(json.loads((folder / "labels.json").read_text(encoding="utf-8")))
    return log_model(
        folder,
        run_id=run_id,
        tracking_uri=tracking_uri,
        name=ARTIFACT,
        python_file=Path(__file__),
        code_of="lib.inference.predictor",
        signature=signature(labels),
        example=EXAMPLE,
        packages=REQUIRED,
    )


mlflow.models.set_model(TextClassifier())
