"""The nineteen published variants, all of them trained, at a tiny shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.recipes.compare import CompareRecipe
from lib.recipes.reading import load_recipe
from lib.recipes.variants import changed_everywhere, variants_of
from tasks.compare.crew import LocalCrew
from tasks.compare.desks import steps_for
from tasks.compare.trainings import Training
from tasks.store import artifact_store
from tests.support.steps import STEPS, performed, write_data
from tests.support.trainings import Desk, go

pytestmark = pytest.mark.slow


def test_all_published_variants_are_trained_and_those_of_one_shape_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FINETUNE_STORE", raising=False)
    everywhere = {
        "data.source": "file",
        "data.url": str(write_data(tmp_path, {})),
        "data.text_column": "text",
        "data.label_column": "label",
        "data.quoting": None,
        "model.weights": "scratch",
        "model.size": "tiny",
        "training.epochs": 1,
        "training.device": "cpu",
    }
    published = load_recipe("ablations", folder="compare", model=CompareRecipe)
    variants = variants_of(changed_everywhere(published, everywhere))
    trainings = []
    for number, variant in enumerate(variants):
        made = performed(artifact_store(), variant.recipe, STEPS[:-1], reuse=True)
        trainings.append(Training(number, variant, 0, variant.recipe, steps_for(variant.recipe), made))
    with LocalCrew() as crew:
        desk = go(Desk([*trainings]), crew)
    outcomes = {name.partition(":")[0]: outcome for name, outcome in desk.outcomes.items()}
    assert len(outcomes) == 19
    assert {outcome.state for outcome in outcomes.values()} <= {"ran", "cached"}, outcomes
    digests = {each.name.partition(":")[0]: each.made["finetune"].digest for each in trainings}
    of_one_shape = (("1", "6", "7", "8"), ("5", "9", "10"))
    for rows in of_one_shape:
        assert len({digests[row] for row in rows}) == 1, rows
    others = [row for row in digests if row not in ("6", "7", "8", "9", "10", "18")]
    assert len({digests[row] for row in others}) == len(others), "every other row is another training"
    weights = {row: next(each for each in trainings if each.name.startswith(f"{row}:")) for row in ("1", "18")}
    files = [each.made["finetune"].file("model.safetensors").read_bytes() for each in weights.values()]
    assert files[0] == files[1], "no label has the number that row 18 leaves out of the loss"
