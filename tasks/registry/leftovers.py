"""Finds and removes the models that killed processes were registering.

A logged model is marked with the process that registers it (`REGISTERING_TAG`) until its version is there; one whose
process is gone is a leftover. On another machine nobody can tell, so only this machine's are touched.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.store.entities import PagedList

from lib.processes.identity import lives
from tasks.record.mlflow_run import all_pages

REGISTERING_TAG = "finetune.registering"  # of a logged model: the name of the process that registers it; "": it is done


def discard_leftovers(tracking: MlflowClient, experiment: str) -> list[LoggedModel]:
    """Deletes the logged models of an experiment that dead processes of this machine were registering; returns them."""
    from lib.serving.logged_model import discard  # here, because a cached run registers nothing

    found = list(leftover_models(tracking, [experiment]))
    for model in found:
        discard(tracking, model)
    return found


def leftover_models(tracking: MlflowClient, experiments: list[str]) -> Iterator[LoggedModel]:
    """Yields those models of the experiments; takes the mark off those whose version is there."""
    marked = f"tags.`{REGISTERING_TAG}` LIKE '{socket.gethostname()} %'"

    def search(token: str | None) -> PagedList[LoggedModel]:
        return tracking.search_logged_models(experiments, filter_string=marked, page_token=token)

    for model in list(all_pages(search)):
        if lives(model.tags[REGISTERING_TAG]):
            continue
        if tracking.search_model_versions(f"source_path = '{model.model_uri}'"):
            tracking.set_logged_model_tags(model.model_id, {REGISTERING_TAG: ""})  # killed when it was all but done
        else:
            yield model
