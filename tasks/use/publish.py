"""Finds what is pushed to a hub: a registered classifier with its card, or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.record.mlflow_run import client
from tasks.registry.files import model_files
from tasks.registry.models import CLASSIFIER, find_model, find_version


@dataclass(frozen=True)
class Publishable:
    """A model's folder, what it is called, and its card (None: it has none)."""

    folder: Path
    called: str
    described: str | None


def registered(*, name: str | None = None, version: str | None = None, run: str | None = None) -> Publishable:
    """Returns a registered classifier: a version of `name`, else as `find_model` chooses. Raises ServiceError if there
    is no such one."""
    tracking = client()
    if name is not None and version is not None:
        found = find_version(tracking, CLASSIFIER, name, version)
    else:
        found = find_model(tracking, CLASSIFIER, name=name, run=run)
    card = tracking.get_model_version(found.name, found.version).description
    files = model_files(tracking, CLASSIFIER, found)
    return Publishable(files.folder, f"{found.name} version {found.version}", card)
