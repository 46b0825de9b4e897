"""Loads versions of a registered model for serving, and says which of them answers a request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from mlflow import MlflowClient

from flows.http.measuring import Measured, measure
from lib.evaluation.drift.profile import DriftProfile, read_profile
from lib.inference.predictor import Prediction, Predictor
from lib.serving.classifier import has_threshold
from tasks.registry.files import model_files
from tasks.registry.models import CHAMPION, CLASSIFIER, Version, find_version


@dataclass(frozen=True)
class Registered:
    """A version and when it was registered, in milliseconds since 1970: of a name that was deleted and made again,
    numbers are used twice."""

    version: Version
    at: int


@dataclass(frozen=True, eq=False)
class Served:
    """A version of a registered classifier, loaded and warm. `measured`: how fast it is alone and together. `profile`:
    of the messages that it was measured on; None if it was registered without one."""

    registered: Registered
    predictor: Predictor
    measured: Measured
    profile: DriftProfile | None = None

    @property
    def name(self) -> str:
        """The registered model's name."""
        return self.registered.version.name

    @property
    def version(self) -> str:
        """The version's number."""
        return self.registered.version.version

    @property
    def engine(self) -> dict[str, str]:
        """What computes, and in which precision."""
        return {"name": self.predictor.engine.name, "precision": self.predictor.engine.precision}

    @property
    def identity(self) -> dict[str, str | bool]:
        """What every answer says of it."""
        return {"name": self.name, "version": self.version, "calibrated": self.predictor.calibrated}

    @property
    def rule(self) -> dict[str, str | float]:
        """Of two labels, which one is given from which probability on."""
        predictor = self.predictor
        if predictor.positive is None:
            return {}
        return {"positive_label": predictor.positive, "threshold": predictor.threshold}

    def row(self, prediction: Prediction) -> dict[str, str | float]:
        """The answer for one text, as MLflow's scoring server writes it: `label`, of two labels the `threshold`, and
        `probability_<label>` for each label."""
        predictor = self.predictor
        threshold = {"threshold": predictor.threshold} if has_threshold(predictor.labels) else {}
        shares = {f"probability_{label}": share for label, share in prediction.probabilities.items()}
        return {"label": prediction.label, **threshold, **shares}


@dataclass(frozen=True)
class Share:
    """A version that answers a part of the requests, from 0 to 1, instead of the champion."""

    served: Served
    part: float

    def has(self, request: str) -> bool:
        """Whether the request with this id is one of them: always the same for the same id."""
        digest = hashlib.blake2b(request.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.part * 2**64


@dataclass
class Answering:
    """The versions that answer: the champion, which changes while requests are answered, and beside it a version with a
    share of them."""

    champion: Served
    share: Share | None = None

    def to(self, request: str) -> Served:
        """The version that answers the request with this id."""
        return self.share.served if self.share is not None and self.share.has(request) else self.champion


def champion_of(tracking: MlflowClient, name: str) -> Registered:
    """Returns a registered model's champion; raises MlflowException if it has none, or if MLflow does not answer."""
    found = tracking.get_model_version_by_alias(name, CHAMPION)
    return Registered(Version(name, str(found.version)), int(found.creation_timestamp))


def version_of(tracking: MlflowClient, name: str, version: str) -> Registered:
    """Returns a version of a registered model; raises ServiceError if there is none, or if it is no classifier."""
    found = find_version(tracking, CLASSIFIER, name, version)
    return Registered(found, int(tracking.get_model_version(name, version).creation_timestamp))


def load(tracking: MlflowClient, registered: Registered) -> Served:
    """Loads a version and measures it, which warms it too: no request waits for what is done only once.

    Raises ServiceError if it is no classifier or if its files are missing, WeightsError or LabelError if they are
    damaged.
    """
    version = find_version(tracking, CLASSIFIER, registered.version.name, registered.version.version)
    folder = model_files(tracking, CLASSIFIER, version).folder
    predictor = Predictor.load(folder)
    return Served(registered, predictor, measure(predictor), read_profile(folder))
