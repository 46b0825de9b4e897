"""Steps whose parts are computed by a pool of processes: the same artifacts come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.data import parts
from lib.model.features import parts as feature_parts
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from lib.store.store import Store
from tests.support.recipes import load_recipe
from tests.support.steps import STEPS, performed

ROWS = 300  # of a part of the tables, of which there are several then


def recipe(kind: str, workers: int, address: str | None = None) -> ClassifyRecipe:
    changes = {"cluster.kind": kind, "cluster.workers": workers, "cluster.address": address}
    changes |= {"classifier.trainable": "last_block", "model.dropout": 0, "training.feature_cache": "on"}
    return load_recipe("quickstart", changes)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The artifacts of one process."""
    with pytest.MonkeyPatch.context() as patch:
        return made(tmp_path_factory.mktemp("alone"), recipe("local", 1), patch)


def made(
    folder: Path, recipe: ClassifyRecipe, patch: pytest.MonkeyPatch, store: Store | None = None
) -> dict[str, Artifact]:
    """The artifacts of all steps whose parts may be computed elsewhere, and of those before them."""
    patch.setenv("FINETUNE_HOME", str(folder / "home"))
    patch.setattr(parts, "ROWS_PER_PART", ROWS)
    patch.setattr(feature_parts, "ROWS_PER_PART", ROWS)
    return performed(store or FolderStore(folder / "store"), recipe, STEPS[:9])


def same(found: dict[str, Artifact], alone: dict[str, Artifact]) -> None:
    """Checks that keys and digests are those of one process, and that there was something to divide."""
    assert {name: (each.key, each.digest) for name, each in found.items()} == {
        name: (each.key, each.digest) for name, each in alone.items()
    }
    for step in ("tokenize", "features"):
        assert len(list((alone[step].folder / "train").iterdir())) > 2


def test_a_pool_makes_the_same_artifacts(
    tmp_path: Path, alone: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    same(made(tmp_path, recipe("local", 2), monkeypatch), alone)
