"""Versions of a registered model, as they are served: tiny ones, loaded from their folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.http.versions import Served
from lib.inference.predictor import Predictor
from tests.support.saved import save_gpt2_classifier


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gpt2_classifier(tmp_path_factory.mktemp("served") / "classifier", labels=("ham", "spam"))


@pytest.fixture(scope="session")
def served(served_folder: Path) -> Served:
    """Version 7 of the registered model `tiny`."""
    return Served("tiny", "7", Predictor.load(served_folder, device="cpu"))
