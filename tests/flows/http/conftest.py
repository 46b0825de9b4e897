"""A tiny version of a registered model, as it is served, and what is logged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.http.measuring import Measured
from flows.http.versions import Registered, Served
from lib.inference.predictor import Predictor
from tasks.registry.models import Version
from tests.support.said import Lines, logging_to
from tests.support.saved import save_gpt2_classifier


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gpt2_classifier(tmp_path_factory.mktemp("served") / "classifier", labels=("ham", "spam"))


@pytest.fixture(scope="session")
def served(served_folder: Path) -> Served:
    """Version 7 of the registered model `tiny`."""
    return Served(
        Registered(Version("tiny", "7"), at=0), Predictor.load(served_folder, device="cpu"), Measured(1.0, 0.5)
    )


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The log's lines so far."""
    with logging_to() as lines:
        yield lines
