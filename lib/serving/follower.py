"""The file that MLflow loads to serve a model that follows instructions; a logged model holds a copy of it.

Torch is imported only when a model is loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from lib.errors import MessagesError
from lib.files.listing import require_unchanged
from lib.text.turns import earlier_turns

if TYPE_CHECKING:
    from lib.inference.answerer import Answerer, Question

ARTIFACT = "instruction-follower"  # the name of a logged model and of its folder
# Columns; the input is optional, and so is what was said earlier: a list of `{"role": …, "content": …}`.
INSTRUCTION, INPUT, EARLIER, RESPONSE = "instruction", "input", "earlier", "response"
REQUIRED = ("mlflow", "pandas", "tiktoken")  # besides what its engine needs
EXAMPLE = pd.DataFrame(
    {
        INSTRUCTION: ["What is an antonym of 'complicated'?", "Rewrite the sentence in the past tense."],
        INPUT: ["", "She walks to school."],
    }
)
SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.string, INSTRUCTION),
            ColSpec(DataType.string, INPUT, required=False),
            # A type of lists would refuse rows without one.
            ColSpec(AnyType(), EARLIER, required=False),  # type: ignore[no-untyped-call]  # MLflow's own
        ]
    ),
    outputs=Schema([ColSpec(DataType.string, RESPONSE)]),
)


class InputError(MlflowException, MessagesError):
    """Input that cannot be answered; MLflow's server and the command line show its sentence."""


class InstructionFollower(PythonModel):
    """Instructions in, with or without an input and what was said earlier; out one row each: `response`."""

    _answerer: "Answerer"

    def load_context(self, context: Any) -> None:
        """Loads the model's folder, logged as the artifact `ARTIFACT`; MLflow calls this once. Raises WeightsError if
        a file of the logged model was changed."""
        from lib.inference.answerer import Answerer  # here, so that logging a model does not import torch

        folder = Path(context.artifacts[ARTIFACT])
        require_unchanged(folder.parents[1])  # what MLflow loads: code, description and this folder
        self._answerer = Answerer.load(folder)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Returns a row for each question, in order.

        By the signature MLflow makes a table of dictionaries, refuses input without a column `instruction`, and drops
        other columns. Raises InputError if an instruction is empty or a text is not a string.
        """
        try:
            answers = list(self._answerer.answer(questions(model_input)))
        except MessagesError as error:
            raise InputError.invalid_parameter_value(str(error)) from error
        return pd.DataFrame({RESPONSE: answers}, dtype=str)


def questions(table: pd.DataFrame) -> "list[Question]":
    """Returns each row's instruction, input and earlier turns; a missing or null input is the empty text. Raises
    MessagesError if earlier turns are none."""
    # From JSON, rows without an input have NaN if others have one.
    inputs = table[INPUT].fillna("") if INPUT in table else [""] * len(table)
    said = (
        [()] * len(table) if EARLIER not in table else [() if is_missing(turns) else turns for turns in table[EARLIER]]
    )
    earlier = [earlier_turns(list(turns), f"{EARLIER!r} of question {row}") for row, turns in enumerate(said, start=1)]
    return list(zip(table[INSTRUCTION], inputs, earlier, strict=True))


def is_missing(value: Any) -> bool:
    """Whether a table has no list here: null, or what pandas has instead."""
    return value is None or (isinstance(value, float) and value != value)


def log_follower(folder: Path, *, run_id: str, tracking_uri: str, tags: Mapping[str, str] | None = None) -> LoggedModel:
    """Logs the model in `folder`, which `Answerer.load` reads, as a model of the MLflow run: see `log_model`."""
    from lib.serving.logged_model import log_model, required  # neither needed nor copied where a model is served

    return log_model(
        folder,
        run_id=run_id,
        tracking_uri=tracking_uri,
        tags=tags or {},
        name=ARTIFACT,
        python_file=Path(__file__),
        code_of="lib.inference.answerer",
        signature=SIGNATURE,
        example=EXAMPLE,
        packages=required(folder, REQUIRED),
    )


mlflow.models.set_model(InstructionFollower())
