"""The file that MLflow itself loads to serve a model that follows instructions ("models from code").

Here belong the translation between MLflow's tables and `Answerer`, and what MLflow is told of them when such a model is
logged. A logged model holds a copy of this file. Torch is imported when a model is loaded, not before.
"""

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
    from lib.inference.answerer import Answerer

ARTIFACT = "instruction-follower"  # what a logged model is called, and the name under which it holds the folder
INSTRUCTION, INPUT, RESPONSE = "instruction", "input", "response"  # columns; an input need not be there
REQUIRED = ("mlflow", "pandas", "safetensors", "tiktoken", "torch")
EXAMPLE = pd.DataFrame(
    {
        INSTRUCTION: ["What is an antonym of 'complicated'?", "Rewrite the sentence in the past tense."],
        INPUT: ["", "She walks to school."],
    }
)
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, INSTRUCTION), ColSpec(DataType.string, INPUT, required=False)]),
    outputs=Schema([ColSpec(DataType.string, RESPONSE)]),
)


class InputError(MlflowException, MessagesError):
    """Input that cannot be answered: MLflow's server answers with its sentence, the command line prints it."""


class InstructionFollower(PythonModel):
    """Instructions, each with or without an input, in; one row for each out: `response`."""

    _answerer: "Answerer"

    def load_context(self, context: Any) -> None:
        """Load the model's folder that was logged as the artifact `ARTIFACT`; called once by MLflow."""
        from lib.inference.answerer import Answerer  # here, so that logging a model does not import torch

        self._answerer = Answerer.load(Path(context.artifacts[ARTIFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """A row for each question, in their order.

        Because of the signature MLflow makes a table of a dictionary or a list of them, refuses what has no column
        `instruction`, such as a plain list of texts, and drops columns that it does not name. Raises InputError if an
        instruction is empty or a text is not a string.
        """
        try:
            answers = list(self._answerer.answer(questions(model_input)))
        except MessagesError as error:
            raise InputError.invalid_parameter_value(str(error)) from error
        return pd.DataFrame({RESPONSE: answers}, dtype=str)


def questions(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Each row's instruction and input; an input that is missing or null is the empty text."""
    # Rows of which only some have an input arrive from JSON with NaN in the others.
    inputs = table[INPUT].fillna("") if INPUT in table else [""] * len(table)
    return list(zip(table[INSTRUCTION], inputs, strict=True))


def log_follower(folder: Path, *, run_id: str, tracking_uri: str) -> LoggedModel:
    """Log the model in `folder`, which `Answerer.load` reads, as a model of the MLflow run: see `log_model`."""
    from lib.serving.logged_model import log_model  # not needed, and not copied, where a model is served

    return log_model(
        folder,
        run_id=run_id,
        tracking_uri=tracking_uri,
        name=ARTIFACT,
        python_file=Path(__file__),
        code_of="lib.inference.answerer",
        signature=SIGNATURE,
        example=EXAMPLE,
        packages=REQUIRED,
    )


mlflow.models.set_model(InstructionFollower())
