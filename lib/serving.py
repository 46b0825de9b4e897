"""The file that MLflow itself loads to serve a classifier ("models from code").

Here belong the translation between MLflow's inputs and outputs and `Predictor`, and how such a model is logged. This
is the one file of `lib` that knows MLflow: a logged model holds a copy of it, and nothing pickled. Torch is imported
when a model is loaded, not before.
"""

import json
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, DataType, Schema

from lib.errors import MessagesError

if TYPE_CHECKING:
    from lib.prediction import Predictor

ARTIFACT = "classifier"  # the name under which a logged model holds the classifier's folder
TEXT_COLUMN = "text"
REQUIRED = ("mlflow", "numpy", "pandas", "safetensors", "tiktoken", "torch")
EXAMPLE = ["You are a winner: claim your free prize by texting WIN to 80082", "are we still on for lunch at 12?"]


class InputError(MlflowException, MessagesError):
    """Input that cannot be classified: MLflow's server answers with its sentence, the command line prints it."""


class TextClassifier(PythonModel):
    """Texts in, one row for each out: `label`, and `probability_<label>` for each label."""

    _predictor: "Predictor"

    def load_context(self, context: Any) -> None:
        """Load the classifier's folder that was logged as the artifact `ARTIFACT`; called once by MLflow."""
        from lib.prediction import Predictor  # here, so that logging a model does not import torch

        self._predictor = Predictor.load(Path(context.artifacts[ARTIFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """A row for each text, in their order.

        Lists, arrays, Series and what a request holds arrive as a table, because the signature has MLflow turn them
        into one: its column is the texts, and is called `text` or has no name. Raises InputError if it is called
        otherwise, or if a text is empty.
        """
        try:
            predictions = list(self._predictor.predict(_texts(model_input)))
        except MessagesError as error:
            raise InputError.invalid_parameter_value(str(error)) from error
        return pd.DataFrame(
            [[prediction.label, *prediction.probabilities.values()] for prediction in predictions],
            columns=output_columns(self._predictor.labels),
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
    return ["label", *(f"probability_{label}" for label in labels)]


def signature(labels: tuple[str, ...]) -> ModelSignature:
    """What a model with these labels takes and returns.

    The input has no name: with one, MLflow would refuse plain lists of strings.
    """
    label, *probabilities = output_columns(labels)
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([ColSpec(DataType.string, label), *(ColSpec(DataType.double, name) for name in probabilities)]),
    )


def log_classifier(folder: Path, *, run_id: str, tracking_uri: str) -> LoggedModel:
    """Log the classifier in `folder` as a model of the MLflow run; its files and `lib`'s code are copied.

    The folder is what `Predictor.load` reads. Nothing in the model is pickled. MLflow's one call for this,
    `log_model`, would also load the model and predict with it here, and belongs to whichever run is active in this
    thread; these are the steps that it consists of. If one fails, no model is left behind.
    """
    # Parts of MLflow's own, such as the registry in a local file, look the model up at the process's address.
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    run = client.get_run(run_id)
    labels = tuple(json.loads((folder / "labels.json").read_text(encoding="utf-8")))
    model = client.create_logged_model(
        run.info.experiment_id, name=ARTIFACT, source_run_id=run_id, params=run.data.params
    )
    try:
        with tempfile.TemporaryDirectory(prefix="finetune-model-") as temporary:
            saved = Path(temporary) / "model"
            mlflow.pyfunc.save_model(
                path=str(saved),
                mlflow_model=Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id),
                python_model=str(Path(__file__)),
                artifacts={ARTIFACT: str(folder)},
                code_paths=[str(copy_code(Path(temporary)))],
                signature=signature(labels),
                input_example=EXAMPLE,
                pip_requirements=requirements(),
            )
            client.log_model_artifacts(model.model_id, str(saved))
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    except BaseException:
        client.delete_logged_model(model.model_id)
        raise


def copy_code(folder: Path) -> Path:
    """Copy the part of `lib` that a served classifier runs into `folder`/lib, and return that."""
    from lib.fingerprint import code_fingerprint  # not needed, and not copied, where a model is served

    project = Path(__file__).resolve().parents[1]
    for module in code_fingerprint("lib.prediction"):
        source = project.joinpath(*module.split("."))
        file = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
        target = folder / file.relative_to(project)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        if source.is_dir() and (source / "assets").is_dir():
            shutil.copytree(source / "assets", target.parent / "assets")
    return folder / "lib"


def requirements() -> list[str]:
    """What a served classifier imports, pinned to the versions here; a build's own suffix ("+cpu") is left out."""
    return [f"{package}=={metadata.version(package).partition('+')[0]}" for package in REQUIRED]


mlflow.models.set_model(TextClassifier())
