"""What makes one model another in the registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib.model.weights.saved import INFERENCE
from lib.recipes.instruct import InstructRecipe
from lib.recipes.reading import load_recipe
from lib.store.artifacts import Artifact
from tasks.registry.candidates import instructions_candidate
from tasks.registry.register import Candidate

# Of a trained model, but for the files that registration writes anew.
FILES = ("model.safetensors", "config.json", "tokenizer.json", "history.parquet", "training.json")


@pytest.fixture
def finetuned(tmp_path: Path) -> Artifact:
    folder = tmp_path / "finetuned"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(name)
    (folder / "recipe.json").write_text(json.dumps({"encoding": {"max_length": 77}}))
    (folder / INFERENCE).write_text(json.dumps({"network": "gpt2", "precision": "float32"}))
    return Artifact(step="finetune_instructions", key="a" * 32, digest="b" * 64).in_folder(folder)


def candidate(finetuned: Artifact, **overrides: Any) -> Candidate:
    flags = {path.replace("__", "."): str(value) for path, value in overrides.items()}
    recipe = load_recipe("quickstart", flags, folder="instruct", model=InstructRecipe)
    return instructions_candidate(recipe, {"finetune_instructions": finetuned})


def test_a_followers_folder_has_its_files_and_this_runs_resolved_recipe(finetuned: Artifact, tmp_path: Path) -> None:
    made = candidate(finetuned, registry__name="mine")
    folder = made.collect(tmp_path / "served")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, INFERENCE, "recipe.json"])
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["encoding"]["max_length"] == 77
    use = json.loads((folder / INFERENCE).read_text())
    assert use == {"network": "gpt2", "precision": "float32", "respond": recipe["respond"]}
    assert recipe["registry"]["name"] == made.name == "mine"
    assert made.kind.tag == "instructions"


def test_a_folder_inside_is_carried_too(finetuned: Artifact, tmp_path: Path) -> None:
    (finetuned.folder / "adapter").mkdir()
    (finetuned.folder / "adapter" / "adapter_config.json").write_text("kept")
    folder = candidate(finetuned).collect(tmp_path / "served")
    assert (folder / "adapter" / "adapter_config.json").read_text() == "kept"


@pytest.mark.parametrize(
    ("override", "another"),
    [
        ({"respond__temperature": 0.7}, True),
        ({"respond__max_new_tokens": 9}, True),
        ({"registry__name": "mine"}, False),
        ({"judge__anchors": 3}, False),
        ({"training__epochs": 9}, False),  # what that changes is in the digest, as is the precision
    ],
)
def test_another_answer_is_another_version(finetuned: Artifact, override: dict[str, Any], another: bool) -> None:
    assert (candidate(finetuned, **override).identity != candidate(finetuned).identity) is another
    renamed = finetuned.model_copy(update={"digest": "c" * 64})
    assert candidate(renamed).identity != candidate(finetuned).identity
