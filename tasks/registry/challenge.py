"""The labels that classifiers predict for the frozen test set, from an evaluation or by asking them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from lib.data.lookup import by_text
from lib.errors import LabelError, ServiceError, WeightsError, listed
from lib.evaluation.classify.predictions import PREDICTIONS, read_predictions
from lib.files.jsonfile import load_json
from lib.inference.predictor import Predictor
from lib.store.artifacts import Artifact
from tasks.record.checked import says_missing
from tasks.record.mlflow_run import ARTIFACT_TAG, AwayError, client, reason_of
from tasks.registry.files import is_damage, model_files
from tasks.registry.models import Version
from tasks.registry.register import Candidate
from tasks.secrets import secrets_kept
from tasks.store import artifact_store


class Answers(BaseModel):
    """The labels that classifiers predict, by text."""

    challenger: dict[str, str]
    champion: dict[str, str] | None = None
    problem: str | None = None  # why the champion could not be loaded

    def plus(self, asked: Answers) -> Answers:
        """Merges these answers with newly predicted ones."""
        champion = self.champion if asked.champion is None else {**(self.champion or {}), **asked.champion}
        if asked.problem is not None:
            champion = None
        return asked.model_copy(update={"challenger": self.challenger | asked.challenger, "champion": champion})


def predicted_before(evaluated: Artifact, classifier: str | None, texts: Sequence[str]) -> dict[str, str]:
    """Returns the labels in an evaluation for these texts; none if it is not of the classifier with this digest."""
    made_from = artifact_store().manifest(evaluated.step, evaluated.key).ingredients["inputs"]
    if made_from["finetune"] != classifier:
        return {}
    predictions = read_predictions(evaluated.folder).batches(["text", "predicted"])
    return by_text(((batch.column("text"), batch.column("predicted")) for batch in predictions), texts)


def evaluation_of(tracking: MlflowClient, run_id: str) -> Artifact | None:
    """Returns the evaluation of an MLflow run, if MLflow still has that and the store this, in its present form."""
    store = artifact_store()
    try:
        digest = tracking.get_run(run_id).data.tags.get(f"{ARTIFACT_TAG}evaluate")
    except MlflowException as error:
        if not says_missing(error):
            raise
        return None
    keys = (manifest.key for manifest in store.manifests("evaluate") if manifest.digest == digest)
    found = next((found for key in keys if (found := store.find("evaluate", key))), None)
    return found if found is not None and (found.folder / PREDICTIONS).is_dir() else None


@task(
    name="challenge",
    task_run_name="challenge",
    description="Asks the new classifier, and the champion where there is one, for labels of the frozen test set",
    tags=["gpu"],
    cache_policy=NO_CACHE,
)
@secrets_kept()
def challenge(
    candidate: Candidate, texts: list[str], device: str, champion: str | None = None, champion_texts: Sequence[str] = ()
) -> Answers:
    """Predicts the labels of each classifier's texts, loading one classifier after the other as it is served.
    `champion`: the version under the candidate's name; `problem` says what is wrong with it if it could not be asked.
    Raises `FAILURES` if MLflow did not do what it was asked."""
    with tempfile.TemporaryDirectory(prefix="finetune-challenge-") as folder:
        answers = Answers(challenger={})
        if texts:
            answers.challenger = _ask(candidate.collect(Path(folder) / "challenger"), texts, device)
        if champion is None:
            return answers
        tracking = client()
        try:
            files = model_files(tracking, candidate.kind, Version(candidate.name, champion)).folder
            labels = load_json(files / "labels.json")
            if set(labels) != set(load_json(candidate.artifact.file("labels.json"))):
                return answers.model_copy(update={"problem": f"its labels are {listed(sorted(labels))}"})
            answers.champion = _ask(files, champion_texts, device)
        except AwayError:  # it says nothing about the champion
            raise
        except (OSError, ServiceError, WeightsError, LabelError) as error:
            if isinstance(error, OSError) and not is_damage(error):
                raise
            answers.problem = reason_of(error)
    return answers


def _ask(folder: Path, texts: Sequence[str], device: str) -> dict[str, str]:
    predictions = Predictor.load(folder, device=device).predict(texts)
    return {text: prediction.label for text, prediction in zip(texts, predictions, strict=True)}
