"""Registers a classifier's folder in `$FINETUNE_HOME` as champion: `python -m benchmarks.registering FOLDER NAME`."""

import sys
from pathlib import Path

from lib.serving.classifier import log_classifier
from tasks.environment import artifact_folder
from tasks.record.mlflow_run import client
from tasks.registry.models import CHAMPION, CLASSIFIER, KIND_TAG


def register(folder: Path, name: str) -> None:
    """Version 1 of a new registered model."""
    tracking = client()
    run = tracking.create_run(tracking.create_experiment("serving", artifact_location=artifact_folder().as_uri()))
    model = log_classifier(folder, run_id=run.info.run_id, tracking_uri=tracking.tracking_uri)
    tracking.create_registered_model(name, tags={KIND_TAG: CLASSIFIER.tag})
    version = tracking.create_model_version(
        name, source=model.model_uri, run_id=run.info.run_id, model_id=model.model_id
    )
    tracking.set_registered_model_alias(name, CHAMPION, version.version)


if __name__ == "__main__":
    register(Path(sys.argv[1]), sys.argv[2])
