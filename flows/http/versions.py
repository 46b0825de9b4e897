"""Loads versions of a registered model for serving."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow import MlflowClient

from flows.http.batching import classify
from lib.evaluation.drift.profile import DriftProfile, read_profile
from lib.inference.predictor import Prediction, Predictor
from lib.serving.classifier import EXAMPLE, has_threshold
from tasks.registry.files import model_files
from tasks.registry.models import CLASSIFIER, Version


@dataclass(frozen=True, eq=False)
class Served:
    """A version of a registered classifier, loaded and warm. `profile`: of the messages that it was measured on; None
    if it was registered without one."""

    name: str
    version: str
    predictor: Predictor
    profile: DriftProfile | None = None

    @property
    def identity(self) -> dict[str, str]:
        """What every answer says of it."""
        return {"name": self.name, "version": self.version}

    def row(self, prediction: Prediction) -> dict[str, str | float]:
        """The answer for one text, as MLflow's scoring server writes it: `label`, of two labels the `threshold`, and
        `probability_<label>` for each label."""
        predictor = self.predictor
        threshold = {"threshold": predictor.threshold} if has_threshold(predictor.labels) else {}
        shares = {f"probability_{label}": share for label, share in prediction.probabilities.items()}
        return {"label": prediction.label, **threshold, **shares}


def load(tracking: MlflowClient, version: Version) -> Served:
    """Loads a version and classifies a few texts, so that the first request need not wait for what is done only once.
    Raises ServiceError if its files are missing, WeightsError or LabelError if they are damaged."""
    folder = model_files(tracking, CLASSIFIER, version).folder
    served = Served(version.name, version.version, Predictor.load(folder), read_profile(folder))
    warm(served.predictor)
    return served


def warm(predictor: Predictor) -> None:
    """Classifies texts alone and together."""
    for texts in (EXAMPLE[:1], EXAMPLE):
        classify(predictor, texts)
